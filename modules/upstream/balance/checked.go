// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/andogate/ando/modules/gateway"
)

// NewChecked is [New] for nodes whose health is checked: unhealthy ones are left out, lower priorities coming in where a
// higher one has none left. When every node that could be picked is unhealthy, health is forgotten until one is not:
// trying is better than refusing. A single node is always picked.
//
// The balancer is a [gateway.HealthBalancer]. A pick costs one atomic load more than without health.
func NewChecked(algorithm string, nodes []*gateway.Node, key Key) (gateway.Balancer, error) {
	build, err := find(algorithm)
	if err != nil {
		return nil, err
	}
	if len(nodes) == 1 {
		return single{nodes[0]}, nil
	}
	c := &checked{groups: byPriority(nodes), key: key, build: build}
	if algorithm == "chash" {
		for _, group := range c.groups {
			c.rings = append(c.rings, newRing(group, key).(*ring))
		}
	}
	c.Refresh()
	return finish(algorithm, c), nil
}

// checked is a balancer over the healthy nodes, made anew when their health changes.
type checked struct {
	groups [][]*gateway.Node
	// rings are those of the groups, for chash alone: they hold unhealthy nodes too.
	rings []*ring
	key   Key
	build builder

	mu      sync.Mutex
	current atomic.Pointer[view]
}

// view is a balancer for the nodes as they are.
type view struct {
	gateway.Balancer
	levels levels
	// left tells of each group which nodes are in it; the levels are those of groups that are not empty.
	left [][]*gateway.Node
}

func (c *checked) Pick(x *gateway.Exchange) *gateway.Node { return c.current.Load().Pick(x) }

// Refresh implements gateway.HealthBalancer.
func (c *checked) Refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Health may change any time, so it is looked at once.
	down, open := make([][]bool, len(c.groups)), true
	for i, group := range c.groups {
		down[i] = make([]bool, len(group))
		for j, node := range group {
			down[i][j] = node.State.Unhealthy()
			open = open && down[i][j]
		}
	}
	prior, next := c.current.Load(), new(view)
	for i, group := range c.groups {
		if open {
			clear(down[i])
		}
		left := make([]*gateway.Node, 0, len(group))
		for j, node := range group {
			if !down[i][j] {
				left = append(left, node)
			}
		}
		if len(left) == 0 {
			continue
		}
		next.left = append(next.left, left)
		if c.rings != nil {
			next.levels = append(next.levels, c.rings[i].without(down[i]))
		} else {
			next.levels = append(next.levels, c.level(left, prior))
		}
	}
	next.Balancer = next.levels.balancer()
	c.current.Store(next)
}

// level returns the balancer for what is left of one group, which may be the one that prior has.
func (c *checked) level(left []*gateway.Node, prior *view) gateway.Balancer {
	var old gateway.Balancer
	if prior != nil {
		for i, nodes := range prior.left {
			if nodes[0].Priority != left[0].Priority {
				continue
			}
			if old = prior.levels[i]; slices.Equal(nodes, left) {
				return old
			}
		}
	}
	next := c.build(left, c.key)
	follow(next, old)
	return next
}

// follow lets a balancer go on where the one before it was, as far as it has a place.
func follow(next, prior gateway.Balancer) {
	to, ok := next.(*roundRobin)
	from, was := prior.(*roundRobin)
	if ok && was {
		to.follow(from)
	}
}

// Follow lets next go on where prior was; prior may be nil. Both are balancers of this package, and next is not yet in use.
func Follow(next, prior gateway.Balancer) {
	to, from := levelsOf(next), levelsOf(prior)
	for i := range min(len(to), len(from)) {
		follow(to[i], from[i])
	}
}

func levelsOf(b gateway.Balancer) levels {
	switch b := b.(type) {
	case *checked:
		return b.current.Load().levels
	case levels:
		return b
	}
	return levels{b}
}

var _ gateway.HealthBalancer = (*checked)(nil)
