// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"fmt"
	"strings"
	"testing"
)

const benchRequest = `GET /api/v1/orders?version=2&debug HTTP/1.1
Host: shop.example.com
User-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/120
Accept: */*
X-Env: prod
Cookie: a=1; session=abc`

func BenchmarkMatch(b *testing.B) {
	many := func(format string) string {
		items := make([]string, 100)
		for i := range items {
			items[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(items, ",")
	}
	for _, c := range []struct{ name, raw string }{
		{"equal", `[["arg_version","==","2"]]`},
		{"number", `[["arg_version",">",1]]`},
		{"header", `[["http_x_env","==","prod"]]`},
		{"three", `[["arg_version","==","2"],["http_x_env","==","prod"],["cookie_session","==","abc"]]`},
		{"or", `["OR",["arg_version","==","1"],["arg_version","==","2"]]`},
		{"regex", `[["http_user_agent","~*","chrome/[0-9]+"]]`},
		{"lookahead", `[["uri","~~","^/(?!admin)"]]`},
		{"in100", `[["arg_version","in",["2",` + many(`"%d"`) + `]]]`},
		{"ipmatch1", `[["remote_addr","ipmatch","192.0.2.0/24"]]`},
		{"ipmatch100", `[["remote_addr","ipmatch",["192.0.2.0/24",` + many(`"10.0.%d.0/24"`) + `]]]`},
	} {
		b.Run(c.name, func(b *testing.B) {
			match, x := mustCompile(b, c.raw).Match, newExchange(b, benchRequest)
			if !match(x) {
				b.Fatal("false")
			}
			b.ReportAllocs()
			for b.Loop() {
				match(x)
			}
		})
	}
}

func BenchmarkPostArg(b *testing.B) {
	x := newExchange(b, jsonRequest)
	match := mustCompile(b, `[["post_arg.messages[*].content[*].type","has","image_url"]]`).Match
	for _, parsed := range []bool{false, true} {
		b.Run(fmt.Sprintf("parsed=%v", parsed), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !parsed {
					*x.BodyFacts() = nil
				}
				match(x)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	raw := []byte(`[["arg_version","==","2"],["OR",["http_x_env","in",["prod","test"]],["remote_addr","ipmatch","10.0.0.0/8"]]]`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTemplate(b *testing.B) {
	t, x := ParseTemplate("$remote_addr $host \"$request_method $request_uri\" $status"), newExchange(b, benchRequest)
	dst := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		dst = t.Append(dst[:0], x)
	}
}

func BenchmarkCEL(b *testing.B) {
	for _, c := range []struct{ name, source string }{
		{"method", `request.method == "GET"`},
		{"three", `request.method == "GET" && request.path.startsWith("/api/") && vars("arg_version") == "2"`},
		{"headers", `request.headers["x-env"] == "prod"`},
		{"regex", `request.path.matches("^/api/v[0-9]+/")`},
	} {
		b.Run(c.name, func(b *testing.B) {
			match, err := CEL(c.source)
			x := newExchange(b, benchRequest)
			if err != nil || !match(x) {
				b.Fatalf("false, or %v", err)
			}
			b.ReportAllocs()
			for b.Loop() {
				match(x)
			}
		})
	}
}

// BenchmarkCELBound is the longest that one expression can take, whatever the client sends.
func BenchmarkCELBound(b *testing.B) {
	x := manyArguments(b)
	for _, c := range []struct{ name, source string }{
		{"strings", `request.query.all(a, request.query.all(b, request.query[a] + request.query[b] != "x"))`},
		{"vars", `request.query.all(a, request.query.all(b, vars("arg_none") == ""))`},
		{"regex", `request.query.all(a, request.query.all(b, !vars("args").matches("(x+x+)+y")))`},
	} {
		b.Run(c.name, func(b *testing.B) {
			match, err := CEL(c.source)
			if err != nil || match(x) {
				b.Fatalf("true, or %v", err)
			}
			b.ReportAllocs()
			for b.Loop() {
				match(x)
			}
		})
	}
}

func BenchmarkGraphQL(b *testing.B) {
	const document = `query getRepo($id: ID!) { owner(id: $id) { name ...f } repo { created } } fragment f on User { email }`
	b.ReportAllocs()
	for b.Loop() {
		if parseOperation(document) == nil {
			b.Fatal("broken")
		}
	}
}
