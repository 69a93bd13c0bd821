// SPDX-License-Identifier: Apache-2.0

package mocking

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"strings"
	"testing"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"response_example":"hi"}`, ""},
		{`{"response_schema":{"type":"object","properties":{"a":{"type":"integer","example":1}}},"content_type":"TEXT/XML; charset=utf8"}`, ""},
		{`{}`, `object matches none of the required: ["response_example"] or ["response_schema"]`},
		{`{"response_example":"x","response_status":99}`, `property "response_status" validation failed: expected 99 to be at least 100`},
		{`{"response_example":"x","response_status":101}`, `property "response_status" validation failed: expected 101 to be a status from 200 to 999`},
		{`{"response_example":"x","content_type":"image/png"}`, "unsupported content type!"},
		{`{"response_example":"x","content_type":"text/html;\r\nX: y"}`, "unsupported content type!"},
		{`{"response_example":"x","response_headers":{"a b":"c"}}`, "invalid field character in header"},
		{`{"response_schema":{"properties":{"a":{}}}}`, `response_schema: property "a": every property needs a type`},
		{`{"response_schema":{"properties":{"a":{"type":"array","items":` + strings.Repeat(`{"type":"array","items":`, 8) + `{"type":"string"}` + strings.Repeat("}", 8) + `}}}}`, `response_schema: property "a": items: `},
	})
}

const everything = `{"type":"object","properties":{
	"s":{"type":"string"},"n":{"type":"number"},"i":{"type":"Integer"},"b":{"type":"boolean"},"o":{"type":"object"},
	"l":{"type":"array","items":{"type":"object","properties":{"x":{"type":"array","items":{"type":"integer"}}}}},"none":{"type":"array"}}}`

// TestMadeUp makes bodies up and holds them to the schema that they were made after.
func TestMadeUp(t *testing.T) {
	s, err := compileShape(json.RawMessage(everything))
	if err != nil {
		t.Fatal(err)
	}
	rules := schema.MustCompile(`{"type":"object","required":["s","n","i","b","o","l"],"additionalProperties":false,"properties":{
		"s":{"type":"string","pattern":"^[a-z]{1,10}$"},"n":{"type":"number","minimum":0,"maximum":10000},
		"i":{"type":"integer","minimum":1,"maximum":10000},"b":{"type":"boolean"},"o":{"type":"object"},
		"l":{"type":"array","minItems":1,"maxItems":3,"items":{"type":"object","required":["x"],"properties":{"x":{"type":"array","minItems":1,"items":{"type":"integer"}}}}}}}`)
	truths := make(map[any]bool)
	for range 100 {
		made := s.makeUp()
		value, err := schema.Decode(writeJSON(made))
		if err != nil {
			t.Fatal(err)
		}
		if err := rules.Validate(value); err != nil {
			t.Fatalf("%s: %v", writeJSON(made), err)
		}
		truths[value.(map[string]any)["b"]] = true
		var element struct {
			I int   `xml:"i"`
			L []any `xml:"l"`
		}
		if err := xml.Unmarshal(writeXML(made), &element); err != nil || element.I < 1 {
			t.Fatalf("%s: %v", writeXML(made), err)
		}
	}
	if len(truths) != 2 {
		t.Errorf("of a hundred bodies all say %v", truths)
	}
}

func TestElementName(t *testing.T) {
	for text, want := range map[string]string{"a": "a", "a-1.b": "a-1.b", "1a": "_a", "a b<": "a_b_", "": "_", "é": "é"} {
		if got := elementName(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// TestWhoBlocks: a delay leaves the loop, all else is answered there and then.
func TestWhoBlocks(t *testing.T) {
	x := plugintest.Open(t, `{"mocking":{"response_example":"hi","delay":1}}`)
	if got := x.Run(nil); got != gateway.StepBlock {
		t.Errorf("got step %v, want %v", got, gateway.StepBlock)
	}
	x = plugintest.Open(t, `{"mocking":{"response_example":"hi","response_headers":{"A":"b"}}}`)
	x.WantAllocs(t, gateway.StepReply, 0, nil)
}

func BenchmarkMocking(b *testing.B) {
	for what, config := range map[string]string{"example": `{"response_example":"hi"}`, "schema": `{"response_schema":` + everything + `}`} {
		b.Run(what, func(b *testing.B) { plugintest.Open(b, `{"mocking":`+config+`}`).Bench(b, nil) })
	}
}
