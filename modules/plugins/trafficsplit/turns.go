// SPDX-License-Identifier: Apache-2.0

package trafficsplit

import (
	"math/bits"
	"sync/atomic"
)

// turns tells whose turn it is. Of as many turns in a row as the weights add up to, each has exactly as many as its weight,
// well mixed; that costs neither memory nor a lock, whatever the weights.
type turns struct {
	// ends holds the sums of the weights so far.
	ends []uint64
	// stride has no divisor in common with the total, so that its multiples come by every remainder once.
	total, stride uint64
	count         atomic.Uint64
}

// heaviest bounds a weight, so that sums do not overflow.
const heaviest = 1 << 40

// newTurns takes weights that are all 0 as equal, as APISIX does: somebody has to have the turn.
func newTurns(weights []int64) *turns {
	t := &turns{ends: make([]uint64, len(weights))}
	divisor := uint64(0)
	for _, w := range weights {
		divisor = gcd(divisor, uint64(min(w, heaviest)))
	}
	for i, w := range weights {
		switch {
		case divisor > 0:
			t.total += uint64(min(w, heaviest)) / divisor
		default:
			t.total++
		}
		t.ends[i] = t.total
	}
	// The golden ratio spreads multiples most evenly.
	for t.stride = max(1, uint64(float64(t.total)*0.6180339887498949)); gcd(t.stride, t.total) != 1; {
		t.stride++
	}
	return t
}

// next returns the place of the weight whose turn it is. It is safe for concurrent use.
func (t *turns) next() int {
	if len(t.ends) == 1 {
		return 0
	}
	high, low := bits.Mul64((t.count.Add(1)-1)%t.total, t.stride)
	at := bits.Rem64(high, low, t.total)
	i := 0
	for at >= t.ends[i] {
		i++
	}
	return i
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
