// SPDX-License-Identifier: Apache-2.0

// Package balance picks nodes: APISIX's algorithms roundrobin, chash, least_conn and ewma.
package balance

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/andogate/ando/modules/gateway"
)

// Key returns what chash hashes for an exchange, and whether there is such a thing.
type Key func(x *gateway.Exchange) (string, bool)

// New returns a balancer over the nodes. The error names an algorithm that does not exist. key is for chash alone; when it
// is nil or finds nothing the client's address is hashed.
//
// Nodes of the highest priority come first, the others when all of those were tried. A node of weight 0 is never picked;
// when no other is left, none is. A single node is always picked, whatever its weight and however often it was tried, as
// in APISIX. What nodes have counted lives in their State, so a new balancer over old nodes goes on where the old one was.
func New(algorithm string, nodes []*gateway.Node, key Key) (gateway.Balancer, error) {
	build, err := find(algorithm)
	if err != nil {
		return nil, err
	}
	if len(nodes) == 1 {
		return single{nodes[0]}, nil
	}
	var all levels
	for _, group := range byPriority(nodes) {
		all = append(all, build(group, key))
	}
	return finish(algorithm, all.balancer()), nil
}

func find(algorithm string) (builder, error) {
	build, ok := algorithms[algorithm]
	if !ok {
		return nil, fmt.Errorf("unknown balancing algorithm %q: roundrobin, chash, least_conn and ewma are known", algorithm)
	}
	return build, nil
}

// finish adds what an algorithm needs to hear.
func finish(algorithm string, b gateway.Balancer) gateway.Balancer {
	if algorithm == "ewma" {
		return observing{b}
	}
	return b
}

// builder makes the balancer of one priority. There is at least one node, and none has weight 0.
type builder func(nodes []*gateway.Node, key Key) gateway.Balancer

var algorithms = map[string]builder{
	"roundrobin": func(nodes []*gateway.Node, _ Key) gateway.Balancer { return newRoundRobin(nodes) },
	"chash":      func(nodes []*gateway.Node, key Key) gateway.Balancer { return newRing(nodes, key) },
	"least_conn": func(nodes []*gateway.Node, _ Key) gateway.Balancer { return newLeastConn(nodes) },
	"ewma":       func(nodes []*gateway.Node, _ Key) gateway.Balancer { return newEWMA(nodes) },
}

// byPriority returns the nodes that can be picked, those of one priority together, highest first.
func byPriority(nodes []*gateway.Node) [][]*gateway.Node {
	usable := make([]*gateway.Node, 0, len(nodes))
	for _, node := range nodes {
		if node.Weight > 0 {
			usable = append(usable, node)
		}
	}
	slices.SortStableFunc(usable, func(a, b *gateway.Node) int { return cmp.Compare(b.Priority, a.Priority) })
	var groups [][]*gateway.Node
	for len(usable) > 0 {
		n := 1
		for n < len(usable) && usable[n].Priority == usable[0].Priority {
			n++
		}
		groups = append(groups, usable[:n:n])
		usable = usable[n:]
	}
	return groups
}

type single struct{ node *gateway.Node }

func (s single) Pick(*gateway.Exchange) *gateway.Node { return s.node }

// levels holds one balancer per priority, the highest first.
type levels []gateway.Balancer

// balancer is the only level, or all of them.
func (l levels) balancer() gateway.Balancer {
	if len(l) == 1 {
		return l[0]
	}
	return l
}

func (l levels) Pick(x *gateway.Exchange) *gateway.Node {
	for _, level := range l {
		if node := level.Pick(x); node != nil {
			return node
		}
	}
	return nil
}

// untried returns the first node, from start on and around, that the exchange has not tried.
func untried(x *gateway.Exchange, nodes []*gateway.Node, start int) *gateway.Node {
	for i := range nodes {
		if node := nodes[(start+i)%len(nodes)]; !x.Tried(node) {
			return node
		}
	}
	return nil
}

// weightsOf returns the nodes' weights without their common divisor. When they add up to more than limit they are scaled
// down to about that; each stays at least 1.
func weightsOf(nodes []*gateway.Node, limit int) []int {
	divisor := 0
	for _, node := range nodes {
		divisor = gcd(node.Weight, divisor)
	}
	weights := make([]int, len(nodes))
	total := 0
	for i, node := range nodes {
		weights[i] = node.Weight / divisor
		total += weights[i]
		if total < 0 {
			total = 1<<63 - 1
			break
		}
	}
	if total <= limit {
		return weights
	}
	sum := 0.0
	for _, node := range nodes {
		sum += float64(node.Weight)
	}
	for i, node := range nodes {
		weights[i] = max(1, int(float64(node.Weight)/sum*float64(limit)+0.5))
	}
	return weights
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
