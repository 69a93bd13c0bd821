// SPDX-License-Identifier: Apache-2.0

package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// keyAuth stands for the plugin of that name, which most routes carry.
type keyAuth struct{ header, query string }

func (*keyAuth) Rewrite(*gateway.Exchange) gateway.Verdict { return gateway.Continue }

func benchCompiler() *Compiler {
	return &Compiler{Plugins: gateway.Plugins{"key-auth": {
		Name: "key-auth", Priority: 2500, Auth: true,
		Schema: json.RawMessage(`{"type":"object","properties":{"header":{"type":"string","default":"apikey"},
			"query":{"type":"string","default":"apikey"},"hide_credentials":{"type":"boolean","default":false}}}`),
		New: func(_ gateway.Env, config json.RawMessage) (any, error) {
			var c struct{ Header, Query string }
			if json.Unmarshal(config, &c) != nil || c.Header == "" {
				return nil, errors.New("no header")
			}
			return &keyAuth{c.Header, c.Query}, nil
		},
	}}}
}

// benchRoute is route i of n, ten to a host, as the Admin API stores it.
func benchRoute(i int) gateway.Object {
	return gateway.Object{
		Kind: gateway.Routes, ID: fmt.Sprint("route-", i), Created: uint64(i + 1), Modified: uint64(i + 1),
		Value: json.RawMessage(fmt.Sprintf(`{"uri":"/api/v%d/service-%d/*","hosts":["tenant-%d.example.com"],"methods":["GET","POST"],`+
			`"upstream":{"type":"roundrobin","nodes":{"10.0.%d.%d:8080":1}},"plugins":{"key-auth":{}},`+
			`"id":"route-%d","create_time":1700000000,"update_time":1700000000}`,
			i%3, i%10, i/10, i/250%250, i%250, i)),
	}
}

func benchRoutes(n int) []gateway.Object {
	all := make([]gateway.Object, n)
	for i := range all {
		all[i] = benchRoute(i)
	}
	return all
}

func compileBench(tb testing.TB, n int) *Table {
	tb.Helper()
	table, faults := benchCompiler().Compile(uint64(n), benchRoutes(n))
	if len(faults) > 0 {
		tb.Fatal(faults[0])
	}
	runtime.GC() // what compiling leaves behind is not what is measured next
	return table.(*Table)
}

func benchRequest(x *gateway.Exchange, i int) {
	x.Request.Method = "GET"
	x.Request.Path = fmt.Sprintf("/api/v%d/service-%d/orders/%d", i%3, i%10, i)
	x.Request.SetHost(fmt.Sprintf("tenant-%d.example.com", i/10))
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := compileBench(b, n)
			// One exchange is used for all; its texts change as they would from request to request.
			requests := make([]struct{ path, host string }, 4096)
			for i := range requests {
				var x gateway.Exchange
				benchRequest(&x, i*7919%n)
				requests[i].path, requests[i].host = x.Request.Path, x.Request.Host
			}
			x := new(gateway.Exchange)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				r := &requests[i%len(requests)]
				x.Request.Method, x.Request.Path, x.Request.Host = "GET", r.path, r.host
				if table.Match(x, nil) == nil {
					b.Fatal("no match")
				}
			}
		})
	}
}

// BenchmarkWith replaces one route of many.
func BenchmarkWith(b *testing.B) {
	const n = 100_000
	table := compileBench(b, n)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		o := benchRoute(i * 7919 % n)
		o.Value = append(json.RawMessage(fmt.Sprintf(`{"priority":%d,`, i)), o.Value[1:]...)
		o.Modified = uint64(n + i)
		next, err := table.With([]gateway.Change{{Object: o}})
		if err != nil {
			b.Fatal(err)
		}
		table = next.(*Table)
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			all, compiler := benchRoutes(n), benchCompiler()
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				if _, faults := compiler.Compile(1, all); len(faults) > 0 {
					b.Fatal(faults[0])
				}
			}
		})
	}
}

// TestMemoryPerRoute holds the whole of a route to a bound: its stored text, and everything that is compiled of it.
func TestMemoryPerRoute(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	before := heap()
	table := compileBench(t, n)
	perRoute := (heap() - before) / uint64(n)
	t.Logf("%d bytes per route", perRoute)
	if perRoute > 3<<10 {
		t.Errorf("%d bytes per route, want at most %d", perRoute, 3<<10)
	}
	runtime.KeepAlive(table)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
