// SPDX-License-Identifier: Apache-2.0

package benchmark

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// BenchmarkPutToServed replaces one of the stored routes after the other, and times each from the PUT to the answer of
// the node behind the new route: the PUT is durable then, and live.
func BenchmarkPutToServed(b *testing.B) {
	r := newRig(b)
	took := make([]time.Duration, 0, b.N)
	n, early := 0, 0
	for b.Loop() {
		path := fmt.Sprint("/fresh/", n)
		began := time.Now()
		if err := r.put(fmt.Sprint("route-", n*7919%storedRoutes), path); err != nil {
			b.Fatal(err)
		}
		for {
			served, err := r.get(path)
			if err != nil {
				b.Fatal(err)
			}
			if served {
				break
			}
			early++
		}
		took = append(took, time.Since(began))
		n++
	}
	report(b, "", took)
	report(b, "commit-", r.store.commits())
	b.ReportMetric(float64(early), "not-live")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkDisk is what a commit cannot be faster than: four pages written and flushed, then one more, as bbolt does.
func BenchmarkDisk(b *testing.B) {
	file, err := os.Create(filepath.Join(b.TempDir(), "disk"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	page := make([]byte, 4096)
	for i := range int64(4096) {
		if _, err := file.WriteAt(page, i*4096); err != nil {
			b.Fatal(err)
		}
	}
	write := func(pages ...int64) {
		for _, n := range pages {
			if _, err := file.WriteAt(page, n*4096); err != nil {
				b.Fatal(err)
			}
		}
		if err := file.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	write()
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		n := int64(len(took)) * 997 % 4000
		write(n+1, n+7, n+30, n+90)
		write(0)
		took = append(took, time.Since(began))
	}
	report(b, "", took)
	b.ReportMetric(0, "ns/op")
}

// BenchmarkWriters writes with one writer and with many, through the Admin API and straight to the committer. The bare
// file system is not the gateway's to speed up: writers that wait together share one flush, and that is what shows.
func BenchmarkWriters(b *testing.B) {
	r := newRig(b)
	submit := func(id, path string) error {
		value := fmt.Sprintf(`{"uri":%q,"upstream":{"type":"roundrobin","nodes":{%q:1}},"id":%q}`, path, r.node, id)
		change := gateway.Change{Object: gateway.Object{Kind: gateway.Routes, ID: id, Value: json.RawMessage(value)}}
		_, err := r.gateway.Submit(context.Background(), func(gateway.Tx) ([]gateway.Change, error) {
			return []gateway.Change{change}, nil
		})
		return err
	}
	for _, way := range []struct {
		name  string
		write func(id, path string) error
	}{{"admin", r.put}, {"submit", submit}} {
		alone := 0.0
		for _, writers := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%s/writers=%d", way.name, writers), func(b *testing.B) {
				r.store.commits()
				rate := writeWith(b, writers, way.write)
				b.ReportMetric(float64(b.N)/float64(len(r.store.commits())), "writes/commit")
				b.ReportMetric(rate, "writes/s")
				b.ReportMetric(0, "ns/op")
				if writers == 1 {
					alone = rate
				}
				b.ReportMetric(rate/alone, "x-of-one")
			})
		}
	}
}

// writeWith shares b.N writes among writers, each of which waits for one before it begins the next.
func writeWith(b *testing.B, writers int, write func(id, path string) error) (rate float64) {
	var next atomic.Int64
	var all sync.WaitGroup
	b.ResetTimer()
	for range writers {
		all.Go(func() {
			for {
				n := int(next.Add(1))
				if n > b.N {
					return
				}
				if err := write(fmt.Sprint("route-", n*7919%storedRoutes), fmt.Sprint("/written/", n)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return float64(b.N) / b.Elapsed().Seconds()
}
