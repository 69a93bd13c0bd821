// SPDX-License-Identifier: Apache-2.0

package health_test

import (
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway/gatewaytest"
)

// TestPassiveOnEveryWire is what requests tell of nodes, whichever wire they come by.
func TestPassiveOnEveryWire(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }
