// SPDX-License-Identifier: Apache-2.0

package brotli

import (
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	_ "github.com/andogate/ando/modules/plugins/responserewrite"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }
