// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func decode(t testing.TB, text string) any {
	t.Helper()
	value, err := Decode([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

// TestTexts holds APISIX's text for every way in which a value can fail. An empty text is for a value that satisfies.
func TestTexts(t *testing.T) {
	for _, c := range []struct{ schema, value, want string }{
		{`true`, `1`, ``},
		{`false`, `1`, `expect false always`},
		{`{}`, `null`, ``},

		// types, by their names in Lua
		{`{"type":"string"}`, `1`, `wrong type: expected string, got number`},
		{`{"type":"string"}`, `null`, `wrong type: expected string, got userdata`},
		{`{"type":"string"}`, `{"a":1}`, `wrong type: expected string, got table`},
		{`{"type":"string"}`, `[1]`, `wrong type: expected string, got table`},
		{`{"type":"string"}`, `true`, `wrong type: expected string, got boolean`},
		{`{"type":"object"}`, `"a"`, `wrong type: expected object, got string`},
		{`{"type":"object"}`, `[1]`, `wrong type: expected object, got table`},
		{`{"type":"array"}`, `{"a":1}`, `wrong type: expected array, got table`},
		{`{"type":"number"}`, `"1"`, `wrong type: expected number, got string`},
		{`{"type":"boolean"}`, `1`, `wrong type: expected boolean, got number`},
		{`{"type":"null"}`, `null`, ``},
		{`{"type":"integer"}`, `1.5`, `wrong type: expected integer, got number`},
		{`{"type":"integer"}`, `1.0`, ``},
		{`{"type":"integer"}`, `1e3`, ``},
		{`{"type":"integer"}`, `12345678901234567890123`, ``},
		{`{"type":["string","number"]}`, `{"a":1}`, `wrong type: expected one of string, number, got table`},
		{`{"type":["string","number"]}`, `1.5`, ``},
		{`{"definitions":{"a/b ~c":{"type":["number","null"]}},"$ref":"#/definitions/a~1b%20~0c"}`, `"x"`, `wrong type: expected one of number, null, got string`},

		// an empty object is an empty array
		{`{"type":"object"}`, `[]`, ``},
		{`{"type":"array"}`, `{}`, ``},
		{`{"type":"array","minItems":1}`, `{}`, `expect array to have at least 1 items`},
		{`{"type":"object","required":["a"]}`, `[]`, `property "a" is required`},
		{`{"type":"object","minProperties":1}`, `[]`, `expect object to have at least 1 properties`},

		// objects
		{`{"required":["a"]}`, `{"b":1}`, `property "a" is required`},
		{`{"required":["a"]}`, `"text"`, ``},
		{`{"properties":{"a":{"default":1}},"required":["a"]}`, `{}`, `property "a" is required`},
		{`{"required":["a"]}`, `{"a":null}`, ``},
		{`{"properties":{"a":{"type":"string"}}}`, `{"a":1}`, `property "a" validation failed: wrong type: expected string, got number`},
		{`{"properties":{"a":{"properties":{"b":{"minLength":1}}}}}`, `{"a":{"b":""}}`, `property "a" validation failed: property "b" validation failed: string too short, expected at least 1, got 0`},
		{`{"properties":{"b":{"type":"string"},"a":{"type":"string"}}}`, `{"a":1,"b":1}`, `property "a" validation failed: wrong type: expected string, got number`},
		{`{"additionalProperties":false,"properties":{"a":{}}}`, `{"a":1,"y":1,"x":1}`, `additional properties forbidden, found x`},
		{`{"additionalProperties":{"type":"string"}}`, `{"y":1,"x":1}`, `failed to validate additional property x: wrong type: expected string, got number`},
		{`{"additionalProperties":{"type":"string"},"properties":{"x":{}}}`, `{"x":1}`, ``},
		{`{"patternProperties":{".*":{"minimum":1}}}`, `{"b":0,"a":0}`, `failed to validate a (matching ".*"): expected 0 to be at least 1`},
		{`{"patternProperties":{"^\\d":{"minimum":1}}}`, `{"1":0}`, `failed to validate 1 (matching "^\\d"): expected 0 to be at least 1`},
		{`{"patternProperties":{"^a":{}},"additionalProperties":false}`, `{"ab":0,"b":1}`, `additional properties forbidden, found b`},
		{`{"propertyNames":{"maxLength":1}}`, `{"ab":0}`, `failed to validate property name ab: string too long, expected at most 1, got 2`},
		{`{"minProperties":2}`, `{"a":1}`, `expect object to have at least 2 properties`},
		{`{"maxProperties":1}`, `{"a":1,"b":1}`, `expect object to have at most 1 properties`},
		{`{"dependencies":{"a":["b"]}}`, `{"a":1}`, `property "b" is required when "a" is set`},
		{`{"dependencies":{"a":["b"]},"properties":{"a":{}}}`, `{"a":1}`, `property "b" is required when "a" is set`},
		{`{"dependencies":{"a":["b"]}}`, `{"c":1}`, ``},
		{`{"dependencies":{"a":{"required":["b"]}}}`, `{"a":1}`, `failed to validate dependent schema for "a": property "b" is required`},
		{`{"dependencies":{"a":{"not":{"required":["b"]}}},"properties":{"a":{}}}`, `{"a":1,"b":2}`, `failed to validate dependent schema for "a": value wasn't supposed to match schema`},

		// arrays
		{`{"minItems":2}`, `[1]`, `expect array to have at least 2 items`},
		{`{"maxItems":1}`, `[1,2]`, `expect array to have at most 1 items`},
		{`{"items":{"type":"string"}}`, `["a",1]`, `failed to validate item 2: wrong type: expected string, got number`},
		{`{"items":[{"type":"string"}]}`, `[1]`, `failed to validate item 1: wrong type: expected string, got number`},
		{`{"items":[{}],"additionalItems":false}`, `[1,2]`, `found unexpected extra items in array`},
		{`{"items":[{}],"additionalItems":{"type":"string"}}`, `[1,2]`, `failed to validate additional item 2: wrong type: expected string, got number`},
		{`{"uniqueItems":true}`, `["a","b","a"]`, `expected unique items but items 1 and 3 are equal`},
		{`{"uniqueItems":true}`, `[1,1.0]`, `expected unique items but items 1 and 2 are equal`},
		{`{"uniqueItems":true}`, `[{"a":1,"b":2},{"b":2.0,"a":1}]`, `expected unique items but items 1 and 2 are equal`},
		{`{"uniqueItems":true}`, `[1,"1",true,null,[1],["1"],"[1,]"]`, ``},
		{`{"contains":{"const":1}}`, `[2,3]`, `failed to check contains`},
		{`{"contains":{"const":1}}`, `[2,1]`, ``},

		// strings
		{`{"minLength":2}`, `"é"`, `string too short, expected at least 2, got 1`},
		{`{"maxLength":1}`, `"éé"`, `string too long, expected at most 1, got 2`},
		{`{"pattern":"^\\d+$"}`, `"a\"b\\"`, `failed to match pattern "^\\d+$" with "a\"b\\"`},
		{`{"pattern":"^a(?!b)"}`, `"ab"`, `failed to match pattern "^a(?!b)" with "ab"`},
		{`{"pattern":"^(a)\\1$"}`, `"aa"`, ``},
		{`{"format":"ipv4"}`, `"x"`, `expect valid ipv4 format but got: x`},
		{`{"format":"ipv4"}`, `"10.0.0.1"`, ``},
		{`{"format":"ipv6"}`, `"10.0.0.1"`, `expect valid ipv6 format but got: 10.0.0.1`},
		{`{"format":"ipv6"}`, `"::1"`, ``},
		{`{"enum":["a",1]}`, `"b"`, `matches none of the enum values`},
		{`{"enum":["a",1]}`, `1.0`, ``},
		{`{"const":{"a":[1]}}`, `{"a":[1]}`, ``},
		{`{"const":{"a":[1]}}`, `{"a":[2]}`, `matches none of the enum values`},
		{`{"const":null}`, `1`, `matches none of the enum values`},

		// numbers, written as Lua writes them
		{`{"minimum":1}`, `0`, `expected 0 to be at least 1`},
		{`{"minimum":0.1}`, `0.05`, `expected 0.05 to be at least 0.1`},
		{`{"maximum":5}`, `9`, `expected 9 to be at most 5`},
		{`{"maximum":5}`, `1e300`, `expected 1e+300 to be at most 5`},
		{`{"maximum":60000}`, `60001`, `expected 60001 to be at most 60000`},
		{`{"exclusiveMinimum":0}`, `0`, `expected 0 to be greater than 0`},
		{`{"exclusiveMaximum":5}`, `5`, `expected 5 to be smaller than 5`},
		{`{"multipleOf":2}`, `3`, `expected 3 to be a multiple of 2`},
		{`{"multipleOf":0.01}`, `1.13`, ``},
		{`{"multipleOf":0.01}`, `12345678.125`, `expected 12345678.125 to be a multiple of 0.01`},

		// combinators
		{`{"anyOf":[{"required":["a"]},{"required":["b","c"]}]}`, `{"b":1}`, `object matches none of the required: ["a"] or ["b","c"]`},
		{`{"anyOf":[{"type":"string"},{"type":"boolean"}]}`, `1`, `object matches none of the required`},
		{`{"oneOf":[{"type":"string"},{"type":"boolean"}]}`, `1`, `value should match only one schema, but matches none`},
		{`{"oneOf":[{"required":["a"]},{"required":["b"]},{"required":["c"]}]}`, `{"a":1,"c":1}`, `value should match only one schema, but matches both schemas 1 and 3`},
		{`{"allOf":[{},{"required":["a"]}]}`, `{"b":1}`, `allOf 2 failed: property "a" is required`},
		{`{"allOf":[{"required":["a"]}],"anyOf":[{"required":["b"]}]}`, `{"c":1}`, `allOf 1 failed: property "a" is required`},
		{`{"not":{"required":["a"]}}`, `{"a":1}`, `value wasn't supposed to match schema`},
		{`{"if":{"required":["a"]},"then":{"required":["b"]}}`, `{"a":1}`, `then clause did not match`},
		{`{"if":{"required":["a"]},"then":{"required":["b"]}}`, `{"c":1}`, ``},
		{`{"if":{"required":["a"]},"else":{"required":["b"]}}`, `{"c":1}`, `else clause did not match`},
		{`{"properties":{"a":{"default":"x"}},"if":{"properties":{"a":{"const":"y"}}},"then":{"required":["b"]}}`, `{}`, ``},
		{`{"properties":{"a":{"type":"string"}},"not":{}}`, `{"a":1}`, `property "a" validation failed: wrong type: expected string, got number`},
		{`{"$ref":"#"}`, `1`, `schema refers to itself without end`},

		// references to secrets
		{`{"type":"string","pattern":"^x$"}`, `"$secret://vault/1/a"`, ``},
		{`{"type":"string","maxLength":1,"enum":["a"]}`, `"$env://A"`, ``},
		{`{"minLength":99}`, `"$eNv://A"`, ``},
		{`{"type":"string","pattern":"^x$"}`, `"$SECRET://a"`, `failed to match pattern "^x$" with "$SECRET://a"`},
		{`{"type":"string","minLength":9}`, `"$env:/"`, `string too short, expected at least 9, got 6`},
		{`{"type":"number"}`, `"$env://A"`, `wrong type: expected number, got string`},
		{`{"oneOf":[{"type":"integer"},{"type":"string","pattern":"^x$"}]}`, `"$env://A"`, ``},
		{`{"type":"object","properties":{"a":{"anyOf":[{"type":"string","pattern":"^x$"}]}}}`, `{"a":"$env://A"}`, ``},
	} {
		err := MustCompile(c.schema).Validate(decode(t, c.value))
		if got := text(err); got != c.want {
			t.Errorf("%s on %s:\n got %s\nwant %s", c.value, c.schema, got, c.want)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"a": `"a"`, "a\nb": "\"a\\\nb\"", "\r": `"\13"`, "\x001": `"\0001"`, "\x7f": `"\127"`, "\x7f0": `"\1270"`,
		"\t9": `"\0099"`, "\ta": `"\9a"`, "é": `"é"`,
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestFill(t *testing.T) {
	for _, c := range []struct{ schema, value, want string }{
		{`{"properties":{"a":{"default":1},"b":{"default":[{"x":1}]}}}`, `{}`, `{"a":1,"b":[{"x":1}]}`},
		{`{"properties":{"a":{"default":1}}}`, `{"a":2,"c":3}`, `{"a":2,"c":3}`},
		{`{"properties":{"a":{"default":1}}}`, `{"a":null}`, `{"a":null}`},
		{`{"properties":{"a":{"default":null}}}`, `{}`, `{}`},
		{`{"properties":{"a":{"default":false}}}`, `{}`, `{"a":false}`},
		{`{"properties":{"a":{"properties":{"b":{"default":1}}}}}`, `{"a":{}}`, `{"a":{"b":1}}`},
		{`{"properties":{"a":{"properties":{"b":{"default":1}}}}}`, `{}`, `{}`},
		{`{"properties":{"a":{"default":{},"properties":{"b":{"default":1}}}}}`, `{}`, `{"a":{"b":1}}`},
		{`{"items":{"properties":{"b":{"default":1}}}}`, `[{},{"b":2}]`, `[{"b":1},{"b":2}]`},
		{`{"items":[{},{"properties":{"b":{"default":1}}}]}`, `[{},{}]`, `[{},{"b":1}]`},
		{`{"patternProperties":{"^a":{"properties":{"b":{"default":1}}}}}`, `{"a":{},"c":{}}`, `{"a":{"b":1},"c":{}}`},
		{`{"additionalProperties":{"properties":{"b":{"default":1}}}}`, `{"a":{}}`, `{"a":{"b":1}}`},
		{`{"allOf":[{"properties":{"a":{"default":1}}},{"properties":{"b":{"default":2}}}]}`, `{}`, `{"a":1,"b":2}`},
		{`{"anyOf":[{"required":["x"],"properties":{"a":{"default":1}}},{"properties":{"a":{"default":2}}}]}`, `{}`, `{"a":2}`},
		{`{"oneOf":[{"required":["x"],"properties":{"a":{"default":1}}},{"required":["y"],"properties":{"a":{"default":2}}}]}`, `{"x":0}`, `{"a":1,"x":0}`},
		{`{"properties":{"m":{"default":"x"}},"if":{"properties":{"m":{"const":"x"}}},"then":{"properties":{"a":{"default":1}}},"else":{"properties":{"a":{"default":2}}}}`, `{}`, `{"a":1,"m":"x"}`},
		{`{"properties":{"m":{"default":"x"}},"if":{"properties":{"m":{"const":"x"}}},"then":{"properties":{"a":{"default":1}}},"else":{"properties":{"a":{"default":2}}}}`, `{"m":"y"}`, `{"a":2,"m":"y"}`},
		{`{"dependencies":{"x":{"properties":{"a":{"default":1}}}}}`, `{"x":0}`, `{"a":1,"x":0}`},
		{`{"dependencies":{"x":{"properties":{"a":{"default":1}}}},"properties":{"x":{},"z":{"default":3}}}`, `{"x":0}`, `{"a":1,"x":0,"z":3}`},
		{`{"definitions":{"t":{"properties":{"a":{"default":1},"t":{"$ref":"#/definitions/t"}}}},"$ref":"#/definitions/t"}`, `{"t":{"t":{}}}`, `{"a":1,"t":{"a":1,"t":{"a":1}}}`},
		{`{"not":{"properties":{"a":{"default":1}},"required":["x"]}}`, `{}`, `{}`},
		{`{"type":"object"}`, `[]`, `{}`},
		{`{"type":"array"}`, `{}`, `[]`},
		{`{"type":"object","properties":{"a":{"default":1},"p":{"type":"object"}}}`, `{"p":[]}`, `{"a":1,"p":{}}`},
		{`{"properties":{"ab":{"type":"integer"}}}`, `{"Ab":"x","aB":{},"ac":1}`, `{"ac":1}`},
		{`{"properties":{"ab":{"type":"integer"},"AB":{}}}`, `{"AB":"x","ab":1}`, `{"AB":"x","ab":1}`},
		{`{"properties":{"ab":{"default":1}}}`, `{"Ab":"x"}`, `{"ab":1}`},
		{`{"properties":{"f":{"items":{"properties":{"ab":{}}}}}}`, `{"f":[{"Ab":"x"}]}`, `{"f":[{}]}`},
		{`{"properties":{"k":{}},"patternProperties":{"^[A-Z]$":{"type":"string"}}}`, `{"K":"x","\u212a":"y"}`, `{"K":"x"}`},
		{`{"properties":{"a":{}},"additionalProperties":{"type":"string"}}`, `{"A":"x"}`, `{"A":"x"}`},
		{`{}`, `[]`, `[]`},
		{`{"properties":{"a":{"default":1}}}`, `"text"`, `"text"`},
	} {
		schema := MustCompile(c.schema)
		value := decode(t, c.value)
		filled := schema.Fill(value)
		if got := inJSON(filled); got != c.want {
			t.Errorf("%s on %s: got %s, want %s", c.value, c.schema, got, c.want)
		}
		if got := inJSON(value); got != inJSON(decode(t, c.value)) {
			t.Errorf("%s on %s: the input became %s", c.value, c.schema, got)
		}
		if again := schema.Fill(filled); !reflect.DeepEqual(again, filled) {
			t.Errorf("%s on %s: filled again %s", c.value, c.schema, inJSON(again))
		}
	}
}

// TestFillIsDeep writes to all of a filled value: neither the input nor the schema's own default may notice.
func TestFillIsDeep(t *testing.T) {
	schema := MustCompile(`{"properties":{"d":{"default":{"list":[1]}},"a":{}}}`)
	input := decode(t, `{"a":{"list":[1]}}`)
	filled := schema.Fill(input).(map[string]any)
	for _, part := range filled {
		part.(map[string]any)["list"].([]any)[0] = "changed"
	}
	if got, want := inJSON(input), `{"a":{"list":[1]}}`; got != want {
		t.Errorf("input is %s, want %s", got, want)
	}
	if got, want := inJSON(schema.Fill(input)), `{"a":{"list":[1]},"d":{"list":[1]}}`; got != want {
		t.Errorf("filled the next time: %s, want %s", got, want)
	}
}

func TestCompileErrors(t *testing.T) {
	for name, raw := range map[string]string{
		"no JSON":          `{`,
		"no schema":        `{"type":"table"}`,
		"another document": `{"$ref":"file:///etc/passwd"}`,
		"pattern":          `{"pattern":"("}`,
	} {
		if _, err := Compile(json.RawMessage(raw)); err == nil {
			t.Errorf("%s: %s compiled", name, raw)
		}
	}
}

func TestDecode(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`{"a":[`, n/2) + "1" + strings.Repeat("]}", n/2) }
	for _, c := range []struct{ in, want string }{
		{`{"a":1,"b":[1.50,null,"x"]}`, ``},
		{` 1 `, ``},
		{`"{[{["`, ``},
		{`"\"{["`, ``},
		{deep(100), ``},
		{deep(102), `nested deeper than 100 levels`},
		{strings.Repeat("[", 1<<20), `nested deeper than 100 levels`},
		{`1e400`, `number 1e400 is out of range`},
		{`[-1e999999999999]`, `number -1e999999999999 is out of range`},
		{`{"a":` + strings.Repeat("9", 1<<16) + `}`, `number 99999999999999999999 is out of range`},
		{`0.` + strings.Repeat("0", 1<<16) + `1`, `number 0.000000000000000000 is out of range`},
		{`1e-999999999`, ``},
		{``, `unexpected EOF`},
		{`  `, `unexpected EOF`},
		{`{"a":1} x`, `expected the end of the document at offset 8`},
		{`{"a":1}{}`, `expected the end of the document at offset 8`},
		{`{"a"`, `unexpected EOF`},
	} {
		_, err := Decode([]byte(c.in))
		if got := text(err); got != c.want {
			t.Errorf("%.40s: got %q, want %q", c.in, got, c.want)
		}
	}
	if n, ok := decode(t, `1.50`).(json.Number); !ok || n != "1.50" {
		t.Errorf("1.50 decodes to %v, want the number as it is written", n)
	}
}

// TestApply: a client cannot get past a schema with what looks like a reference to a secret.
func TestApply(t *testing.T) {
	s := MustCompile(`{"type":"object","properties":{"a":{"type":"string","enum":["x"]},"b":{"default":{"c":1}}}}`)
	for _, text := range []string{"y", "$secret://vault/1/a/b", "$env://A"} {
		if _, err := s.Apply(map[string]any{"a": text}); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
	value := map[string]any{"a": "x"}
	got, err := s.Apply(value)
	object, _ := got.(map[string]any)
	if err != nil || len(object) != 2 || object["b"] == nil || len(value) != 1 {
		t.Errorf("got %v (%v), want the default in a copy; the argument is %v", got, err, value)
	}
}

// TestCompileParts: schemas anywhere in a document that is none itself, which refer to each other and to themselves.
func TestCompileParts(t *testing.T) {
	doc := decode(t, `{"info":{"title":"x"},"parts":{"a b/{c}~%":{"schema":{"type":"object","properties":{"t":{"$ref":"#/trees/Tree"}}}}},
		"trees":{"Tree":{"required":["n"],"properties":{"n":{"type":"integer"},"next":{"$ref":"#/trees/Tree"}}}}}`)
	parts, err := CompileParts(doc, []string{"/parts/a b~1{c}~0%/schema", "/trees/Tree"})
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{
		`{"t":{"n":1,"next":{"n":2}}}`:   ``,
		`{"t":{"n":1,"next":{"n":"2"}}}`: `property "t" validation failed: property "next" validation failed: property "n" validation failed: wrong type: expected integer, got string`,
		`[1]`:                            `wrong type: expected object, got table`,
	} {
		if got := text(parts[0].Validate(decode(t, value))); got != want {
			t.Errorf("%s: got %q, want %q", value, got, want)
		}
	}
	if got, want := text(parts[1].Validate(decode(t, `{}`))), `property "n" is required`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, pointer := range []string{"/nowhere", "/parts/x"} {
		if _, err := CompileParts(doc, []string{pointer}); err == nil {
			t.Errorf("%s compiled", pointer)
		}
	}
	if _, err := CompileParts(decode(t, `{"a":{"$ref":"http://127.0.0.1/x"}}`), []string{"/a"}); err == nil {
		t.Error("another document was read")
	}
}
