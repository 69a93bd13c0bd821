// SPDX-License-Identifier: Apache-2.0

package trafficlabel

import (
	"math/bits"
	"sort"
	"sync/atomic"
)

// wheel hands out turns by weight: in as many turns as the weights add up to, each has exactly its share, spread out. It is
// safe for concurrent use.
type wheel struct {
	// ends is where on the rim each share ends; step goes around the rim and comes to each place once.
	ends    []uint64
	rim     uint64
	step    uint64
	counter atomic.Uint64
}

func newWheel(weights []int) *wheel {
	divisor := uint64(0)
	for _, weight := range weights {
		divisor = gcd(uint64(weight), divisor)
	}
	w := new(wheel)
	for _, weight := range weights {
		w.rim += uint64(weight) / divisor
		w.ends = append(w.ends, w.rim)
	}
	// Near the golden ratio of the rim turns that follow each other are far apart on it.
	for w.step = max(1, w.rim*5/8); gcd(w.step, w.rim) != 1; {
		w.step++
	}
	return w
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// next returns whose turn it is.
func (w *wheel) next() int {
	if len(w.ends) == 1 {
		return 0
	}
	turn := (w.counter.Add(1) - 1) % w.rim
	at := mulMod(turn, w.step, w.rim)
	return sort.Search(len(w.ends), func(i int) bool { return at < w.ends[i] })
}

// mulMod is a*b modulo m, for products beyond 64 bits too.
func mulMod(a, b, m uint64) uint64 {
	high, low := bits.Mul64(a, b)
	_, rest := bits.Div64(high, low, m)
	return rest
}
