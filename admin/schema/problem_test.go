// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestProblems(t *testing.T) {
	for _, c := range []struct{ schema, value, want string }{
		{
			`{"type":"object","required":["a","b"],"properties":{"a":{},"c":{"minimum":1}}}`, `{"c":0}`,
			`/a: property "a" is required; /c: expected 0 to be at least 1; /b: property "b" is required`,
		},
		{
			`{"properties":{"a":{"items":{"type":"integer"}}}}`, `{"a":[1,"x",2,null]}`,
			`/a/1: wrong type: expected integer, got string; /a/3: wrong type: expected integer, got userdata`,
		},
		{
			`{"allOf":[{"properties":{"a":{"type":"string"}}},{"required":["b"]}]}`, `{"a":1}`,
			`/a: wrong type: expected string, got number; /b: property "b" is required`,
		},
		{
			`{"if":{"required":["a"]},"then":{"required":["b","c"]},"else":{"required":["d"]}}`, `{"a":1}`,
			`/b: property "b" is required; /c: property "c" is required`,
		},
		{
			`{"anyOf":[{"required":["a"]},{"required":["b"]}],"properties":{"c":{"type":"string"}}}`, `{"x":1}`,
			`: object matches none of the required: ["a"] or ["b"]`,
		},
		{
			`{"anyOf":[{"required":["a"]},{"required":["b"]}],"properties":{"c":{"type":"string"}}}`, `{"c":1}`,
			`/c: wrong type: expected string, got number`,
		},
		{
			`{"patternProperties":{"^a":{"type":"string"}},"additionalProperties":false}`, `{"a/~":1,"b":2}`,
			`/a~1~0: wrong type: expected string, got number; /b: additional properties forbidden, found b`,
		},
		{
			`{"additionalProperties":{"$ref":"#/definitions/x"},"definitions":{"x":{"maxLength":1}}}`, `{"a":"yy","b":"y"}`,
			`/a: string too long, expected at most 1, got 2`,
		},
		{
			`{"items":[{"type":"string"}],"additionalItems":{"type":"null"}}`, `[1,2]`,
			`/0: wrong type: expected string, got number; /1: wrong type: expected null, got number`,
		},
		{`{"dependencies":{"a":["b"]},"uniqueItems":true}`, `{"a":1}`, `: property "b" is required when "a" is set`},
		{`{"uniqueItems":true}`, `[1,1]`, `: expected unique items but items 1 and 2 are equal`},
		{`false`, `1`, `: expect false always`},
		{`{"properties":{"a":{"type":"string"}}}`, `{"a":"$env://X"}`, ``},
	} {
		value, err := Decode([]byte(c.value))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range MustCompile(c.schema).Problems("", value) {
			got = append(got, p.Pointer+": "+p.Message)
		}
		if got := strings.Join(got, "; "); got != c.want {
			t.Errorf("%s: %s\ngot  %s\nwant %s", c.schema, c.value, got, c.want)
		}
	}
}

// There are problems exactly where there is an error, for everything that APISIX was ever asked, and the error is among
// them or follows from them.
func TestProblemsAgreeWithValidate(t *testing.T) {
	plugins, refused := recordedPlugins(t), 0
	check := func(n int, s *Schema, value any) {
		err, problems := s.Validate(value), s.Problems("", value)
		if (err == nil) != (len(problems) == 0) {
			t.Errorf("case %d: error %v, problems %v", n, err, problems)
		}
		if err == nil {
			return
		}
		refused++
		text := err.Error()
		told := slices.ContainsFunc(problems, func(p Problem) bool { return strings.HasSuffix(text, p.Message) })
		if !told && !strings.Contains(text, " clause did not match") {
			t.Errorf("case %d: error %q is not among %v", n, text, problems)
		}
	}
	for _, e := range examples(t) {
		kind, id := kindOf(e.Path)
		if object, ok := bodyOf(t, e, kind, id); ok && ForKind(kind) != nil {
			check(e.N, ForKind(kind), object)
		}
		value, _ := Decode(e.Body)
		object, _ := value.(map[string]any)
		for _, c := range pluginsOf(object, kind, plugins) {
			check(e.N, c.schema, c.config)
		}
	}
	if refused < 230 {
		t.Errorf("%d refusals: too few for the file to have been understood", refused)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	s := MustCompile(`{"type":"object","properties":{"r":{"$ref":"#"},"a":{"items":{"type":"string"}}},"additionalProperties":false}`)
	items := slices.Repeat([]any{json.Number("1")}, 10*maxProblems)
	if got := len(s.Problems("", map[string]any{"a": items})); got != maxProblems {
		t.Errorf("%d problems", got)
	}
	deep := map[string]any{"x": strings.Repeat("x", 1000)}
	for range maxDepth {
		deep = map[string]any{"r": deep}
	}
	for _, p := range s.Problems("", deep) {
		if text, _ := p.Value.(string); len(text) > maxShown+len("...") {
			t.Errorf("a value of %d bytes is shown", len(text))
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"key-auth", "jwt-auth", "limit-count", "limit-conn", "cors", "uri", "id"}
	for _, c := range [][2]string{
		{"key-aut", "key-auth"},
		{"key_auth", "key-auth"},
		{"KEY-AUTH", "key-auth"},
		{"limit-cuont", "limit-count"},
		{"limit-co", "limit-conn"},
		{"crs", "cors"},
		{"url", "uri"},
		{"x", ""},
		{"", ""},
		{"completely-different", ""},
		{strings.Repeat("key-auth", 10), ""},
	} {
		if got := Nearest(c[0], slices.Values(names)); got != c[1] {
			t.Errorf("%q: got %q, want %q", c[0], got, c[1])
		}
	}
}

func BenchmarkProblems(b *testing.B) {
	s, _ := ByName("route")
	value, err := Decode([]byte(`{"uri":5,"methods":["GETT"],"pluginss":{},"status":1,"upstream":{"nodes":{"a:1":1},"scheme":"htps"}}`))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if got := len(s.Problems("", value)); got != 4 {
			b.Fatal(fmt.Sprint(got, " problems"))
		}
	}
}
