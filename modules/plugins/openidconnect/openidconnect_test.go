// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/acl"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }
