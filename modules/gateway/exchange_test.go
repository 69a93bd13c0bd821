// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
	"unsafe"
)

// keptByReset are the fields that outlive a request, and why.
var keptByReset = map[string]string{
	"memo":           "the owner's cache of the table",
	"Request.client": "text of an address, found again by the address",
	"Request.peer":   "text of an address, found again by the address",
	"Request.local":  "text of a port, found again by the port",
}

// TestReset poisons every field and looks for what is left. A field that is added and forgotten in Reset fails it.
func TestReset(t *testing.T) {
	x := new(Exchange)
	poison(t, reflect.ValueOf(x).Elem(), "")
	x.Reset()
	clean(t, reflect.ValueOf(x).Elem(), "")
}

func poison(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	switch v.Kind() {
	case reflect.Struct:
		switch v.Interface().(type) {
		case time.Time:
			v.Set(reflect.ValueOf(time.Unix(1, 2)))
			return
		case netip.AddrPort:
			v.Set(reflect.ValueOf(netip.MustParseAddrPort("192.0.2.1:80")))
			return
		case netip.Addr:
			v.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.1")))
			return
		}
		for i := range v.NumField() {
			poison(t, v.Field(i), join(path, v.Type().Field(i).Name))
		}
	case reflect.String:
		v.SetString("poison")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint16, reflect.Uint64:
		v.SetUint(7)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 4))
		for i := range v.Len() {
			poison(t, v.Index(i), path+"[]")
		}
	case reflect.Array:
		for i := range v.Len() {
			poison(t, v.Index(i), path+"[]")
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Interface:
		for _, value := range []any{&fakeTable{}, &fakeWire{}, new(inOrder), ErrBodyTooLarge, brackets{}} {
			if reflect.TypeOf(value).AssignableTo(v.Type()) {
				v.Set(reflect.ValueOf(value))
				return
			}
		}
		t.Fatalf("%s: nothing to poison it with", path)
	default:
		t.Fatalf("%s: a %s, which the test does not know", path, v.Kind())
	}
}

func clean(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	if keptByReset[path] != "" {
		return
	}
	v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	switch v.Kind() {
	case reflect.Struct:
		switch v.Interface().(type) {
		case time.Time, netip.AddrPort:
		default:
			for i := range v.NumField() {
				clean(t, v.Field(i), join(path, v.Type().Field(i).Name))
			}
			return
		}
	case reflect.Slice:
		if v.Len() > 0 {
			t.Errorf("%s: %d elements are left", path, v.Len())
		}
		// Memory may be kept, but nothing that it refers to.
		all := v.Slice(0, v.Cap())
		for i := range all.Len() {
			clean(t, all.Index(i), path+"[]")
		}
		return
	case reflect.Array:
		for i := range v.Len() {
			clean(t, v.Index(i), path+"[]")
		}
		return
	}
	if !v.IsZero() {
		t.Errorf("%s: %v is left", path, v)
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// begin starts an exchange on the gateway for one request.
func begin(g *Gateway, x *Exchange, method, host, path string) {
	x.Reset()
	x.Request.Method, x.Request.Host, x.Request.Path, x.Request.EscapedPath = method, host, path, path
	g.Begin(x, nil)
	x.Next(false)
}

func TestMemo(t *testing.T) {
	a, b := &Route{ID: "a", Fault: 500}, &Route{ID: "b", Fault: 500}
	table := &fakeTable{route: a, onMatch: func(x *Exchange) { x.MatchedURI, x.MatchedHost = "/a*", "h" }}
	g := new(Gateway)
	g.publish(table, nil)
	x := new(Exchange)
	path := []byte("/a")
	steps := []struct {
		what               string
		do                 func()
		method, host, path string
		asked              bool
		route              *Route
	}{
		{"first", nil, "GET", "h", string(path), true, a},
		{"again", nil, "GET", "h", "/a", false, a},
		{"other method", nil, "PUT", "h", "/a", true, a},
		{"other host", nil, "PUT", "i", "/a", true, a},
		{"other path", nil, "PUT", "i", "/b", true, a},
		{"that again", nil, "PUT", "i", "/b", false, a},
		{"rare method", nil, "BREW", "h", "/a", true, a},
		{"rare method again", nil, "BREW", "h", "/a", true, a},
		{"back", nil, "GET", "h", "/a", true, a},
		{"another table", func() { table = &fakeTable{route: b}; g.publish(table, nil) }, "GET", "h", "/a", true, b},
		{"another table, again", nil, "GET", "h", "/a", false, b},
		{"other settings", func() { g.publish(table, &Settings{}) }, "GET", "h", "/a", true, b},
		{"no route", func() { table = &fakeTable{}; g.publish(table, nil) }, "GET", "h", "/a", true, nil},
		{"no route, again", nil, "GET", "h", "/a", true, nil},
		{"volatile", func() {
			table = &fakeTable{route: a, onMatch: func(x *Exchange) { x.Volatile = true }}
			g.publish(table, nil)
		}, "GET", "h", "/a", true, a},
		{"volatile, again", nil, "GET", "h", "/a", true, a},
		{"parameters", func() {
			table = &fakeTable{route: a, onMatch: func(x *Exchange) { x.Params = append(x.Params, Param{"id", "a"}) }}
			g.publish(table, nil)
		}, "GET", "h", "/a", true, a},
		{"parameters, again", nil, "GET", "h", "/a", true, a},
	}
	for _, s := range steps {
		if s.do != nil {
			s.do()
		}
		before := table.matches
		begin(g, x, s.method, s.host, s.path)
		if x.Route != s.route || table.matches > before != s.asked {
			t.Errorf("%s: got route %v, asked %v; want %v, %v", s.what, x.Route, table.matches > before, s.route, s.asked)
		}
		if s.route == b && table.onMatch == nil && x.MatchedURI != "" {
			t.Errorf("%s: pattern %q is another table's", s.what, x.MatchedURI)
		}
		x.Finish()
	}
}

// TestMemoPatterns: what goes with the route comes out of the memory too.
func TestMemoPatterns(t *testing.T) {
	table := &fakeTable{route: &Route{Fault: 500}, onMatch: func(x *Exchange) { x.MatchedURI, x.MatchedHost = "/a*", "*.h" }}
	g := new(Gateway)
	g.publish(table, nil)
	x := new(Exchange)
	for range 2 {
		begin(g, x, "GET", "h", "/a")
		if x.MatchedURI != "/a*" || x.MatchedHost != "*.h" {
			t.Errorf("got patterns %q and %q", x.MatchedURI, x.MatchedHost)
		}
		x.Finish()
	}
	if table.matches != 1 {
		t.Errorf("the table was asked %d times, want once", table.matches)
	}
}

// TestMemoKeepsNoRequest: the request's strings are its wire's memory, which is overwritten.
func TestMemoKeepsNoRequest(t *testing.T) {
	table := &fakeTable{route: &Route{Fault: 500}}
	g := new(Gateway)
	g.publish(table, nil)
	x := new(Exchange)
	memory := []byte("GEThost/path")
	text := unsafe.String(unsafe.SliceData(memory), len(memory))
	begin(g, x, text[:3], text[3:7], text[7:])
	x.Finish()
	copy(memory, "PUTHOST/PATH")
	begin(g, x, "GET", "host", "/path")
	x.Finish()
	if table.matches != 1 {
		t.Error("the memory of the match was overwritten with the request")
	}
	begin(g, x, "PUT", "HOST", "/PATH")
	x.Finish()
	if table.matches != 2 {
		t.Error("the memory of the match follows the request's memory")
	}
}

// keyAuth is what an auth plugin does when all is well.
type keyAuth struct{}

func (keyAuth) Rewrite(x *Exchange) Verdict {
	key, _ := x.Request.Header.Lookup("apikey")
	credential := x.Table.Credential("key-auth", key)
	if credential == nil {
		return x.Exit(401, noRoute)
	}
	x.AttachConsumer(credential.Consumer, credential.ID)
	return Continue
}

// fixedPick is a balancer with one node.
type fixedPick struct{ node *Node }

func (p fixedPick) Pick(*Exchange) *Node { return p.node }

func keyAuthGateway() *Gateway {
	jack := &Consumer{Name: "jack", Labels: map[string]string{"custom_id": "7"}, Plugins: []Entry{entry(headerOnly{setsField{}}, "b", 1)}}
	upstream := &Upstream{Balancer: fixedPick{&Node{State: new(NodeState)}}, Scheme: "http"}
	g := new(Gateway)
	g.publish(&fakeTable{
		route:       &Route{Chain: NewChain([]Entry{entry(keyAuth{}, "key-auth", 2)}), Upstream: upstream},
		credentials: map[string]*Credential{"k": {ID: "c1", Consumer: jack}},
	}, nil)
	return g
}

type setsField struct{}

func (setsField) FilterHeader(x *Exchange) { x.Response.Header.Set("X-Rate", "1") }

var clientAddr, localAddr = netip.MustParseAddrPort("192.0.2.7:1234"), netip.MustParseAddrPort("198.51.100.1:9080")

// serve takes one request through everything that a wire calls.
func serve(g *Gateway, x *Exchange, key string) {
	r := &x.Request
	r.Method, r.Scheme, r.ProtoMajor, r.ProtoMinor = "GET", "http", 1, 1
	r.Peer, r.Client, r.Local = clientAddr, clientAddr, localAddr
	r.SetHost("api.example.com")
	if r.SetTarget("/orders/7?full=1") != nil {
		panic("bad target")
	}
	for _, field := range [...]Field{{"User-Agent", "curl"}, {"Accept", "*/*"}, {"apikey", key}, {"Connection", "keep-alive"}} {
		r.Header.Add(field.Name, field.Value)
	}
	g.Begin(x, nil)
	if x.Next(false) == StepForward && x.Pick() != nil {
		x.BeginResponse(200)
		x.Response.Header.Add("Content-Type", "text/plain")
		x.Response.Header.Add("Content-Length", "4")
		if x.ForwardTarget() == "" || x.ForwardHost() == "" {
			panic("nothing to forward")
		}
	}
	x.FilterHeader()
	x.Finish()
	x.Reset()
}

func TestExchangeAllocs(t *testing.T) {
	g, x := keyAuthGateway(), new(Exchange)
	for _, key := range []string{"k", "wrong"} {
		serve(g, x, key)
		if n := testing.AllocsPerRun(100, func() { serve(g, x, key) }); n != 0 {
			t.Errorf("key %q: %v allocations from Begin to Reset, want 0", key, n)
		}
	}
}

func BenchmarkExchange(b *testing.B) {
	g, x := keyAuthGateway(), new(Exchange)
	b.ReportAllocs()
	for b.Loop() {
		serve(g, x, "k")
	}
}
