// SPDX-License-Identifier: Apache-2.0

package exittransformer

import (
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
	_ "github.com/andogate/ando/modules/plugins/uriblocker"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"functions":["return (function(code, body, header) return code, body, header end)(...)"]}`, ""},
		{`{"functions":[]}`, ""},
		{`{}`, `property "functions" is required`},
		{`{"functions":[1]}`, `property "functions" validation failed: failed to validate item 1: wrong type: expected string, got number`},
		{`{"functions":["return (function(code) if code == then end end)(...)"]}`, `[string "return (function(code) if code == then end en..."]:1: unexpected symbol near 'then'`},
	})
}

// TestCost: what is forwarded costs nothing.
func TestCost(t *testing.T) {
	x := plugintest.Open(t, `{"exit-transformer":{"functions":["return 500"]}}`)
	if got := x.Run(nil); got != gateway.StepForward {
		t.Errorf("got step %v, want %v", got, gateway.StepForward)
	}
}

func BenchmarkExitTransformer(b *testing.B) {
	plugintest.Open(b, `{"key-auth":{},"exit-transformer":{"functions":["return (function(code, body, header) return 403, body, header end)(...)"]}}`).Bench(b, nil)
}
