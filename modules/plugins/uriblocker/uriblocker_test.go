// SPDX-License-Identifier: Apache-2.0

package uriblocker

import (
	"os"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"block_rules":["root.exe","\\.m+"]}`, ""},
		{`{"block_rules":[]}`, ""},
		{`{}`, `property "block_rules" is required`},
		{`{"block_rules":["^b("]}`, "invalid regular expression '^b(': "},
		{`{"block_rules":["a","a"]}`, `property "block_rules" validation failed: expected unique items`},
		{`{"block_rules":["a"],"rejected_code":100}`, `property "rejected_code" validation failed: expected 100 to be at least 200`},
		{`{"block_rules":["a"],"rejected_code":1000}`, `property "rejected_code" validation failed: expected 1000 to be a status from 200 to 999`},
		{`{"block_rules":["a"],"rejected_msg":""}`, `property "rejected_msg" validation failed: string too short`},
	})
}

// TestSlow has a target that the pattern would be busy with for ever: it is refused.
func TestSlow(t *testing.T) {
	x := plugintest.Open(t, `{"uri-blocker":{"block_rules":["^/(?!b)(a+)+$"]}}`)
	step := x.Run(func(x *gateway.Exchange) {
		if err := x.Request.SetTarget("/" + strings.Repeat("a", 60) + "!"); err != nil {
			t.Fatal(err)
		}
	})
	if step != gateway.StepReply || x.Response.Status != 403 {
		t.Errorf("got step %v, status %d; want it refused", step, x.Response.Status)
	}
}

func TestAllocs(t *testing.T) {
	x := plugintest.Open(t, `{"uri-blocker":{"block_rules":["root.exe","\\.m+$","select.+from"],"rejected_msg":"no"}}`)
	x.WantAllocs(t, gateway.StepForward, 0, target(t, "/a?b=c"))
	x.WantAllocs(t, gateway.StepReply, 0, target(t, "/root.exe?b=c"))
}

func target(t testing.TB, text string) func(x *gateway.Exchange) {
	return func(x *gateway.Exchange) {
		if err := x.Request.SetTarget(text); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkURIBlocker(b *testing.B) {
	x := plugintest.Open(b, `{"uri-blocker":{"block_rules":["root.exe","\\.m+$","select.+from"],"case_insensitive":true}}`)
	x.Bench(b, target(b, "/api/v1/orders?version=2&debug"))
}
