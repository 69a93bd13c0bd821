// SPDX-License-Identifier: Apache-2.0

package trafficsplit

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{Text: `{}`},
		{Text: `{"rules":[{"match":[{}],"weighted_upstreams":[{"upstream_id":1,"weight":2},{"weight":0}]}]}`},
		{
			Text: `{"rules":[{"match":[{"vars":[["arg_a","is","1"]]}]}]}`,
			Want: "failed to validate the 'vars' expression: invalid operator 'is'",
		},
		{
			Text: `{"rules":[{"weighted_upstreams":[{"weight":-1}]}]}`,
			Want: `property "rules" validation failed: failed to validate item 1: property "weighted_upstreams"`,
		},
		{Text: `{"rules":[{"weighted_upstreams":[]}]}`, Want: `property "rules" validation failed: failed to validate item 1`},
		{Text: `{"rules":[{"weighted_upstreams":[{"upstream":{"nodes":{"a:0":1}}}]}]}`, Want: "invalid port 0"},
	})
}

// TestDistribution: of as many requests in a row as the weights add up to, each target gets exactly its weight, wherever
// one begins to count, and no target waits much longer than its share says.
func TestDistribution(t *testing.T) {
	for _, c := range []struct {
		weights []int64
		shares  []int
	}{
		{[]int64{1, 9}, []int{1, 9}},
		{[]int64{50, 50}, []int{1, 1}},
		{[]int64{3, 0, 5, 2}, []int{3, 0, 5, 2}},
		{[]int64{0, 0, 0}, []int{1, 1, 1}},
		{[]int64{0, 7}, []int{0, 1}},
		{[]int64{1, 999}, []int{1, 999}},
		{[]int64{17, 23, 61}, []int{17, 23, 61}},
	} {
		turns := newTurns(c.weights)
		total := 0
		for _, share := range c.shares {
			total += share
		}
		var picks []int
		for range 3 * total {
			picks = append(picks, turns.next())
		}
		for from := range total {
			counts := make([]int, len(c.shares))
			for _, pick := range picks[from : from+total] {
				counts[pick]++
			}
			if fmt.Sprint(counts) != fmt.Sprint(c.shares) {
				t.Fatalf("%v: from %d on: got %v, want %v", c.weights, from, counts, c.shares)
			}
		}
		for target, share := range c.shares {
			waited := 0
			for _, pick := range picks {
				if waited++; pick == target {
					waited = 0
				}
				if share > 0 && waited > 3*total/share+3 {
					t.Fatalf("%v: target %d waits for %d turns", c.weights, target, waited)
				}
			}
		}
	}
}

// TestParallel: the shares are exact whoever asks.
func TestParallel(t *testing.T) {
	turns := newTurns([]int64{2, 3})
	var mu sync.Mutex
	counts := make([]int, 2)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			mine := make([]int, 2)
			for range 1000 {
				mine[turns.next()]++
			}
			mu.Lock()
			defer mu.Unlock()
			counts[0] += mine[0]
			counts[1] += mine[1]
		})
	}
	all.Wait()
	if counts[0] != 3200 || counts[1] != 4800 {
		t.Errorf("got %v, want 3200 and 4800", counts)
	}
}

func TestHeaviest(t *testing.T) {
	turns := newTurns([]int64{1 << 62, 1 << 61, 1})
	counts := make([]int, 3)
	for range 10_000 {
		counts[turns.next()]++
	}
	if counts[0] < 4900 || counts[0] > 5100 || counts[2] > 1 {
		t.Errorf("got %v: weights beyond 2^40 are equal", counts)
	}
}

// TestUpstreamsCarryOver: an inline upstream is compiled once for a config, and its nodes go on when the config changes.
func TestUpstreamsCarryOver(t *testing.T) {
	config := func(weight int, nodes string) string {
		return fmt.Sprintf(`{"rules":[{"weighted_upstreams":[{"weight":%d,"upstream":{"type":"least_conn","nodes":{%s}}}]}]}`, weight, nodes)
	}
	compile := func(config string) *trafficSplit {
		t.Helper()
		instance, err := plugintest.Compile(t, name, config)
		if err != nil {
			t.Fatal(err)
		}
		return instance.(*trafficSplit)
	}
	first := compile(config(1, `"127.0.0.1:1":1,"127.0.0.1:2":1`))
	choose := func(s *trafficSplit) *gateway.Upstream {
		x := new(gateway.Exchange)
		s.Access(x)
		return x.Forward.Upstream
	}
	u := choose(first)
	if u == nil || choose(first) != u {
		t.Fatal("each request has an upstream of its own")
	}
	// A config that is compiled and thrown away is in nobody's way.
	compile(config(5, `"127.0.0.1:9":1`))
	runtime.GC()
	second := choose(compile(config(2, `"127.0.0.1:2":1,"127.0.0.1:3":1`)))
	if second.Nodes[0] != u.Nodes[1] || second.Nodes[0].State != u.Nodes[1].State {
		t.Error("a node that stayed is new")
	}
	if second.Nodes[1].State == u.Nodes[0].State {
		t.Error("a new node has the state of an old one")
	}
	runtime.KeepAlive(first)
}

func TestAllocs(t *testing.T) {
	x := plugintest.Open(t, `{"traffic-split":{"rules":[{"match":[{"vars":[["arg_a","==","2"]]}]},{"match":[{"vars":[["uri","==","/a"]]}],"weighted_upstreams":[{"weight":3},{"upstream":{"nodes":{"127.0.0.1:1":1}},"weight":2}]}]}}`)
	x.WantAllocs(t, gateway.StepForward, 0, nil)
}

func BenchmarkTurns(b *testing.B) {
	turns := newTurns([]int64{1, 20, 300})
	for b.Loop() {
		turns.next()
	}
}

func BenchmarkTrafficSplit(b *testing.B) {
	x := plugintest.Open(b, `{"traffic-split":{"rules":[{"weighted_upstreams":[{"weight":3},{"upstream":{"nodes":{"127.0.0.1:1":1}},"weight":2}]}]}}`)
	x.Bench(b, nil)
}
