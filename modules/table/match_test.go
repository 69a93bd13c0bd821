// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// TestPatterns has the patterns of data-plane.md sections 2.2 and 2.3b that the examples leave out. Routes are A, B, ...
func TestPatterns(t *testing.T) {
	plain, withParameter := URI, URIWithParameter
	for _, c := range []struct {
		router string
		uris   string
		path   string
		want   string
		params string
	}{
		{plain, "/foo*", "/foo/x", "A", ""},
		{plain, "/foo*", "/fo", "", ""},
		{plain, "/foo/*", "/foo", "", ""},
		{plain, "/*.html", "/a/b.css", "A", ""},
		{plain, "/img/*.png", "/img/a.jpg", "A", ""},
		{plain, "/a/*/c", "/a//c", "A", ""},
		{plain, "/a/*/c", "/a/b/cd", "", ""},
		{plain, "/a/b*c/d", "/a/bX", "A", ""},
		{plain, "/u/:id", "/u/1", "", ""},
		{plain, "/u/:id", "/u/:id", "A", ""},
		{plain, "/u/:id/*", "/u/:id/x", "A", ""},
		{plain, "/u/:id/*", "/u/1/x", "", ""},
		{plain, "/*/:id", "/a/b", "A", ""},
		{plain, "/a/*/x.y", "/a/b/xzy", "A", ""},
		{plain, "*", "/anything", "A", ""},
		{plain, "/a /a/* /*", "/a", "A", ""},
		{plain, "/*/b/*/c/*", "/1/b/2/c/3", "A", ""},
		{plain, "/*/b/*/c/*", "/1/b/2/d/3", "", ""},

		{withParameter, "/u/:id", "/u/7", "A", "id=7"},
		{withParameter, "/u/:id", "/u/", "", ""},
		{withParameter, "/u/:id", "/u/7/", "", ""},
		{withParameter, "/u/:id/", "/u/7/", "A", "id=7"},
		{withParameter, "/u/:id", "/u/a b~é", "A", "id=a b~é"},
		{withParameter, "/f/*rest", "/f/a/b", "A", "rest=a/b"},
		{withParameter, "/f/*rest", "/f/", "A", "rest="},
		{withParameter, "/f/*", "/f/a/b", "A", ":ext=a/b"},
		{withParameter, "/u/:id/*rest", "/u/7/x/y", "A", "id=7 rest=x/y"},
		{withParameter, "/:a/:b", "/1/2", "A", "a=1 b=2"},
		{withParameter, "/f/:n.json", "/f/any", "A", "n.json=any"},
		// A star makes two groups, so what comes after it gets the wrong one.
		{withParameter, "/a/*/b/*", "/a/xyz/b/2", "A", ":ext=z"},
		// The colon in the middle of a segment ends the literal text and opens nothing.
		{withParameter, "/a/b:c/d", "/a/bXY", "A", ""},
		{withParameter, "/a/b:c/:d", "/a/b:c/7", "A", "d=7"},
		{withParameter, "/a/b:c/:d", "/a/bX/7", "", ""},
		// Text between parameters is a regular expression.
		{withParameter, "/u/:id/nodes/?", "/u/7/nodes", "A", "id=7"},
		{withParameter, "/u/:id/nodes/?", "/u/7/nodes/", "A", "id=7"},
		{withParameter, "/u/:id/(a|b)+", "/u/7/abba", "A", "id=7"},
		{withParameter, "/u/:id/a(b", "/u/7/a(b", "A", "id=7"},
		{withParameter, "/u/:id/x.y", "/u/7/xzy", "A", "id=7"},
		// A star in front of the first parameter is literal.
		{withParameter, "/a/*/b/:id", "/a/x/b/1", "", ""},
		{withParameter, "/u/:id/posts /u/:name/:other", "/u/1/posts", "B", "name=1 other=posts"},
		{withParameter, "/u/:id /u/list", "/u/list", "B", ""},
		{
			withParameter, "/:a/:b/:c/:d/:e/:f/:g/:h/:i/:j", "/1/2/3/4/5/6/7/8/9/10", "A",
			"a=1 b=2 c=3 d=4 e=5 f=6 g=7 h=8 i=9 j=10",
		},
	} {
		t.Run(c.router+" "+c.uris+" "+c.path, func(t *testing.T) {
			var texts []string
			for i, uri := range strings.Fields(c.uris) {
				texts = append(texts, fmt.Sprintf(`routes %c {"uri":%q}`, 'A'+i, uri))
			}
			table := compileAll(t, toyCompiler(c.router), texts...)
			x := new(gateway.Exchange)
			x.Request.Path = c.path
			if got := routeID(table.Match(x, nil)); got != c.want {
				t.Fatalf("matched %q, want %q", got, c.want)
			}
			var params []string
			for _, p := range x.Params {
				params = append(params, p.Name+"="+p.Value)
			}
			if got := strings.Join(params, " "); got != c.params {
				t.Errorf("params %q, want %q", got, c.params)
			}
		})
	}
}

func TestHosts(t *testing.T) {
	for _, c := range []struct {
		router, pattern, host string
		want                  string
	}{
		{HostURI, "X.com", "x.COM", "x.com"},
		{URI, "X.com", "x.com:9080", "x.com"},
		{URI, "x.com:8080", "X.com:8080", "x.com:8080"},
		{URI, "x.com:8080", "x.com", "none"},
		{URI, "*.com:8080", "x.com:8080", "*.com:8080"},
		{HostURI, "x.com:8080", "x.com:8080", "none"},
		{HostURI, "*.x.com", "a.b.x.com", "*.x.com"},
		{HostURI, "*.x.com", "x.com", "none"},
		{HostURI, "*x.com", "yx.com", "*x.com"},
		{HostURI, "*", "anything", "*"},
		{URI, "*", "anything", "*"},
		{HostURI, "[::1]", "[::1]:9080", "[::1]"},
	} {
		table := compileAll(t, toyCompiler(c.router), fmt.Sprintf(`routes 1 {"uri":"/*","host":%q}`, c.pattern))
		x := new(gateway.Exchange)
		x.Request.Path = "/"
		x.Request.SetHost(c.host)
		got := "none"
		if table.Match(x, nil) != nil {
			got = x.MatchedHost
		}
		if got != c.want {
			t.Errorf("%s: pattern %q, host %q: got %q, want %q", c.router, c.pattern, c.host, got, c.want)
		}
	}
}

// TestHostLevels falls back from level to level, also where priority says otherwise.
func TestHostLevels(t *testing.T) {
	table := compileAll(t, toyCompiler(HostURI),
		`routes none {"uri":"/*","priority":9}`,
		`routes all {"uri":"/all/*","host":"*"}`,
		`routes short {"uri":"/short/*","host":"*.c"}`,
		`routes long {"uri":"/long/*","hosts":["*.b.c","z.c"]}`,
		`routes exact {"uri":"/exact/*","host":"a.b.c"}`,
	)
	for path, want := range map[string]string{
		"/exact/": "exact", "/long/": "long", "/short/": "short", "/all/": "all", "/none": "none",
	} {
		if got := routeID(get(table, "a.b.c", path)); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

// TestManyPrefixes nests more prefixes than one round of the walk has room for.
func TestManyPrefixes(t *testing.T) {
	var texts []string
	path := "/"
	for i := range 40 {
		texts = append(texts, fmt.Sprintf(`routes r%d {"uri":"%s*","methods":["PURGE"]}`, i, path))
		path += "x/"
	}
	texts = append(texts, `routes last {"uri":"/*"}`)
	table := compileAll(t, toyCompiler(URI), texts...)
	x := new(gateway.Exchange)
	x.Request.Method, x.Request.Path = "GET", path
	trace := new(recorder)
	if got := routeID(table.Match(x, trace)); got != "last" {
		t.Errorf("got %q, want last", got)
	}
	if got := len(trace.lines); got != 41 || !strings.HasPrefix(trace.lines[0], "r39 ") {
		t.Errorf("%d candidates, first %q", got, trace.lines[0])
	}
	x.Request.Method = "PURGE"
	if got := routeID(table.Match(x, nil)); got != "r39" {
		t.Errorf("got %q, want r39", got)
	}
}

// recorder keeps what it is told.
type recorder struct{ lines []string }

func (r *recorder) Consider(route *gateway.Route, pattern string, outcome gateway.Outcome) {
	r.lines = append(r.lines, route.ID+" "+pattern+" "+outcome.String())
}

func TestTrace(t *testing.T) {
	table := compileAll(t, toyCompiler(URIWithParameter),
		`routes method {"uri":"/a/b","methods":["POST"]}`,
		`routes addr {"uri":"/a/b","remote_addrs":["10.0.0.0/8"]}`,
		`routes host {"uri":"/a/b","host":"other"}`,
		`routes vars {"uri":"/a/b","vars":[["arg_v","==","1"]]}`,
		`routes cel {"uri":"/a/b","expression":"request.method == 'POST'"}`,
		`routes param {"uri":"/a/:x/c"}`,
		`routes off {"uri":"/a/*","status":0}`,
		`routes found {"uris":["/zzz","/*"]}`,
		`routes later {"uri":"/*"}`,
	)
	x := new(gateway.Exchange)
	x.Request.Method, x.Request.Path = "GET", "/a/b"
	x.Request.Client = netip.MustParseAddrPort("1.1.1.1:1")
	trace := new(recorder)
	route := table.Match(x, trace)
	want := []string{
		"method /a/b method", "addr /a/b remote_addr", "host /a/b host", "vars /a/b vars", "cel /a/b expression",
		"param /a/:x/c path", "found /* matched",
	}
	if routeID(route) != "found" || !reflect.DeepEqual(trace.lines, want) {
		t.Errorf("route %s, trace\n%s\nwant\n%s", routeID(route), strings.Join(trace.lines, "\n"), strings.Join(want, "\n"))
	}
	if x.MatchedURI != "/*" || !x.Volatile {
		t.Errorf("matched %q, volatile %v", x.MatchedURI, x.Volatile)
	}
}

// TestVolatile tells apart what a match rested on: a false true costs a cached match, a false false would serve a wrong
// route from the cache.
func TestVolatile(t *testing.T) {
	for _, c := range []struct {
		fields string
		want   bool
	}{
		{`"methods":["GET"]`, false},
		{`"host":"h"`, false},
		{`"host":"h:80"`, true},
		{`"remote_addr":"1.1.1.1"`, true},
		{`"vars":[["arg_x","==","1"]]`, true},
		{`"vars":[]`, false},
		{`"expression":"request.method == 'x'"`, true},
		{`"methods":["POST"],"vars":[["arg_x","==","1"]]`, false},
	} {
		table := compileAll(t, toyCompiler(URI), `routes 1 {"uri":"/a",`+c.fields+`}`, `routes 2 {"uri":"/*"}`)
		x := new(gateway.Exchange)
		x.Request.Method, x.Request.Path = "GET", "/a"
		x.Request.SetHost("h")
		x.Volatile = !c.want
		if table.Match(x, nil) == nil || x.Volatile != c.want {
			t.Errorf("%s: volatile %v, want %v", c.fields, x.Volatile, c.want)
		}
	}
}

func TestRemoteAddrs(t *testing.T) {
	many := make([]string, 20)
	for i := range many {
		many[i] = fmt.Sprintf("10.%d.0.0/16", i)
	}
	for _, list := range [][]string{{"10.3.0.0/16"}, {"::ffff:10.3.1.1"}, many} {
		table := compileAll(t, toyCompiler(URI), `routes 1 {"uri":"/*","remote_addrs":["`+strings.Join(list, `","`)+`"]}`)
		for addr, want := range map[string]string{"10.3.1.1": "1", "::ffff:10.3.1.1": "1", "10.77.1.1": "", "::1": ""} {
			x := new(gateway.Exchange)
			x.Request.Path, x.Request.Client = "/", netip.AddrPortFrom(netip.MustParseAddr(addr), 1)
			if got := routeID(table.Match(x, nil)); got != want {
				t.Errorf("%q from %s: got %q, want %q", list[0], addr, got, want)
			}
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	for _, router := range []string{HostURI, URI, URIWithParameter} {
		table := compileAll(t, toyCompiler(router),
			`routes 1 {"uri":"/u/:id/*rest","hosts":["a.b.c"],"methods":["GET"]}`,
			`routes 2 {"uri":"/u/*/x","hosts":["*.b.c"],"vars":[["arg_v","==","1"]]}`,
			`routes 3 {"uri":"/u/*","remote_addrs":["10.0.0.0/8"]}`,
			`routes 4 {"uri":"/*"}`,
		)
		x := new(gateway.Exchange)
		x.Request.Method, x.Request.Path = "GET", "/u/7/a/b"
		x.Request.SetHost("a.b.c")
		table.Match(x, nil)
		if n := testing.AllocsPerRun(100, func() {
			if table.Match(x, nil) == nil || table.ReadsBody(x) != 0 {
				t.Error("no match")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", router, n)
		}
	}
}

func TestReadsBody(t *testing.T) {
	type request struct {
		method, contentType string
		length              int64
	}
	form := request{"POST", "application/x-www-form-urlencoded", 5}
	multipart := request{"PUT", "multipart/form-data; boundary=x", -1}
	anyJSON := request{"POST", "Application/JSON; charset=utf-8", 5}
	graphQL := request{"POST", "application/graphql", 5}
	for _, c := range []struct {
		vars string
		want map[request]int64
	}{
		{`[["arg_x","==","1"]]`, map[request]int64{form: 0, anyJSON: 0, graphQL: 0}},
		{`[["post_arg_x","==","1"]]`, map[request]int64{
			form: 64 << 20, multipart: 64 << 20, anyJSON: 64 << 20, graphQL: 0, {"GET", "", 0}: 0, {"POST", "text/plain", 5}: 0,
			{"POST", "application/json", 0}: 0,
		}},
		{`[["graphql_name","==","q"]]`, map[request]int64{form: 0, anyJSON: 1 << 20, graphQL: 1 << 20, {"GET", "application/json", 5}: 0}},
	} {
		table := compileAll(t, toyCompiler(HostURI), `routes 1 {"uri":"/a","vars":`+c.vars+`}`)
		for r, want := range c.want {
			x := new(gateway.Exchange)
			x.Request.Method, x.Request.ContentLength = r.method, r.length
			x.Request.Header.Add("Content-Type", r.contentType)
			if got := table.ReadsBody(x); got != want {
				t.Errorf("vars %s, %v: got %d, want %d", c.vars, r, got, want)
			}
			if got := mustChange(t, table, "routes 1").ReadsBody(x); got != 0 {
				t.Errorf("vars %s, %v: %d after the route has gone", c.vars, r, got)
			}
		}
	}
}
