// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

const (
	// decay is the time in which an observation's weight falls to 1/e.
	decay = 10 * time.Second
	// failureTook is what a failed attempt counts as at least: a node that refuses at once must not look fast.
	failureTook = time.Second
)

// ewma compares two nodes picked at random and takes the one with the smaller running average of the time to its response
// head, which also fades while nothing is observed. Weights above 0 make no difference, as in APISIX.
type ewma struct{ nodes []*gateway.Node }

func newEWMA(nodes []*gateway.Node) gateway.Balancer {
	now := sinceStart()
	sum, known := 0.0, 0
	for _, node := range nodes {
		if node.State.Latency.Load() != 0 {
			sum += latencyOf(node, now)
			known++
		}
	}
	if known > 0 {
		// A new node begins as an average one. At 0 it would win every comparison until its first response.
		for _, node := range nodes {
			node.State.Latency.CompareAndSwap(0, packLatency(sum/float64(known), now))
		}
	}
	return &ewma{nodes}
}

func (b *ewma) Pick(x *gateway.Exchange) *gateway.Node {
	n := len(b.nodes)
	if n < 2 || len(x.Forward.Attempts) > 0 {
		return b.pickUntried(x)
	}
	i, j := rand.IntN(n), rand.IntN(n-1)
	if j >= i {
		j++
	}
	return faster(b.nodes[i], b.nodes[j])
}

func (b *ewma) pickUntried(x *gateway.Exchange) *gateway.Node {
	left := make([]*gateway.Node, 0, len(b.nodes))
	for _, node := range b.nodes {
		if !x.Tried(node) {
			left = append(left, node)
		}
	}
	switch len(left) {
	case 0:
		return nil
	case 1:
		return left[0]
	}
	rand.Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
	return faster(left[0], left[1])
}

func faster(a, b *gateway.Node) *gateway.Node {
	now := sinceStart()
	if latencyOf(b, now) < latencyOf(a, now) {
		return b
	}
	return a
}

// observing adds to a balancer that its nodes' latencies are kept.
type observing struct{ gateway.Balancer }

func (observing) Observe(node *gateway.Node, took time.Duration, status int) {
	if status == 0 {
		took = max(took, failureTook)
	}
	now := sinceStart()
	for {
		old := node.State.Latency.Load()
		latency := took.Seconds()
		if old != 0 {
			average, at := unpackLatency(old)
			fade := faded(now - at)
			latency = average*fade + latency*(1-fade)
		}
		if node.State.Latency.CompareAndSwap(old, packLatency(latency, now)) {
			return
		}
	}
}

// latencyOf returns the node's average as it has faded by now, in seconds.
func latencyOf(node *gateway.Node, now uint32) float64 {
	packed := node.State.Latency.Load()
	if packed == 0 {
		return 0
	}
	average, at := unpackLatency(packed)
	return average * faded(now-at)
}

func faded(milliseconds uint32) float64 {
	// Another goroutine may have written after this one looked at the clock.
	if int32(milliseconds) < 0 {
		return 1
	}
	return math.Exp(-float64(milliseconds) / float64(decay.Milliseconds()))
}

var start = time.Now()

// sinceStart is in milliseconds and wraps after 49 days; differences do not mind.
func sinceStart() uint32 { return uint32(time.Since(start).Milliseconds()) }

// packLatency puts an average in seconds and its time into one word that is never 0.
func packLatency(average float64, at uint32) uint64 {
	return uint64(math.Float32bits(max(float32(average), math.SmallestNonzeroFloat32)))<<32 | uint64(at)
}

func unpackLatency(packed uint64) (average float64, at uint32) {
	return float64(math.Float32frombits(uint32(packed >> 32))), uint32(packed)
}

// Refresh implements gateway.HealthBalancer.
func (o observing) Refresh() {
	if b, ok := o.Balancer.(gateway.HealthBalancer); ok {
		b.Refresh()
	}
}

var (
	_ gateway.AttemptObserver = observing{}
	_ gateway.HealthBalancer  = observing{}
)
