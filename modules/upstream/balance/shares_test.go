// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// TestShares has 100 000 picks for each balancer and set of weights beside the ideal. Round robin is exact but for the
// picks of an unfinished round. A node of the ring has 160 points for each unit of weight, so its share has a standard
// deviation of 1/sqrt(160 w) of itself or less, and five of them are allowed; least_conn is exact while attempts last;
// ewma ignores weights, and with equal latencies two random nodes share alike. Run with -v for the table.
func TestShares(t *testing.T) {
	picks := 100_000
	if testing.Short() {
		picks = 20_000
	}
	t.Logf("%-10s %-22s %-40s %s", "balancer", "weights", "picks", "worst against the ideal")
	for _, name := range names {
		for _, weights := range [][]int{{1, 1, 1}, {5, 1, 1}, {1, 2, 3, 4}, {10, 0, 30}, {100, 1}, {7, 7, 7, 7, 7, 7, 7, 7, 7, 7}} {
			nodes := weighted(weights...)
			b := mustNew(t, name, nodes, keyed)
			got := make([]int, len(nodes))
			index := map[*gateway.Node]int{}
			for i, n := range nodes {
				index[n] = i
			}
			x := new(gateway.Exchange)
			for i := range picks {
				x.Request.Host = "key-" + strconv.Itoa(i)
				n := b.Pick(x)
				got[index[n]]++
				switch name {
				case "least_conn":
					n.State.InFlight.Add(1)
				case "ewma":
					b.(gateway.AttemptObserver).Observe(n, time.Millisecond, 200)
				}
			}
			total, usable := 0, 0
			for _, w := range weights {
				total += w
				if w > 0 {
					usable++
				}
			}
			worst, where := 0.0, ""
			for i, w := range weights {
				ideal := float64(picks) * float64(w) / float64(total)
				allowed := 2.0
				switch name {
				case "chash":
					allowed = 5 * ideal / math.Sqrt(160*float64(w)/float64(commonDivisor(weights)))
				case "ewma":
					ideal = 0
					if w > 0 {
						ideal = float64(picks) / float64(usable)
					}
					allowed = 0.2 * ideal
				}
				off := math.Abs(float64(got[i]) - ideal)
				if w == 0 {
					allowed = 0
				}
				if off > allowed {
					t.Errorf("%s %v: node %d had %d picks, want %.0f give or take %.0f", name, weights, i, got[i], ideal, allowed)
				}
				if ideal > 0 && off/ideal >= worst {
					worst, where = off/ideal, fmt.Sprintf("%+.2f%% at node %d", 100*(float64(got[i])-ideal)/ideal, i)
				}
			}
			t.Logf("%-10s %-22s %-40s %s", name, fmt.Sprint(weights), fmt.Sprint(got), where)
		}
	}
}

func commonDivisor(weights []int) (divisor int) {
	for _, w := range weights {
		divisor = gcd(w, divisor)
	}
	return divisor
}

// TestChashVectors has the ring that lua-resty-balancer's own test is about, which APISIX is built on: of the keys 1 to
// 100000 so many have each server.
func TestChashVectors(t *testing.T) {
	var nodes []*gateway.Node
	for i, weight := range []int{10, 2, 1} {
		addr := "server" + strconv.Itoa(i+1)
		nodes = append(nodes, &gateway.Node{Host: addr, Addr: addr, Weight: weight, State: new(gateway.NodeState)})
	}
	b := mustNew(t, "chash", nodes, keyed)
	if got := len(b.(*ring).points); got != 2080 {
		t.Errorf("%d points, want 2080", got)
	}
	counts := map[*gateway.Node]int{}
	for i := range 100_000 {
		counts[pickFor(b, strconv.Itoa(i+1))]++
	}
	for i, want := range []int{77075, 14743, 8182} {
		if counts[nodes[i]] != want {
			t.Errorf("%s has %d keys, want %d", nodes[i].Addr, counts[nodes[i]], want)
		}
	}
}

// TestChashMovesAShare removes each node in turn: its keys find others, and none else moves. So no more than its share do.
func TestChashMovesAShare(t *testing.T) {
	const keys = 20_000
	nodes := weighted(1, 1, 2, 4)
	before := mustNew(t, "chash", nodes, keyed)
	held := map[*gateway.Node]int{}
	for i := range keys {
		held[pickFor(before, strconv.Itoa(i))]++
	}
	for gone := range nodes {
		left := append(append([]*gateway.Node{}, nodes[:gone]...), nodes[gone+1:]...)
		after := mustNew(t, "chash", left, keyed)
		moved := 0
		for i := range keys {
			if pickFor(before, strconv.Itoa(i)) != pickFor(after, strconv.Itoa(i)) {
				moved++
			}
		}
		// When weight 1 leaves, 2 and 4 keep a unit as long as another 1 is there, so the divisor stays 1 here.
		if moved != held[nodes[gone]] {
			t.Errorf("node %d left: %d keys moved, it had %d", gone, moved, held[nodes[gone]])
		}
		t.Logf("node %d of weight %d leaves: %d of %d keys move (%.2f%%, its share is %.2f%%)", gone, nodes[gone].Weight, moved, keys,
			100*float64(moved)/keys, 100*float64(nodes[gone].Weight)/8)
	}
}
