// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

func TestCEL(t *testing.T) {
	x := newExchange(t, `GET /shop/7?v=2&v=3&q=a%20b&bad=( HTTP/1.1
Host: Shop.example.com:9080
X-Env: prod
X-ENV: test
Cookie: s=abc`)
	x.SetVar("mine", "yes")
	for source, want := range map[string]bool{
		`true`:                     true,
		`request.method == "GET"`:  true,
		`request.scheme == "http"`: true,
		`request.host == "shop.example.com" && request.path.startsWith("/shop/")`: true,
		`request.remote_addr == "192.0.2.7"`:                                      true,
		`request.query["v"] == "2"`:                                               true,
		`request.query.q == "a b"`:                                                true,
		`"v" in request.query && !("w" in request.query)`:                         true,
		`has(request.query.v) && !has(request.query.w)`:                           true,
		`request.query["none"] == "2"`:                                            false,
		`request.query["none"] != "2"`:                                            false,
		`!has(request.query.none) || request.query["none"] != "2"`:                true,
		`int(request.query["v"]) > 1`:                                             true,
		`int(request.query["q"]) > 1`:                                             false,
		`request.headers["x-env"] == "prod"`:                                      true,
		`request.headers["host"] == "Shop.example.com:9080"`:                      true,
		`request.headers.exists(name, name.startsWith("x-"))`:                     true,
		`request.path.matches("^/shop/[0-9]+$")`:                                  true,
		`request.path.matches(request.query.bad)`:                                 false,
		`vars("arg_v") == "2" && vars("cookie_s") == "abc"`:                       true,
		`vars("mine") == "yes" && vars("nothing") == ""`:                          true,
		`vars("server_port") in ["9080", "9443"]`:                                 true,
		`request.method in ["POST", "PUT"]`:                                       false,
		`1 / int(request.query.v) == 0`:                                           true,
		`1 / (int(request.query.v) - 2) == 0`:                                     false,
	} {
		match, err := CEL(source)
		if err != nil {
			t.Errorf("CEL(%s): %v", source, err)
			continue
		}
		for range 2 {
			if got := match(x); got != want {
				t.Errorf("%s = %v; want %v", source, got, want)
			}
		}
	}
}

func TestCELRefuses(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{``, "invalid expression: "},
		{`request.method`, "invalid expression: it must be of type bool, not string"},
		{`size(request.path)`, "not int"},
		{`dyn(true)`, "not dyn"},
		{`request.method ==`, "invalid expression: line 1, column "},
		{`request.method == 5`, "line 1, column 16: found no matching overload for '_==_'"},
		{`request.body == ""`, "line 1, column 1: request has method, scheme, host, path, query, headers and remote_addr"},
		{`uri == "/"`, "undeclared reference to 'uri'"},
		{`request.method == "a" && 1 / 0 == 1`, "line 1, column 28: division by zero"},
		{`int("x") == 1`, "type conversion error"},
		{`request.path.matches("(")`, "invalid matches argument"},
		{`vars(request.path) == ""`, "vars() takes the name of a variable in quotes"},
		{`vars("post_arg_a") == ""`, "variable post_arg_a looks at the body"},
		{`vars("graphql_name") == ""`, "variable graphql_name looks at the body"},
		{`vars("a", "b") == ""`, "undeclared reference to 'vars'"},
		{`[1].all(a, [1].all(b, [1].all(c, a + b + c > 0)))`, "comprehension exceeds nesting limit"},
		{strings.Repeat("(", 1000) + "true" + strings.Repeat(")", 1000), "recursion limit exceeded"},
	} {
		match, err := CEL(c.source)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("CEL(%.60s) = %v, %v; want error ...%s... on one line", c.source, match != nil, err, c.want)
		}
	}
}

// TestCELCost has a client send so many arguments that comparing each with each would take seconds.
func TestCELCost(t *testing.T) {
	match, err := CEL(`request.query.all(a, request.query.all(b, request.query[a] + request.query[b] + vars("args") != "x"))`)
	if err != nil {
		t.Fatal(err)
	}
	if !match(newExchange(t, "GET /?a=1&b=2 HTTP/1.1")) {
		t.Error("false with few arguments")
	}
	if match(manyArguments(t)) {
		t.Error("true with many arguments: the cost is not bounded")
	}
}

// manyArguments is a request with 676 arguments.
func manyArguments(t testing.TB) *gateway.Exchange {
	t.Helper()
	var query strings.Builder
	for i := range 26 * 26 {
		query.WriteString(string(rune('a'+i/26)) + string(rune('a'+i%26)) + "&")
	}
	return newExchange(t, "GET /?"+query.String()+" HTTP/1.1")
}
