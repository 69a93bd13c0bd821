// SPDX-License-Identifier: Apache-2.0

package graphql

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ contentType, body, want string }{
		{"application/json", `{"query":"{a}"}`, ""},
		{"application/json; charset=utf-8", `{"query":"query q {a} query r {b}","operationName":"r","variables":{"n":12345678901234567890}}`, ""},
		{"application/graphql", `{a}`, ""},
		{"application/json", `{`, "invalid graphql request, unexpected EOF"},
		{"application/json", `[{"query":"{a}"}]`, "invalid graphql request, json: cannot unmarshal array"},
		{"application/json", `{"query":null}`, "invalid graphql request, json body[query] is nil"},
		{"application/json", `{"query":1}`, ErrSyntax.Error()},
		{"text/plain", `{a}`, "invalid graphql request, error content-type: text/plain"},
		{"application/graphql", `{a`, ErrSyntax.Error()},
		{"application/graphql", `fragment F on A {a}`, ErrEmpty.Error()},
		{"application/graphql", ` # nothing`, ErrEmpty.Error()},
		{"application/graphql", strings.Repeat("{a", maxNesting+1) + strings.Repeat("}", maxNesting+1), ErrSyntax.Error()},
		{"application/graphql", "{" + strings.Repeat("a ", maxTokens) + "}", ErrSyntax.Error()},
	} {
		got := ""
		if _, err := Parse(c.contentType, []byte(c.body)); err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s %.40s: got %q, want %q", c.contentType, c.body, got, c.want)
		}
	}
	r, err := Parse("application/json", []byte(`{"query":"query q {a} query r {b}","operationName":"r","variables":{"n":12345678901234567890}}`))
	if err != nil || r.Operation != "r" || len(r.Document.Operations) != 2 || r.Variables["n"] != json.Number("12345678901234567890") {
		t.Errorf("got %+v (%v)", r, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("application/json", []byte(`{"query":"query q($n: Int = 3) { a(n: $n) @include(if: true) { ...F } } fragment F on A { b }"}`))
	f.Add("application/graphql", []byte(`mutation { c }`))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		if r, err := Parse(contentType, body); err == nil && len(r.Document.Operations) == 0 {
			t.Error("a request without an operation")
		}
	})
}
