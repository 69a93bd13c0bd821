// SPDX-License-Identifier: Apache-2.0

package requestvalidation

import (
	"os"
	"reflect"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"body_schema":{"type":"object"}}`, ""},
		{`{"header_schema":{},"rejected_code":403,"rejected_msg":"no"}`, ""},
		{`{}`, `object matches none of the required: ["header_schema"] or ["body_schema"]`},
		{`{"body_schema":{"type":"bogus"}}`, `body_schema: schema: `},
		{`{"header_schema":{"properties":{"a":{"pattern":"("}}}}`, `header_schema: schema: `},
		{`{"body_schema":{"$ref":"file:///etc/passwd"}}`, `body_schema: schema: `},
		{`{"body_schema":{},"rejected_code":199}`, `property "rejected_code" validation failed: expected 199 to be at least 200`},
		{`{"body_schema":{},"rejected_msg":""}`, `property "rejected_msg" validation failed: string too short`},
		{`{"body_schema":{},"max_req_body_size":0}`, `property "max_req_body_size" validation failed: expected 0 to be at least 1`},
	})
}

func TestDecodeForm(t *testing.T) {
	got := decodeForm("a=1&b=x+y%21&a=2&flag&=x&a&c=%zz&d=")
	want := map[string]any{"a": []any{"1", "2", true}, "b": "x y!", "flag": true, "c": "%zz", "d": ""}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func BenchmarkRequestValidation(b *testing.B) {
	x := plugintest.Open(b, `{"request-validation":{"header_schema":{"required":["x-a"],"properties":{"x-a":{"type":"string","pattern":"^[a-z]+$"}}}}}`)
	x.Bench(b, func(x *gateway.Exchange) { x.Request.Header.Add("X-A", "abc") })
}
