// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/andogate/ando/modules/gateway"
)

// maxSequence bounds the sequence of a roundRobin. Weights that add up to more, after division by their common divisor,
// are rounded so that they add up to about as much: a node's share is then off by less than 1/8192 of all picks, and a
// node never gets none. With more nodes than that the sequence has one entry for each node more.
const maxSequence = 8192

// roundRobin is smooth weighted round robin: in any stretch of picks every node has had nearly its share. One period is
// laid out when it is built, and walked with one counter. It starts at a random place, so that many gateways that start
// together do not all begin with the same node.
type roundRobin struct {
	sequence []*gateway.Node
	nodes    []*gateway.Node
	_        [64]byte
	next     atomic.Uint64
	_        [56]byte
}

func newRoundRobin(nodes []*gateway.Node) gateway.Balancer {
	b := &roundRobin{nodes: nodes}
	for _, i := range interleave(weightsOf(nodes, maxSequence)) {
		b.sequence = append(b.sequence, nodes[i])
	}
	b.next.Store(rand.Uint64N(uint64(len(b.sequence))))
	return b
}

func (b *roundRobin) Pick(x *gateway.Exchange) *gateway.Node {
	at := b.next.Add(1) % uint64(len(b.sequence))
	node := b.sequence[at]
	if len(x.Forward.Attempts) == 0 || !x.Tried(node) {
		return node
	}
	// A retry goes by the weights as far as that is cheap.
	for i := range min(len(b.sequence), 64) {
		if node := b.sequence[(int(at)+i)%len(b.sequence)]; !x.Tried(node) {
			return node
		}
	}
	return untried(x, b.nodes, 0)
}

// follow takes up where prior is in its period, so that a change does not give the first nodes another turn.
func (b *roundRobin) follow(prior *roundRobin) {
	done := float64(prior.next.Load()%uint64(len(prior.sequence))) / float64(len(prior.sequence))
	b.next.Store(uint64(done * float64(len(b.sequence))))
}

// interleave lays out one period of smooth weighted round robin: every index occurs as often as its weight says, spread
// evenly. Indexes of one weight take turns in the places of one class, and the classes are spread as in nginx: at each
// place every class gains its weight, and the highest is chosen and pays the total. Distinct weights of a bounded sum are
// few, so this takes about length times its square root.
func interleave(weights []int) []int {
	type class struct {
		members      []int
		gain, credit int
		turn         int
	}
	var classes []*class
	byWeight := map[int]*class{}
	total := 0
	for i, weight := range weights {
		c := byWeight[weight]
		if c == nil {
			c = &class{}
			byWeight[weight] = c
			classes = append(classes, c)
		}
		c.members = append(c.members, i)
		c.gain += weight
		total += weight
	}
	sequence := make([]int, 0, total)
	for range total {
		var best *class
		for _, c := range classes {
			c.credit += c.gain
			if best == nil || c.credit > best.credit {
				best = c
			}
		}
		best.credit -= total
		sequence = append(sequence, best.members[best.turn])
		best.turn = (best.turn + 1) % len(best.members)
	}
	return sequence
}
