// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestParseOperation(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`{ owner { name } repo { created } }`, `query "" [owner repo]`},
		{`query getRepo { owner { name } repo }`, `query getRepo [owner repo]`},
		{`mutation m($x: [In!]! = [{a: "}"}]) @d(if: true) @e { do(x: $x) { id } }`, `mutation m [do]`},
		{`subscription { ticks(every: -1.5e3) }`, `subscription "" [ticks]`},
		{`query { short: veryLong(a: "\"}{", b: """ }\""" { """) @include(if: $x) { a } other }`, `query "" [veryLong other]`},
		{"\ufeff# comment {\n,,query#x\nq{a,b#}\n}", `query q [a b]`},
		{`{ a ... on T { b ... @include(if: true) { c } } ... { d } }`, `query "" [a b c d]`},
		{`query q { a ...f e } fragment f on T { b ...g } fragment g on T @d { c ...f d }`, `query q [a b c d e]`},
		{`fragment f on T { secret } query q { ...f ...f }`, `query q [secret]`},
		{`query one { a } mutation two { b }`, `query one [a]`},
		{`query fragment { query mutation on }`, `query fragment [query mutation on]`},
	} {
		o := parseOperation(c.text)
		if o == nil {
			t.Errorf("%s: nothing found; want %s", c.text, c.want)
			continue
		}
		name := o.name
		if name == "" {
			name = `""`
		}
		if got := fmt.Sprint(o.kind, " ", name, " ", o.fields); got != c.want {
			t.Errorf("%s: got %s; want %s", c.text, got, c.want)
		}
	}
	for _, broken := range []string{
		"", " ", "# only", "{", "{}", "{a", "{a}}", "{a{b}", "query", "query q", "{a(b: [1)}", "{a(b}", "{a:}", "{...}", "{...on}",
		"{...f}", "fragment f on T {a}", "fragment on on T {a} {b}", "{a} fragment f on T {b} fragment f on T {c}",
		"type T { a: Int }", "{\"a\"}", "{a(b: \"x)}", "{a(b: \"x\n\")}", `{a(b: """x)}`, "{a @}", "{a ; b}", "query q ($x: Int { a }", "{a(b:1]}",
		"{" + strings.Repeat("a ", maxGraphQL/2) + "}",
	} {
		if o := parseOperation(broken); o != nil {
			t.Errorf("%.40q: got %+v; want nothing", broken, o)
		}
	}
}

func TestGraphQLVariables(t *testing.T) {
	const document = `query getRepo { owner { name } repo { created } }`
	quoted, err := json.Marshal(map[string]string{"query": document})
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range []string{
		"GET /graphql?query=" + url.QueryEscape(document) + " HTTP/1.1",
		"POST /graphql HTTP/1.1\nContent-Type: application/graphql\n\n" + document,
		"POST /graphql HTTP/1.1\n\n" + document,
		"POST /graphql HTTP/1.1\nContent-Type: application/json\n\n" + string(quoted),
	} {
		x := newExchange(t, request)
		wantVar(t, x, "graphql_name", "getRepo")
		wantVar(t, x, "graphql_operation", "query")
		wantVar(t, x, "graphql_root_fields", "owner,repo")
		for raw, want := range map[string]bool{
			`[["graphql_root_fields","has","owner"]]`:                                        true,
			`[["graphql_root_fields","has","name"]]`:                                         false,
			`[["graphql_root_fields","!","has","name"]]`:                                     true,
			`[["graphql_operation","==","query"],["graphql_name","in",["getRepo","other"]]]`: true,
			`[["graphql_root_fields","==","owner,repo"]]`:                                    false,
		} {
			if got := mustCompile(t, raw).Match(x); got != want {
				t.Errorf("%.30s: %s = %v; want %v", request, raw, got, want)
			}
		}
	}
	for _, request := range []string{
		"GET /graphql HTTP/1.1",
		"GET /graphql?query={ HTTP/1.1",
		"PUT /graphql?query={a} HTTP/1.1\n\n{a}",
		"POST /graphql?query={a} HTTP/1.1",
		"POST /graphql HTTP/1.1\nContent-Type: application/json\n\n{\"query\":1}",
		"POST /graphql HTTP/1.1\nContent-Type: application/json\n\n[\"query\"]",
		"POST /graphql HTTP/1.1\n\n{a}" + strings.Repeat(" ", maxGraphQL),
	} {
		x := newExchange(t, request)
		for _, name := range []string{"graphql_name", "graphql_operation", "graphql_root_fields"} {
			wantVar(t, x, name, "absent")
		}
	}
	x := newExchange(t, "GET /graphql?query={a} HTTP/1.1")
	wantVar(t, x, "graphql_root_fields", "a")
	x.Request.Query = "query={b}"
	wantVar(t, x, "graphql_root_fields", "b")
}
