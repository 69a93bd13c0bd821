// SPDX-License-Identifier: Apache-2.0

package degraphql

import (
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
	_ "github.com/andogate/ando/modules/plugins/proxyrewrite"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"query":"{a}"}`, ""},
		{`{"query":"query q {a ...F} fragment F on A {b}"}`, ""},
		{`{"query":"query q {a} query r {b}","operation_name":"q","variables":["x"]}`, ""},
		{`{}`, `property "query" is required`},
		{`{"query":""}`, `property "query" validation failed: string too short, expected at least 1, got 0`},
		{`{"query":"uery {}"}`, "failed to parse query: "},
		{`{"query":"fragment F on A {b}"}`, "failed to parse query: there is no operation in it"},
		{`{"query":"query q {a} query r {b}"}`, "operation_name is required if multiple operations are present in the query"},
		{`{"query":"{a}","variables":[]}`, `property "variables" validation failed: expect array to have at least 1 items`},
		{`{"query":"{a}","operation_name":""}`, `property "operation_name" validation failed: string too short`},
		{`{"query":"{a}","max_req_body_size":0}`, `property "max_req_body_size" validation failed: expected 0 to be at least 1`},
	})
}

// TestCost: a request whose document needs no variables costs the change of its target alone.
func TestCost(t *testing.T) {
	plugintest.Open(t, `{"degraphql":{"query":"{a}"}}`).WantAllocs(t, gateway.StepForward, 0, nil)
}

func BenchmarkVariables(b *testing.B) {
	x := plugintest.Open(b, `{"degraphql":{"query":"query($id: ID!) { pet(id: $id) { name } }","variables":["id"]}}`)
	x.Bench(b, func(x *gateway.Exchange) { x.Request.Query = "id=7" })
}
