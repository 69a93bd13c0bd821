// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"sync/atomic"

	"github.com/andogate/ando/modules/gateway"
)

// leastConn picks the node with the fewest attempts under way for its weight. Equal ones take turns.
type leastConn struct {
	nodes []*gateway.Node
	next  atomic.Uint64
}

func newLeastConn(nodes []*gateway.Node) gateway.Balancer {
	return &leastConn{nodes: nodes}
}

func (b *leastConn) Pick(x *gateway.Exchange) *gateway.Node {
	n := len(b.nodes)
	if n == 0 {
		return nil
	}
	start := int(b.next.Add(1) % uint64(n))
	var best *gateway.Node
	bestLoad := int64(0)
	for i := range n {
		node := b.nodes[(start+i)%n]
		if len(x.Forward.Attempts) > 0 && x.Tried(node) {
			continue
		}
		load := node.State.InFlight.Load() + 1
		// load/weight < bestLoad/bestWeight, without the division.
		if best == nil || load*int64(best.Weight) < bestLoad*int64(node.Weight) {
			best, bestLoad = node, load
		}
	}
	return best
}
