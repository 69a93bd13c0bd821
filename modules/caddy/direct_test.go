// SPDX-License-Identifier: Apache-2.0

package andocaddy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestWhoAnswers: lanes answer for a site only what Caddy's server would hand to the gateway anyway. Each case asks once
// over lanes and once without, and both have to answer alike.
func TestWhoAnswers(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "node") }))
	defer node.Close()
	const gateway = `{"handler": "ando"}`
	const page = `{"handler": "static_response", "body": "page"}`
	for _, c := range []struct{ name, server, want string }{
		{"everything", `"routes": [{"handle": [` + gateway + `]}]`, "a/x=node b/x=node a/y=node"},
		{
			"in a subroute", `"routes": [{"handle": [{"handler": "subroute", "routes": [{"handle": [` + gateway + `]}]}]}]`,
			"a/x=node b/x=node a/y=node",
		},
		{"one host", `"routes": [{"match": [{"host": ["a.test"]}], "handle": [` + gateway + `]}]`, "a/x=node b/x= a/y=node"},
		{
			"a wildcard", `"routes": [{"match": [{"host": ["*.test"]}], "handle": [` + gateway + `]}]`,
			"a/x=node b/x=node a/y=node",
		},
		{
			"a path", `"routes": [{"match": [{"path": ["/x"]}], "handle": [` + gateway + `]}, {"handle": [` + page + `]}]`,
			"a/x=node b/x=node a/y=page",
		},
		{
			"a path in a subroute", `"routes": [{"handle": [{"handler": "subroute", "routes": [
			{"match": [{"path": ["/x"]}], "handle": [` + gateway + `]}, {"handle": [` + page + `]}]}]}]`,
			"a/x=node b/x=node a/y=page",
		},
		{
			"a host and a path", `"routes": [{"match": [{"host": ["a.test"], "path": ["/x"]}], "handle": [` + gateway + `]}]`,
			"a/x=node b/x= a/y=",
		},
		{
			"another handler in front", `"routes": [{"handle": [{"handler": "rewrite", "uri": "/none"}, ` + gateway + `]}]`,
			"a/x=none b/x=none a/y=none",
		},
		{"another host elsewhere", `"routes": [{"match": [{"host": ["a.test"]}], "handle": [` + gateway + `]},
			{"match": [{"host": ["b.test"]}], "handle": [` + page + `]}]`, "a/x=node b/x=page a/y=node"},
	} {
		for _, lane := range []string{"auto", "off"} {
			t.Run(c.name+"/"+lane, func(t *testing.T) {
				port := freePort(t)
				err := caddy.Load(fmt.Appendf(nil, `{
					"admin": {"disabled": true, "config": {"persist": false}},
					"logging": {"logs": {"default": {"level": "ERROR"}}},
					"apps": {
						"ando": {"lane": %q, "store": {"module": "memory"}, "admin": {"disabled": true},
							"objects": [
								{"kind": "routes", "id": "r", "value": {"uri": "/*", "upstream": {"nodes": {%q: 1}}}},
								{"kind": "routes", "id": "none", "value": {"uri": "/none",
									"plugins": {"response-rewrite": {"body": "none"}}, "upstream": {"nodes": {%[2]q: 1}}}}]},
						"http": {"http_port": %d, "servers": {"s": {"listen": ["ando/127.0.0.1:%[3]d"],
							"listener_wrappers": [{"wrapper": "ando"}], %s}}}}}`,
					lane, strings.TrimPrefix(node.URL, "http://"), port, c.server), true)
				if err != nil {
					t.Fatal(err)
				}
				defer caddy.Stop()
				var got []string
				for _, ask := range []string{"a/x", "b/x", "a/y"} {
					host, path, _ := strings.Cut(ask, "/")
					req, _ := http.NewRequest("GET", fmt.Sprintf("http://127.0.0.1:%d/%s", port, path), nil)
					req.Host = host + ".test"
					res, err := http.DefaultClient.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					body, err := io.ReadAll(res.Body)
					res.Body.Close()
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, ask+"="+string(body))
				}
				if got := strings.Join(got, " "); got != c.want {
					t.Errorf("got %q, want %q", got, c.want)
				}
			})
		}
	}
}
