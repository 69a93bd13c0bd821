// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"hash/crc32"
	"math"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

func node(i, weight, priority int) *gateway.Node {
	host := "10.0." + strconv.Itoa(i/250) + "." + strconv.Itoa(i%250+1)
	return &gateway.Node{
		Host: host, Port: 80, Addr: net.JoinHostPort(host, "80"), Weight: weight, Priority: priority,
		State: new(gateway.NodeState),
	}
}

func weighted(weights ...int) []*gateway.Node {
	nodes := make([]*gateway.Node, len(weights))
	for i, w := range weights {
		nodes[i] = node(i, w, 0)
	}
	return nodes
}

func equal(n int) []*gateway.Node {
	nodes := make([]*gateway.Node, n)
	for i := range nodes {
		nodes[i] = node(i, 1, 0)
	}
	return nodes
}

func mustNew(t testing.TB, algorithm string, nodes []*gateway.Node, key Key) gateway.Balancer {
	t.Helper()
	b, err := New(algorithm, nodes, key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// try picks and records the attempt, as Exchange.Pick does.
func try(b gateway.Balancer, x *gateway.Exchange) *gateway.Node {
	node := b.Pick(x)
	if node != nil {
		x.Forward.Attempts = append(x.Forward.Attempts, gateway.Attempt{Node: node})
	}
	return node
}

func count(b gateway.Balancer, picks int) map[*gateway.Node]int {
	x := new(gateway.Exchange)
	counts := map[*gateway.Node]int{}
	for range picks {
		counts[b.Pick(x)]++
	}
	return counts
}

var names = []string{"roundrobin", "chash", "least_conn", "ewma"}

func TestUnknownAlgorithm(t *testing.T) {
	_, err := New("fastest", weighted(1), nil)
	if err == nil || err.Error() != `unknown balancing algorithm "fastest": roundrobin, chash, least_conn and ewma are known` {
		t.Errorf("got %v", err)
	}
}

func TestTriesEveryNodeOnceByPriority(t *testing.T) {
	nodes := []*gateway.Node{node(0, 1, -1), node(1, 1, 5), node(2, 3, 5), node(3, 0, 5), node(4, 2, 0), node(5, 1, 5)}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			b := mustNew(t, name, nodes, nil)
			for range 20 {
				x := new(gateway.Exchange)
				var got []int
				seen := map[*gateway.Node]bool{}
				for n := try(b, x); n != nil; n = try(b, x) {
					if seen[n] {
						t.Fatalf("%s was picked twice", n.Addr)
					}
					seen[n] = true
					got = append(got, n.Priority)
				}
				want := []int{5, 5, 5, 0, -1}
				if len(got) != len(want) {
					t.Fatalf("priorities %v, want %v", got, want)
				}
				for i := range want {
					if got[i] != want[i] {
						t.Fatalf("priorities %v, want %v", got, want)
					}
				}
				if seen[nodes[3]] {
					t.Fatal("the node of weight 0 was picked")
				}
			}
		})
	}
}

func TestSingleNode(t *testing.T) {
	for _, name := range names {
		n := node(0, 0, 0)
		b := mustNew(t, name, []*gateway.Node{n}, nil)
		x := new(gateway.Exchange)
		for range 3 {
			if got := try(b, x); got != n {
				t.Errorf("%s: got %v, want the only node", name, got)
			}
		}
	}
}

func TestAllWeightsZero(t *testing.T) {
	for _, name := range names {
		if got := mustNew(t, name, weighted(0, 0), nil).Pick(new(gateway.Exchange)); got != nil {
			t.Errorf("%s: got %v, want none", name, got.Addr)
		}
	}
}

func TestRoundRobinIsExactAndSmooth(t *testing.T) {
	for _, weights := range [][]int{{1, 1}, {5, 1, 1}, {100, 1}, {2, 4, 6}, {3, 3, 3, 1}, {1000, 999, 1}} {
		nodes := weighted(weights...)
		b := mustNew(t, "roundrobin", nodes, nil).(*roundRobin)
		total, divisor := 0, 0
		for _, w := range weights {
			total, divisor = total+w, gcd(w, divisor)
		}
		if got, want := len(b.sequence), total/divisor; got != want {
			t.Errorf("%v: period of %d picks, want %d", weights, got, want)
		}
		// Smooth: at every moment each node has had its share, give or take less than two picks.
		x, had := new(gateway.Exchange), map[*gateway.Node]int{}
		b.next.Store(uint64(len(b.sequence)) - 1)
		for i := range total {
			had[b.Pick(x)]++
			for j, n := range nodes {
				ideal := float64(i+1) * float64(weights[j]) / float64(total)
				if math.Abs(float64(had[n])-ideal) >= 2 {
					t.Fatalf("%v: after %d picks node %d had %d, its share is %.2f", weights, i+1, j, had[n], ideal)
				}
			}
		}
		for j, n := range nodes {
			if had[n] != weights[j] {
				t.Errorf("%v: node %d had %d of %d picks", weights, j, had[n], total)
			}
		}
	}
}

func TestRoundRobinBound(t *testing.T) {
	nodes := weighted(1_000_003, 500_009, 7, math.MaxInt/2, math.MaxInt/2)
	b := mustNew(t, "roundrobin", nodes, nil).(*roundRobin)
	if got := len(b.sequence); got > maxSequence+len(nodes) {
		t.Errorf("sequence of %d entries", got)
	}
	counts := count(b, len(b.sequence))
	for i, n := range nodes {
		if counts[n] == 0 {
			t.Errorf("node %d is never picked", i)
		}
	}
	if a, b := counts[nodes[3]], counts[nodes[4]]; a != b {
		t.Errorf("equal nodes had %d and %d picks", a, b)
	}

	nodes = weighted(1_000_003, 500_009, 7)
	b = mustNew(t, "roundrobin", nodes, nil).(*roundRobin)
	counts = count(b, len(b.sequence))
	for _, n := range nodes[:2] {
		got, want := float64(counts[n])/float64(len(b.sequence)), float64(n.Weight)/1_500_019
		if math.Abs(got-want) > 1.0/maxSequence {
			t.Errorf("share %.6f, want %.6f", got, want)
		}
	}
}

func TestRoundRobinIsFairToManyGoroutines(t *testing.T) {
	nodes := weighted(3, 1)
	b := mustNew(t, "roundrobin", nodes, nil)
	var mu sync.Mutex
	total := map[*gateway.Node]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			counts := count(b, 1000)
			mu.Lock()
			defer mu.Unlock()
			for n, c := range counts {
				total[n] += c
			}
		})
	}
	wg.Wait()
	if total[nodes[0]] != 6000 || total[nodes[1]] != 2000 {
		t.Errorf("got %d and %d picks, want 6000 and 2000", total[nodes[0]], total[nodes[1]])
	}
}

func keyed(x *gateway.Exchange) (string, bool) { return x.Request.Host, x.Request.Host != "" }

func pickFor(b gateway.Balancer, key string) *gateway.Node {
	x := new(gateway.Exchange)
	x.Request.Host = key
	return b.Pick(x)
}

// TestChashPlaces has the ring's definition done by hand: the first point at or after the key's CRC-32.
func TestChashPlaces(t *testing.T) {
	nodes := weighted(2, 4)
	b := mustNew(t, "chash", nodes, keyed)
	for i := range 500 {
		key := "key-" + strconv.Itoa(i)
		place := crc32.ChecksumIEEE([]byte(key))
		var want *gateway.Node
		best := uint64(math.MaxUint64)
		for _, n := range nodes {
			id := append([]byte(n.Host), 0, '8', '0')
			prior := make([]byte, 4)
			for range n.Weight / 2 * 160 {
				point := crc32.ChecksumIEEE(append(id[:len(id):len(id)], prior...))
				prior = []byte{byte(point), byte(point >> 8), byte(point >> 16), byte(point >> 24)}
				if distance := uint64(point - place); distance < best {
					best, want = distance, n
				}
			}
		}
		if got := pickFor(b, key); got != want {
			t.Fatalf("%s: got %s, want %s", key, got.Addr, want.Addr)
		}
	}
}

func TestChashShares(t *testing.T) {
	nodes := weighted(1, 2, 3, 4)
	b := mustNew(t, "chash", nodes, keyed)
	counts := map[*gateway.Node]int{}
	const keys = 20000
	for i := range keys {
		counts[pickFor(b, "user"+strconv.Itoa(i))]++
	}
	for _, n := range nodes {
		got, want := float64(counts[n])/keys, float64(n.Weight)/10
		if math.Abs(got-want) > 0.2*want+0.01 {
			t.Errorf("weight %d: share %.3f, want about %.3f", n.Weight, got, want)
		}
	}
}

func TestChashMovesFewKeys(t *testing.T) {
	nodes := equal(10)
	before := mustNew(t, "chash", nodes, keyed)
	after := mustNew(t, "chash", nodes[:9], keyed)
	moved := 0
	for i := range 1000 {
		key := "k" + strconv.Itoa(i)
		was, is := pickFor(before, key), pickFor(after, key)
		if was == nodes[9] {
			moved++
			continue
		}
		if was != is {
			t.Fatalf("%s moved from %s to %s, which were there before and after", key, was.Addr, is.Addr)
		}
	}
	if moved == 0 {
		t.Error("the removed node had no key")
	}
}

func TestChashFallsBackToClientAddress(t *testing.T) {
	b := mustNew(t, "chash", equal(50), keyed)
	for i := range 20 {
		x := new(gateway.Exchange)
		addr := "192.0.2." + strconv.Itoa(i)
		x.Request.Client = netip.AddrPortFrom(netip.MustParseAddr(addr), 1)
		if got, want := b.Pick(x), pickFor(b, addr); got != want {
			t.Errorf("no key from %s: got %s, want %s", addr, got.Addr, want.Addr)
		}
	}
}

func TestChashBound(t *testing.T) {
	r := mustNew(t, "chash", weighted(1_000_003, 7), keyed).(*ring)
	if len(r.points) > maxPoints+2*pointsPerWeight {
		t.Errorf("ring of %d points", len(r.points))
	}
}

func TestLeastConn(t *testing.T) {
	nodes := weighted(1, 2, 1)
	b := mustNew(t, "least_conn", nodes, nil)
	x := new(gateway.Exchange)
	counts := map[*gateway.Node]int64{}
	for range 40 {
		n := b.Pick(x)
		n.State.InFlight.Add(1)
		counts[n]++
	}
	for i, want := range []int64{10, 20, 10} {
		if counts[nodes[i]] != want {
			t.Errorf("node %d holds %d attempts, want %d", i, counts[nodes[i]], want)
		}
	}
	nodes[2].State.InFlight.Store(0)
	if got := b.Pick(x); got != nodes[2] {
		t.Errorf("got %s, want the idle node", got.Addr)
	}

	idle := mustNew(t, "least_conn", equal(4), nil)
	if counts := count(idle, 8); len(counts) != 4 {
		t.Errorf("%d of 4 idle nodes had a turn", len(counts))
	}
}

func TestEWMA(t *testing.T) {
	nodes := weighted(1, 1)
	b := mustNew(t, "ewma", nodes, nil)
	observer := b.(gateway.AttemptObserver)
	observer.Observe(nodes[0], 200*time.Millisecond, 200)
	observer.Observe(nodes[1], 10*time.Millisecond, 200)
	if counts := count(b, 50); counts[nodes[1]] != 50 {
		t.Errorf("the slow node had %d of 50 picks", counts[nodes[0]])
	}

	refusing := weighted(1, 1)
	b = mustNew(t, "ewma", refusing, nil)
	b.(gateway.AttemptObserver).Observe(refusing[0], time.Microsecond, 0)
	b.(gateway.AttemptObserver).Observe(refusing[1], 300*time.Millisecond, 200)
	if counts := count(b, 50); counts[refusing[1]] != 50 {
		t.Errorf("the refusing node had %d of 50 picks", counts[refusing[0]])
	}
}

func TestEWMAKnowsItsNodesAgain(t *testing.T) {
	nodes := weighted(1, 1)
	old := mustNew(t, "ewma", nodes, nil).(gateway.AttemptObserver)
	old.Observe(nodes[0], time.Second, 200)
	old.Observe(nodes[1], time.Second, 200)
	added := node(2, 1, 0)
	mustNew(t, "ewma", append(nodes, added), nil)
	if got := latencyOf(added, sinceStart()); math.Abs(got-1) > 0.5 {
		t.Errorf("a new node begins with %.3f s, want what the others have", got)
	}
}

func TestLatencyFades(t *testing.T) {
	n := node(0, 1, 0)
	n.State.Latency.Store(packLatency(1, 1000))
	if got, want := latencyOf(n, 11000), 1/math.E; math.Abs(got-want) > 1e-6 {
		t.Errorf("after 10 s: %.4f, want %.4f", got, want)
	}
	if got := latencyOf(n, 999); got != 1 {
		t.Errorf("before it was observed: %.4f, want 1", got)
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	for _, name := range []string{"roundrobin", "chash", "least_conn", "ewma"} {
		b := mustNew(t, name, equal(100), keyed)
		x := new(gateway.Exchange)
		x.Request.Host = "shop.example.com"
		if got := testing.AllocsPerRun(100, func() { b.Pick(x) }); got != 0 {
			t.Errorf("%s: %v allocations per pick", name, got)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, name := range names {
		b.Run(name, func(b *testing.B) {
			balancer := mustNew(b, name, equal(100), keyed)
			x := new(gateway.Exchange)
			x.Request.Host = "shop.example.com"
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

func BenchmarkBuild(b *testing.B) {
	nodes := make([]*gateway.Node, 1000)
	for i := range nodes {
		nodes[i] = node(i, i+1, 0)
	}
	for _, name := range []string{"roundrobin", "chash"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				mustNew(b, name, nodes, keyed)
			}
		})
	}
}
