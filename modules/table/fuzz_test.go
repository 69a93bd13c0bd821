// SPDX-License-Identifier: Apache-2.0

package table

import (
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// FuzzPattern compares the matching of one pattern with that by a regular expression.
func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{
		{"/a/*/c", "/a/b/c"},
		{"/u/:id/*rest", "/u/1/2/3"},
		{"/a/*/b/*", "/a/1/b/2"},
		{"/a.b/:x/c.d", "/a.b/1/cxd"},
		{"/*/:a/x", "/1/2/3/x"},
		{"*", "/"},
		{":", "/"},
		{"/a/:b:c/*d*", "/a/1/"},
		{"/:a//*", "/1//"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, uri, path string) {
		for part := range strings.SplitSeq(uri, "/") {
			if !strings.HasPrefix(part, "*") && !strings.HasPrefix(part, ":") && strings.ContainsAny(part, regexpOperators) {
				t.Skip("a regular expression of its own")
			}
		}
		if !isASCII(uri) || !isASCII(path) {
			t.Skip("regexp takes runes for bytes")
		}
		for _, router := range []string{URI, URIWithParameter} {
			r := newRouter(router)
			r.add(&rule{uris: []string{uri}, route: gateway.Route{ID: "1"}})
			x := new(gateway.Exchange)
			x.Request.Path = path
			o := oracle{router, []oracleRoute{{ID: "1", URIs: []string{uri}}}}
			want := o.match(x)
			found := r.match(x, nil)
			if (found != nil) != (want.Route != "") {
				t.Fatalf("%s: %q on %q: got %v, want %+v", router, uri, path, found != nil, want)
			}
			for _, p := range x.Params {
				if want.Params[p.Name] != p.Value {
					t.Errorf("%s: %q on %q: %s is %q, want %q", router, uri, path, p.Name, p.Value, want.Params[p.Name])
				}
			}
			if len(x.Params) != len(want.Params) {
				t.Errorf("%s: %q on %q: got %v, want %v", router, uri, path, x.Params, want.Params)
			}
		}
	})
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

// FuzzCompile looks for stored text that panics.
func FuzzCompile(f *testing.F) {
	for _, seed := range []string{
		`{"uri":"/a","plugins":{"toy-a":{"_meta":{"filter":[]}}},"upstream":{"nodes":{}},"vars":{}}`,
		`{"uris":["/a/:b",""],"hosts":["*",""],"service_id":1,"priority":1e99,"timeout":{"read":-1}}`,
		`{"username":"a","plugins":{"toy-auth":{"key":""}},"group_id":null}`, `null`, `[]`, `{"plugins":[]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		compiler := toyCompiler(URIWithParameter)
		var all []gateway.Object
		for _, kind := range gateway.Kinds {
			all = append(all, gateway.Object{Kind: kind, ID: "1", Value: []byte(value)})
			_ = compiler.Check(all[len(all)-1])
		}
		table, _ := compiler.Compile(1, all)
		get(table.(*Table), "h", "/a/b")
		_, _ = table.With([]gateway.Change{{Object: all[len(all)-1]}, {Object: all[0], Delete: true}})
	})
}
