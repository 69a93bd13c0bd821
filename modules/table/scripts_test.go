// SPDX-License-Identifier: Apache-2.0

package table

import (
	"slices"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	_ "github.com/andogate/ando/modules/lua"
)

// TestFilterFunc: where the function says no, matching goes on, and where it fails so does the request.
func TestFilterFunc(t *testing.T) {
	for _, router := range []string{HostURI, URI, URIWithParameter} {
		table := compileAll(t, toyCompiler(router),
			`routes yes {"uri":"/a/*","priority":3,"filter_func":"function(vars) return vars.arg_x == 'yes' end","upstream":{"nodes":{"h:1":1}}}`,
			`routes broken {"uri":"/a/*","priority":2,"filter_func":"function(vars) return vars.arg_x == 'broken' and vars.nothing.x end"}`,
			`routes loops {"uri":"/a/*","priority":1,"filter_func":"function(vars) while vars.arg_x == 'loop' do end end"}`,
			`routes vars {"uri":"/b","vars":[["arg_x","==","1"]],"filter_func":"function() return 0 end"}`,
			`routes rest {"uri":"/a/*"}`,
		)
		for target, want := range map[string]struct {
			id    string
			fault int
		}{
			"/a/1?x=yes": {"yes", 0}, "/a/1": {"rest", 0}, "/a/1?x=broken": {"broken", 500}, "/a/1?x=loop": {"loops", 500},
			"/b?x=1": {"vars", 0}, "/b": {"", 0},
		} {
			x := new(gateway.Exchange)
			x.Request.Method = "GET"
			if err := x.Request.SetTarget(target); err != nil {
				t.Fatal(err)
			}
			route := table.Match(x, nil)
			if route == nil {
				route = new(gateway.Route)
			}
			if route.ID != want.id || route.Fault != want.fault || want.id != "" && !x.Volatile {
				t.Errorf("%s: %s: got %s, fault %d; want %v", router, target, route.ID, route.Fault, want)
			}
		}
	}
}

// TestFilterTrace: who asks why a route did not match hears of its function.
func TestFilterTrace(t *testing.T) {
	table := compileAll(t, toyCompiler(HostURI),
		`routes no {"uri":"/a","priority":2,"filter_func":"function() return false end"}`,
		`routes bad {"uri":"/a","priority":1,"filter_func":"function() error('x') end"}`,
	)
	x := new(gateway.Exchange)
	x.Request.Method, x.Request.Path = "GET", "/a"
	var got outcomes
	table.Match(x, &got)
	if want := (outcomes{"no: filter_func", "bad: error"}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

type outcomes []string

func (o *outcomes) Consider(route *gateway.Route, _ string, outcome gateway.Outcome) {
	*o = append(*o, route.ID+": "+outcome.String())
}

// TestScript: a script stands in the place of all plugins, that of a service too, and goes when it is taken away.
func TestScript(t *testing.T) {
	const script = `"script":"local _M = {} function _M.access(ctx) end function _M.log(ctx) end return _M"`
	table := compileAll(t, toyCompiler(HostURI),
		`services s {`+script+`}`, `services p {"plugins":{"toy-a":{}}}`,
		`routes own {"uri":"/own",`+script+`}`,
		`routes service {"uri":"/service","service_id":"s","plugins":{"toy-b":{}}}`,
		`routes over {"uri":"/over","service_id":"p",`+script+`}`,
		`routes none {"uri":"/none","script":"return {}"}`,
	)
	check := func(table *Table, path string, want ...string) {
		t.Helper()
		if got := get(table, "h", path).Chain.Names(); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{"/own", "/service", "/over"} {
		check(table, path, "script access", "script log")
	}
	check(table, "/none")
	table = mustChange(t, table, `routes own {"uri":"/own"}`, `services s {}`)
	check(table, "/own")
	check(table, "/service", "toy-b")
}

// TestMatchFilterAllocs: beside a route with a function one without still costs no allocation.
func TestMatchFilterAllocs(t *testing.T) {
	table := compileAll(t, toyCompiler(HostURI), `routes plain {"uri":"/plain"}`, `routes f {"uri":"/f","filter_func":"function(vars) return true end"}`)
	x := new(gateway.Exchange)
	x.Request.Method, x.Request.Path = "GET", "/plain"
	if n := testing.AllocsPerRun(100, func() { table.Match(x, nil) }); n != 0 {
		t.Errorf("%v allocations without a function, want 0", n)
	}
}

func BenchmarkFilterFunc(b *testing.B) {
	for what, body := range map[string]string{"constant": "return true", "variable": "return vars.arg_x == '1'"} {
		b.Run(what, func(b *testing.B) {
			table := compileAll(b, toyCompiler(HostURI), `routes f {"uri":"/f","filter_func":"function(vars) `+body+` end"}`)
			x := new(gateway.Exchange)
			x.Request.Method, x.Request.Path, x.Request.Query = "GET", "/f", "x=1"
			b.ReportAllocs()
			for b.Loop() {
				if table.Match(x, nil) == nil {
					b.Fatal("no match")
				}
			}
		})
	}
}
