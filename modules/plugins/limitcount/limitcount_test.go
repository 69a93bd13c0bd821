// SPDX-License-Identifier: Apache-2.0

package limitcount

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{Text: `{"count":1,"time_window":60}`},
		{Text: `{"count":"$http_n","time_window":"60","key_type":"constant","key":"k"}`},
		{Text: `{"rules":[{"count":1,"time_window":60,"key":"$a"},{"count":1,"time_window":60,"key":"$b"}]}`},
		{Text: `{"count":1,"time_window":60,"policy":"redis","redis_host":"127.0.0.1","sync_interval":0.1}`},
		{Text: `{"count":1,"time_window":"$http_w","policy":"redis","redis_host":"127.0.0.1","sync_interval":90}`},
		{Text: `{}`, Want: "value should match only one schema, but matches none"},
		{Text: `{"count":1}`, Want: "value should match only one schema, but matches none"},
		{Text: `{"count":0,"time_window":60}`, Want: `property "count" validation failed: value should match only one schema, but matches none`},
		{Text: `{"count":1,"time_window":60,"policy":"redis"}`, Want: "then clause did not match"},
		{Text: `{"count":1,"time_window":60,"policy":"redis-cluster"}`, Want: "else clause did not match"},
		{Text: `{"count":1,"time_window":60,"policy":"redis-sentinel"}`, Want: "else clause did not match"},
		{Text: `{"rules":[{"count":1,"time_window":60,"key":"$a"},{"count":2,"time_window":6,"key":"$a"}]}`, Want: "duplicate key '$a' in rules"},
		{Text: `{"count":1,"time_window":60,"policy":"redis","redis_host":"h1","sync_interval":0.09}`, Want: "sync_interval should not be smaller than 0.1"},
		{Text: `{"count":1,"time_window":60,"policy":"redis","redis_host":"h1","sync_interval":0}`, Want: "sync_interval should not be smaller than 0.1"},
		{Text: `{"count":1,"time_window":60,"policy":"redis","redis_host":"h1","sync_interval":60}`, Want: "sync_interval should be smaller than time_window"},
		{
			Text: `{"rules":[{"count":1,"time_window":60,"key":"$a"},{"count":1,"time_window":2,"key":"$b"}],"policy":"redis","redis_host":"h1","sync_interval":3}`,
			Want: "sync_interval should be smaller than time_window",
		},
	})
	for config, want := range map[string]string{
		`{"count":1,"time_window":60}`: "",
		`{"rules":[]}`:                 "",
		`{"count":1,"rules":[]}`:       "count/time_window and rules cannot be specified at the same time",
		`{"time_window":1,"rules":[]}`: "count/time_window and rules cannot be specified at the same time",
		`{"group":"g","rules":[]}`:     "group and rules cannot be specified at the same time",
	} {
		if err := Refuse(json.RawMessage(config)); want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

// TestGroup: configs of one group are the same while one is in use.
func TestGroup(t *testing.T) {
	config := func(count int) string {
		return fmt.Sprintf(`{"count":%d,"time_window":60,"group":"TestGroup"}`, count)
	}
	first, err := plugintest.Compile(t, name, config(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plugintest.Compile(t, name, config(1)); err != nil {
		t.Error(err)
	}
	if _, err := plugintest.Compile(t, name, config(2)); err == nil || err.Error() != "group conf mismatched" {
		t.Errorf("got %v", err)
	}
	runtime.KeepAlive(first)
	runtime.GC()
	if _, err := plugintest.Compile(t, name, config(2)); err != nil {
		t.Errorf("nobody uses the group any more, and still: %v", err)
	}
}

// TestSurvives: counters outlive changes around a config, and a config that is taken away and comes back; another config
// begins anew, and so does that of another owner.
func TestSurvives(t *testing.T) {
	remaining := func(t *testing.T, id, uri, count string) string {
		t.Helper()
		g := gatewaytest.Open(t, gateway.Object{
			Kind: gateway.Routes, ID: id,
			Value: json.RawMessage(`{"id":"` + id + `","uri":"` + uri + `","plugins":{"limit-count":{"count":` + count +
				`,"time_window":60,"key":"TestSurvives","key_type":"constant"}},"upstream":{"nodes":{"127.0.0.1:1":1}}}`),
		})
		x := new(gateway.Exchange)
		x.Request.Method, x.Request.Path, x.Request.EscapedPath = "GET", "/a", "/a"
		g.Begin(x, nil)
		if step := x.Next(false); step != gateway.StepForward {
			t.Fatalf("got step %v", step)
		}
		return x.Response.Header.Get("X-RateLimit-Remaining")
	}
	for i, c := range []struct{ id, uri, count, want string }{
		{"survives-1", "/*", "10", "9"},
		{"survives-1", "/*", "10", "8"},
		{"survives-1", "/a", "10", "7"},
		{"survives-1", "/a", "11", "10"},
		{"survives-1", "/a", "10", "6"},
		{"survives-2", "/a", "10", "9"},
	} {
		if got := remaining(t, c.id, c.uri, c.count); got != c.want {
			t.Errorf("%d: got %s, want %s", i, got, c.want)
		}
	}
}

// TestClientInPlaceOfKey: whoever has no key counts by address.
func TestClientInPlaceOfKey(t *testing.T) {
	x := plugintest.Open(t, `{"limit-count":{"count":2,"time_window":60,"key":"http_absent"}}`)
	for i, c := range []struct{ client, want string }{
		{"192.0.2.101:1", "1"}, {"192.0.2.101:2", "0"}, {"192.0.2.102:1", "1"}, {"[2001:db8::1]:1", "1"},
	} {
		x.Run(func(x *gateway.Exchange) { x.Request.Client = netip.MustParseAddrPort(c.client) })
		if got := x.Response.Header.Get("X-RateLimit-Remaining"); got != c.want {
			t.Errorf("%d: got %s, want %s", i, got, c.want)
		}
	}
}

func TestAllocs(t *testing.T) {
	for config, step := range map[string]gateway.Step{
		`{"count":1000000,"time_window":60}`:                                                            gateway.StepForward,
		`{"count":1,"time_window":600}`:                                                                 gateway.StepReply,
		`{"count":1000000,"time_window":86400,"window_type":"sliding"}`:                                 gateway.StepForward,
		`{"count":1000000,"time_window":61,"key_type":"var_combination","key":"$remote_addr-$uri"}`:     gateway.StepForward,
		`{"rules":[{"count":1000000,"time_window":60,"key":"$remote_addr"}],"rejected_msg":"too many"}`: gateway.StepForward,
	} {
		x := plugintest.Open(t, `{"limit-count":`+config+`}`)
		client := func(x *gateway.Exchange) { x.Request.Client = netip.MustParseAddrPort("192.0.2.200:1") }
		x.Run(client)
		x.WantAllocs(t, step, 0, client)
	}
}

// BenchmarkLimitCount is one request of 64 goroutines for one of 100 000 keys, with the fields of its response. "nothing"
// is the same request without the plugin. What a request brings along lies together in memory, as it does for a wire; the
// counters do not.
func BenchmarkLimitCount(b *testing.B) {
	for _, window := range []string{"fixed", "sliding"} {
		instance, err := plugintest.Compile(b, name, `{"count":1000000000,"time_window":3600,"key":"http_x_user","window_type":"`+window+`"}`)
		if err != nil {
			b.Fatal(err)
		}
		plugin := gateway.RegisteredPlugins()[name]
		b.Run(window, func(b *testing.B) { benchmarkChain(b, gateway.Entry{Plugin: plugin, Instance: instance}) })
	}
	b.Run("nothing", func(b *testing.B) { benchmarkChain(b) })
}

func benchmarkChain(b *testing.B, entries ...gateway.Entry) {
	const keys, goroutines = 100_000, 64
	users := make([]string, keys)
	for i := range users {
		users[i] = fmt.Sprint("user-", i)
	}
	table := &routeTable{
		Table: gatewaytest.Open(b).Table(),
		route: &gateway.Route{Chain: gateway.NewChain(entries), Upstream: &gateway.Upstream{Balancer: nobody{}}},
	}
	start := time.Now()
	request := func(x *gateway.Exchange, user string) {
		x.Request.Method, x.Request.Path, x.Request.EscapedPath = "GET", "/a", "/a"
		x.Request.Header.Add("X-User", user)
		x.Start = start
		x.Begin(table, nil, nil)
		if x.Next(false) != gateway.StepForward {
			b.Error("refused")
		}
		x.Reset()
	}
	for _, user := range users {
		request(new(gateway.Exchange), user)
	}
	var seed atomic.Int64
	b.SetParallelism(max(1, goroutines/runtime.GOMAXPROCS(0)))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		x := new(gateway.Exchange)
		for i := int(seed.Add(1)) * 1543; pb.Next(); i++ {
			request(x, users[i%keys])
		}
	})
}

// routeTable is a table with one route.
type routeTable struct {
	gateway.Table
	route *gateway.Route
}

func (t *routeTable) Match(*gateway.Exchange, gateway.Trace) *gateway.Route { return t.route }

type nobody struct{}

func (nobody) Pick(*gateway.Exchange) *gateway.Node { return nil }

func TestMetadataDefaults(t *testing.T) {
	names, err := NewMetadata(gateway.Env{}, json.RawMessage(`{"reset_header":"X-R"}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := *names.(*fieldNames); got != (fieldNames{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-R"}) {
		t.Errorf("got %+v", got)
	}
	if _, err := NewMetadata(gateway.Env{}, json.RawMessage(`[]`)); err == nil || !strings.HasPrefix(err.Error(), "limit-count: metadata: ") {
		t.Errorf("got %v", err)
	}
}
