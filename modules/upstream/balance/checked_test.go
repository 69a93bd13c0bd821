// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"slices"
	"strconv"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

func mustNewChecked(t testing.TB, algorithm string, nodes []*gateway.Node) gateway.Balancer {
	t.Helper()
	b, err := NewChecked(algorithm, nodes, keyed)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// turn makes nodes unhealthy or healthy and tells the balancer.
func turn(b gateway.Balancer, unhealthy bool, nodes ...*gateway.Node) {
	for _, node := range nodes {
		node.State.Health.Store(0)
		if unhealthy {
			node.State.Health.Store(1)
		}
	}
	b.(gateway.HealthBalancer).Refresh()
}

// picked returns which of the nodes are picked, for many keys.
func picked(b gateway.Balancer, nodes []*gateway.Node) (indexes []int) {
	counts := map[*gateway.Node]int{}
	for i := range 50 * len(nodes) {
		counts[pickFor(b, "key-"+strconv.Itoa(i))]++
	}
	for node := range counts {
		indexes = append(indexes, slices.Index(nodes, node))
	}
	slices.Sort(indexes)
	return indexes
}

func TestUnhealthyNodesAreLeftOut(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			nodes := []*gateway.Node{node(0, 1, 1), node(1, 1, 1), node(2, 1, 0), node(3, 1, 0), node(4, 0, 1)}
			b := mustNewChecked(t, name, nodes)
			expect := func(what string, want ...int) {
				t.Helper()
				if got := picked(b, nodes); !slices.Equal(got, want) {
					t.Errorf("%s: nodes %v are picked, want %v", what, got, want)
				}
			}
			expect("all healthy", 0, 1)
			turn(b, true, nodes[0])
			expect("one of the highest priority left", 1)
			turn(b, true, nodes[1])
			expect("none of the highest priority left", 2, 3)
			turn(b, true, nodes[2], nodes[3])
			expect("all unhealthy", 0, 1)
			turn(b, false, nodes[3])
			expect("one healthy again", 3)
			turn(b, false, nodes...)
			expect("all healthy again", 0, 1)
		})
	}
}

// TestRetriesAmongTheHealthy tries every healthy node once, and then gives up as APISIX does.
func TestRetriesAmongTheHealthy(t *testing.T) {
	for _, name := range names {
		nodes := []*gateway.Node{node(0, 1, 0), node(1, 1, 0), node(2, 1, 0), node(3, 1, -1), node(4, 1, -1)}
		b := mustNewChecked(t, name, nodes)
		turn(b, true, nodes[1], nodes[3])
		var got []int
		x := new(gateway.Exchange)
		for n := try(b, x); n != nil; n = try(b, x) {
			got = append(got, slices.Index(nodes, n))
		}
		slices.Sort(got)
		if !slices.Equal(got, []int{0, 2, 4}) {
			t.Errorf("%s: tried %v, want 0, 2 and 4", name, got)
		}
	}
}

func TestSingleNodeIsPickedUnhealthy(t *testing.T) {
	for _, name := range names {
		n := node(0, 1, 0)
		b := mustNewChecked(t, name, []*gateway.Node{n})
		n.State.Health.Store(1)
		if got := b.Pick(new(gateway.Exchange)); got != n {
			t.Errorf("%s: got %v, want the only node", name, got)
		}
	}
}

// TestSharesOfTheHealthy has the weights hold among those that are left: the neighbour of an unhealthy node gets no more
// than others.
func TestSharesOfTheHealthy(t *testing.T) {
	nodes := weighted(3, 2, 1, 4)
	b := mustNewChecked(t, "roundrobin", nodes)
	turn(b, true, nodes[3])
	counts := count(b, 600)
	for i, want := range []int{300, 200, 100, 0} {
		if counts[nodes[i]] != want {
			t.Errorf("node %d had %d of 600 picks, want %d", i, counts[nodes[i]], want)
		}
	}
}

// TestChashKeepsKeysOfTheHealthy moves the keys of an unhealthy node and no others, and back.
func TestChashKeepsKeysOfTheHealthy(t *testing.T) {
	nodes := equal(10)
	b := mustNewChecked(t, "chash", nodes)
	before := make([]*gateway.Node, 2000)
	for i := range before {
		before[i] = pickFor(b, "key-"+strconv.Itoa(i))
	}
	turn(b, true, nodes[4])
	for i, was := range before {
		if is := pickFor(b, "key-"+strconv.Itoa(i)); is == nodes[4] || is != was && was != nodes[4] {
			t.Fatalf("key %d went from %s to %s", i, was.Addr, is.Addr)
		}
	}
	turn(b, false, nodes[4])
	for i, was := range before {
		if is := pickFor(b, "key-"+strconv.Itoa(i)); is != was {
			t.Fatalf("key %d is now at %s, not back at %s", i, is.Addr, was.Addr)
		}
	}
}

// TestRoundRobinGoesOn has a change take up the rotation where it is.
func TestRoundRobinGoesOn(t *testing.T) {
	nodes := equal(100)
	old := mustNewChecked(t, "roundrobin", nodes)
	counts := count(old, 50)
	next := mustNewChecked(t, "roundrobin", nodes)
	Follow(next, old)
	for n, c := range count(next, 50) {
		counts[n] += c
	}
	for _, n := range nodes {
		if counts[n] != 1 {
			t.Fatalf("%s had %d turns of one round", n.Addr, counts[n])
		}
	}
	Follow(next, nil)
	Follow(mustNew(t, "ewma", nodes, nil), old)
}

// TestHealthyPickAllocatesNothing is TestPickAllocatesNothing for balancers that know of health.
func TestHealthyPickAllocatesNothing(t *testing.T) {
	for _, name := range names {
		nodes := equal(100)
		b := mustNewChecked(t, name, nodes)
		turn(b, true, nodes[:30]...)
		x := new(gateway.Exchange)
		x.Request.Host = "shop.example.com"
		if got := testing.AllocsPerRun(100, func() { b.Pick(x) }); got != 0 {
			t.Errorf("%s: %v allocations per pick", name, got)
		}
	}
}

func BenchmarkPickHealthy(b *testing.B) {
	for _, name := range names {
		for down, what := range map[int]string{0: "all healthy", 30: "30 unhealthy"} {
			b.Run(name+"/"+what, func(b *testing.B) {
				nodes := equal(100)
				balancer := mustNewChecked(b, name, nodes)
				turn(balancer, true, nodes[:down]...)
				x := new(gateway.Exchange)
				hosts := [...]string{"a.example.com", "b.example.com", "c.example.com", "d.example.com"}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					x.Request.Host = hosts[i&3]
					i++
					balancer.Pick(x)
				}
			})
		}
	}
}

func BenchmarkRefresh(b *testing.B) {
	for _, name := range []string{"roundrobin", "chash"} {
		b.Run(name, func(b *testing.B) {
			nodes := equal(100)
			balancer := mustNewChecked(b, name, nodes)
			i := uint64(0)
			for b.Loop() {
				i++
				nodes[0].State.Health.Store(i & 1)
				balancer.(gateway.HealthBalancer).Refresh()
			}
		})
	}
}
