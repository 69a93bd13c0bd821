// SPDX-License-Identifier: Apache-2.0

package benchmark

import (
	"context"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/nethttp"
	"github.com/andogate/ando/modules/store/bolt"
	"github.com/andogate/ando/modules/table"
)

// BenchmarkStart opens a store of 10 000 routes, makes the table of it and sends the first request, which a stored route
// answers: 401, because it wants a key.
func BenchmarkStart(b *testing.B) {
	path := fill(b, storedRoutes)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		g, _ := open(b, path)
		address, shut := serve(b, g)
		req, err := http.NewRequest("GET", "http://"+address+"/api/v0/service-0/orders", nil)
		if err != nil {
			b.Fatal(err)
		}
		req.Host = "tenant-0.example.com"
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			b.Fatalf("status %d", resp.StatusCode)
		}
		shut()
		if err := g.Close(); err != nil {
			b.Fatal(err)
		}
	}
	report(b, "", took)
	b.ReportMetric(0, "ns/op")
}

// BenchmarkMemory tells what a route costs while it is served: the object, its JSON and all that was compiled of it.
func BenchmarkMemory(b *testing.B) {
	path := fill(b, storedRoutes)
	// What every process pays once, such as the compiled schemas, is no route's.
	warm, _ := open(b, fill(b, 10))
	_ = nethttp.New(nethttp.Config{Gateway: warm})
	for b.Loop() {
		before := heap()
		g, _ := open(b, path)
		full := heap()
		b.ReportMetric(float64(full-before)/storedRoutes, "B/route")
		b.ReportMetric(float64(len(storedRoute(1234).Value)), "B/route-json")
		runtime.KeepAlive(g)
		if err := g.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(0, "ns/op")
	if err := warm.Close(); err != nil {
		b.Fatal(err)
	}
}

func heap() int64 {
	var stats runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// BenchmarkParts times the steps of a start, to see which one to look at.
func BenchmarkParts(b *testing.B) {
	path := fill(b, storedRoutes)
	store, err := bolt.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	rev, objects, err := store.Snapshot(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	b.Run("snapshot", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := store.Snapshot(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("compile", func(b *testing.B) {
		for b.Loop() {
			compiler := &table.Compiler{Plugins: gateway.RegisteredPlugins()}
			if _, faults := compiler.Compile(rev, objects); len(faults) > 0 {
				b.Fatal(faults)
			}
		}
	})
}
