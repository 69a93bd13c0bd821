// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

func fuzzExchanges(t testing.TB) []*gateway.Exchange {
	return []*gateway.Exchange{
		new(gateway.Exchange),
		newExchange(t, "GET /a?v=2&query=%7Bowner%7D HTTP/1.1\nHost: h\nX-A: 1\nX_A: 2\nCookie: a=b"),
		newExchange(t, "POST /a HTTP/1.1\nHost: h\nContent-Type: application/json\n\n"+
			`{"query":"query q { a ...f } fragment f on T { b }","list":[1,"a",true,null,{"x":[]}]}`),
		newExchange(t, "POST /a HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\n\na=1&b=%zz&a=2"),
		newExchange(t, "POST /a HTTP/1.1\nContent-Type: multipart/form-data; boundary=x\n\n--x\r\n"+
			"Content-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n"),
	}
}

// FuzzCompile checks that no text makes Compile panic, nor what it makes of it any exchange.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		`[]`, `{}`, `null`, `[["arg_v","==","2"]]`, `["OR",["arg_v",">",1],["uri","~~","^/(?!b)"]]`, `[["a","!","in",["x",1,null]]]`,
		`[["remote_addr","ipmatch",["10.0.0.0/8","::1"]]]`, `[["post_arg.list[*].x","has",1]]`, `[["graphql_root_fields","has","a"]]`,
		`[["post_arg_a","==","1"],["post_arg.a","~*","1"]]`, `[["!AND",["upstream_host","==",null],["status","<",400]],[{}]]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := Compile(raw)
		if err != nil {
			return
		}
		for _, x := range fuzzExchanges(t) {
			first := holds(e, x)
			if second := holds(e, x); first != second {
				t.Errorf("%s is %v and then %v", raw, first, second)
			}
		}
	})
}

// FuzzOperation checks that no document makes the GraphQL parser panic, and that an operation it finds is whole.
func FuzzOperation(f *testing.F) {
	for _, seed := range []string{
		`{a}`, `query q($x: [Int!]! = [1,{a:"}"}]) @d(a: 1) { x: a(b: "\"}") @e { c } ...f ... on T { d } ... @i { e } }
		fragment f on T { g ...f }`, "{ a # }\n}", `{a(b:"""x\"""}""")}`, `mutation { `, `{a}{b}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o := parseOperation(text)
		if o == nil {
			return
		}
		if o.kind != "query" && o.kind != "mutation" && o.kind != "subscription" {
			t.Errorf("kind %q", o.kind)
		}
		for _, field := range o.fields {
			if name, ok := field.(string); !ok || name == "" {
				t.Errorf("field %v", field)
			}
		}
	})
}

func FuzzParseNumber(f *testing.F) {
	for _, seed := range twinTexts {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := parseNumber(text)
		want, wantOK := twinNumber(text)
		if ok != wantOK || got != want {
			t.Errorf("parseNumber(%q) = %v, %v; want %v, %v", text, got, ok, want, wantOK)
		}
	})
}

func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{`$uri`, `${arg_a}x\$y$`, `$$host${`, `a${post_arg.b[0]}`, `$post_arg.x.`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		template := ParseTemplate(text)
		for _, x := range fuzzExchanges(t) {
			if got, want := template.String(x), string(template.Append(nil, x)); got != want {
				t.Errorf("String = %q; Append = %q", got, want)
			}
		}
	})
}
