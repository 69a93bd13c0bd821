// SPDX-License-Identifier: Apache-2.0

package table

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// streamCompiler has toy-a and toy-b for streams, and the usual toys for requests.
func streamCompiler() *Compiler {
	c := toyCompiler(HostURI)
	c.StreamPlugins = gateway.Plugins{}
	for i, name := range []string{"toy-a", "toy-b"} {
		p := toyPlugin(name, 100-i)
		p.Stream = true
		c.StreamPlugins[name] = p
	}
	return c
}

const someNode = `"upstream":{"nodes":{"127.0.0.1:1":1}}`

// streamID matches a connection from 10.1.1.1 to 10.0.0.1 and returns the route's id.
func streamID(table *Table, port uint16, name string) string {
	local, client := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), netip.MustParseAddrPort("10.1.1.1:999")
	if r := table.Stream(local, client, name); r != nil {
		return r.ID
	}
	return ""
}

func TestStreamMatch(t *testing.T) {
	for _, c := range []struct {
		// routes are the conditions of the routes a, b, c ...
		routes string
		port   uint16
		name   string
		want   string
	}{
		{``, 9100, "", ""},
		{`{}`, 9100, "", "a"},
		{`{"server_port":9100} {}`, 9100, "", "a"},
		{`{"server_port":9101} {}`, 9100, "", "b"},
		{`{} {"server_port":9100}`, 9100, "", "a"},
		{`{"server_port":9101}`, 9100, "", ""},
		{`{"server_addr":"10.0.0.1"}`, 1, "", "a"},
		{`{"server_addr":"10.0.0.2"} {"server_addr":"10.0.0.0/8"}`, 1, "", "b"},
		{`{"remote_addr":"10.1.1.0/24"}`, 1, "", "a"},
		{`{"remote_addr":"10.1.2.0/24"} {"remote_addr":"10.1.1.1"}`, 1, "", "b"},
		{`{"remote_addr":"::/0"}`, 1, "", ""},
		{`{"server_port":1,"remote_addr":"10.1.2.0/24"} {"server_port":1}`, 1, "", "b"},

		{`{} {"sni":"a.test"}`, 1, "a.test", "b"},
		{`{} {"sni":"A.Test"}`, 1, "a.teST.", "b"},
		{`{} {"sni":"a.test"}`, 1, "b.test", "a"},
		{`{"sni":"a.test"}`, 1, "", ""},
		{`{"sni":"*.test"} {"sni":"a.test"}`, 1, "a.test", "b"},
		{`{"sni":"*.test"}`, 1, "a.test", "a"},
		{`{"sni":"*.test"}`, 1, "b.a.test", ""},
		{`{"sni":"*.test"}`, 1, "test", ""},
		{`{"sni":"*"} {}`, 1, "b.a.test", "a"},
		{`{"sni":"*"} {}`, 1, "", "b"},
		{`{"sni":"*example.test"}`, 1, "myexample.test", "a"},
		{`{"sni":"*example.test"}`, 1, "example.test", "a"},
		// Conditions are looked at within a name, and then for the next.
		{`{"sni":"a.test","remote_addr":"10.9.9.9"} {"sni":"*.test"} {}`, 1, "a.test", "b"},
		{`{"sni":"a.test","server_port":2} {"sni":"a.test"}`, 1, "a.test", "b"},
		{`{"sni":"a.test","remote_addr":"10.9.9.9"} {"sni":"a.test"}`, 1, "a.test", "b"},
		{`{"protocol":{"name":"redis","superior_id":"b"}} {"protocol":{"name":"redis"}}`, 1, "", "b"},
	} {
		var texts []string
		for i, conditions := range strings.Fields(c.routes) {
			comma := ","
			if conditions == "{}" {
				comma = ""
			}
			texts = append(texts, "stream_routes "+string(rune('a'+i))+" "+strings.TrimSuffix(conditions, "}")+comma+someNode+"}")
		}
		// As a whole, and by one change after another in the other direction.
		whole, stepwise := compileAll(t, streamCompiler(), texts...), compileAll(t, streamCompiler())
		for i := range texts {
			stepwise = mustChange(t, stepwise, texts[len(texts)-1-i])
		}
		for how, table := range map[string]*Table{"compiled": whole, "changed": stepwise} {
			if got := streamID(table, c.port, c.name); got != c.want {
				t.Errorf("%s, %s: port %d, name %q: got route %q, want %q", c.routes, how, c.port, c.name, got, c.want)
			}
		}
	}
}

func TestStreamsByName(t *testing.T) {
	table := compileAll(t, streamCompiler(),
		`stream_routes a {"sni":"a.test","server_port":1,"remote_addr":"10.0.0.0/8",`+someNode+`}`, `stream_routes b {`+someNode+`}`)
	for _, c := range []struct {
		local, client string
		want          bool
	}{
		{"1.1.1.1:1", "10.1.1.1:9", true},
		{"1.1.1.1:2", "10.1.1.1:9", false},
		{"1.1.1.1:1", "11.1.1.1:9", false},
		{"[::ffff:1.1.1.1]:1", "[::ffff:10.1.1.1]:9", true},
	} {
		if got := table.StreamsByName(netip.MustParseAddrPort(c.local), netip.MustParseAddrPort(c.client)); got != c.want {
			t.Errorf("%s from %s: got %v", c.local, c.client, got)
		}
	}
	if table = mustChange(t, table, "stream_routes a"); table.StreamsByName(netip.MustParseAddrPort("1.1.1.1:1"), netip.MustParseAddrPort("10.1.1.1:9")) {
		t.Error("a deleted route goes on asking for names")
	}
}

func TestStreamMatchAllocatesNothing(t *testing.T) {
	table := compileAll(t, streamCompiler(), `stream_routes a {"sni":"*.test","server_port":1,`+someNode+`}`)
	local, client := netip.MustParseAddrPort("1.1.1.1:1"), netip.MustParseAddrPort("10.1.1.1:9")
	if n := testing.AllocsPerRun(100, func() { table.Stream(local, client, "a.test") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A stream route has its service's upstream and those of its plugins that are for streams, and follows its changes.
func TestStreamService(t *testing.T) {
	c := streamCompiler()
	table := compileAll(t, c,
		`services s {"name":"srv","plugins":{"toy-a":{"x":1},"toy-c":{}},"upstream":{"nodes":{"127.0.0.1:1":1},"scheme":"tls"}}`,
		`stream_routes a {"service_id":"s","plugins":{"toy-b":{}}}`)
	route := func() *gateway.Route {
		t.Helper()
		r := table.Stream(netip.MustParseAddrPort("1.1.1.1:1"), netip.MustParseAddrPort("1.1.1.1:2"), "")
		if r == nil {
			t.Fatal("no route")
		}
		return r
	}
	r := route()
	if want := []string{"toy-a=services/s", "toy-b=stream_routes/a"}; !reflect.DeepEqual(instances(r.Chain, c.StreamPlugins), want) {
		t.Errorf("got %v, want %v", instances(r.Chain, c.StreamPlugins), want)
	}
	if r.Upstream == nil || r.Upstream.Scheme != "tls" || r.ServiceName != "srv" {
		t.Errorf("got %+v", r)
	}
	table = mustChange(t, table, `services s {"plugins":{"toy-b":{"x":3}},"upstream_id":"u"}`)
	if r = route(); r.UpstreamID != "u" || r.Upstream != nil || len(r.Chain.Names()) != 1 {
		t.Errorf("after a change of the service: %+v, %v", r, r.Chain.Names())
	}
	// What would keep strangers out of the service's routes keeps everybody out here.
	table = mustChange(t, table, `services s {"plugins":{"toy-auth":{}},"upstream_id":"u"}`)
	if r = route(); r.Fault != 503 || r.FaultReason != "service s: plugin toy-auth lets nobody in on a stream" {
		t.Errorf("got fault %d %s", r.Fault, r.FaultReason)
	}
	table = mustChange(t, table, `services s {"plugins":{"toy-auth":{"_meta":{"disable":true}}},"upstream_id":"u"}`)
	if r = route(); r.Fault != 0 {
		t.Errorf("got fault %d %s", r.Fault, r.FaultReason)
	}
	table = mustChange(t, table, "services s")
	if r = route(); r.Fault != 404 {
		t.Errorf("without the service: %+v", r)
	}
}

// What did not change is shared, so that counters and health go on.
func TestStreamShares(t *testing.T) {
	c := streamCompiler()
	const node = `"upstream":{"nodes":{"127.0.0.1:1":1,"127.0.0.1:2":1},"checks":{"active":{"type":"tcp"}}}`
	before := compileAll(t, c, `stream_routes a {"plugins":{"toy-a":{}},`+node+`}`)
	after := mustChange(t, before, `stream_routes a {"desc":"d","plugins":{"toy-a":{},"toy-b":{}},`+node+`}`)
	local, client := netip.MustParseAddrPort("1.1.1.1:1"), netip.MustParseAddrPort("1.1.1.1:2")
	old, new := before.Stream(local, client, ""), after.Stream(local, client, "")
	if old == new || old.Upstream != new.Upstream || old.Upstream.Scheme != "tcp" {
		t.Errorf("upstreams: %+v, %+v", old.Upstream, new.Upstream)
	}
	a, _ := old.Chain.Entry(c.StreamPlugins["toy-a"])
	if b, _ := new.Chain.Entry(c.StreamPlugins["toy-a"]); a.Instance == nil || a.Instance != b.Instance {
		t.Error("the instance of toy-a is another")
	}
	n := 0
	for range after.Checked() {
		n++
	}
	if n != 1 {
		t.Errorf("%d upstreams are checked, want 1", n)
	}
	for range mustChange(t, after, "stream_routes a").Checked() {
		t.Error("the upstream of a deleted route is checked")
	}
}

func TestStreamRefusals(t *testing.T) {
	c := streamCompiler()
	for text, want := range map[string]string{
		`{"plugins":{"toy-a":{"x":"y"}}}`:                                  `failed to check the configuration of stream plugin [toy-a]: property "x" validation failed: wrong type: expected integer, got string`,
		`{"plugins":{"toy-c":{}}}`:                                         `unknown plugin [toy-c]`,
		`{"protocol":{"name":"smtp"}}`:                                     `unknown protocol [smtp]`,
		`{"protocol":{"name":"redis","conf":{"faults":[]}}}`:               `'protocol.conf' is not supported yet: streams are proxied as they are`,
		`{"protocol":{"name":"redis","logger":[{"name":"syslog"}]}}`:       `'protocol.logger' is not supported yet: streams are proxied as they are`,
		`{"upstream":{"nodes":[{"host":"n","port":1,"weight":1}]}}`:        ``,
		`{"protocol":{"name":"dubbo","superior_id":"2"},` + someNode + `}`: ``,
	} {
		checkRefusal(t, "Check "+text, c.Check(object(t, "stream_routes a "+text)), want)
		_, err := change(t, compileAll(t, c), "stream_routes a "+text)
		checkRefusal(t, "With "+text, err, want)
	}
	// What is stored nevertheless matches and is closed, or matches nothing where it cannot be read.
	made, faults := c.Compile(1, objects(t, `stream_routes a {"plugins":{"nope":{}},`+someNode+`}`, `stream_routes b {"remote_addr":"x"}`))
	local, client := netip.MustParseAddrPort("1.1.1.1:1"), netip.MustParseAddrPort("1.1.1.1:2")
	if r := made.(*Table).Stream(local, client, ""); len(faults) != 2 || r == nil || r.ID != "a" || r.Fault != 503 {
		t.Errorf("%v, %+v", faults, r)
	}
}

func BenchmarkStream(b *testing.B) {
	texts := make([]string, 0, 1000)
	for i := range 1000 {
		name := strings.Repeat("x", i%50+1) + string(rune('a'+i%26)) + ".test"
		texts = append(texts, "stream_routes "+name+" "+`{"sni":"`+name+`","server_port":1,`+someNode+`}`)
	}
	table := compileAll(b, streamCompiler(), texts...)
	local, client := netip.MustParseAddrPort("1.1.1.1:1"), netip.MustParseAddrPort("10.1.1.1:9")
	b.ReportAllocs()
	for b.Loop() {
		if table.Stream(local, client, "xxxxxd.test") == nil && table.Stream(local, client, "xa.test") == nil {
			b.Fatal("no route")
		}
	}
}
