// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are at most 1/64 of the duration wide.
type histogram struct {
	buckets [64 * 64]int64
	total   int64
}

func (h *histogram) add(d time.Duration) {
	h.buckets[bucketOf(uint64(max(d, 0)))]++
	h.total++
}

// bucketOf: below 64 every number has its own bucket; above, the six bits after the highest choose one.
func bucketOf(n uint64) int {
	shift := max(bits.Len64(n)-7, 0)
	return shift*64 + int(n>>shift)
}

// floor is the least duration of a bucket.
func floor(bucket int) time.Duration {
	if bucket < 128 {
		return time.Duration(bucket)
	}
	shift := bucket/64 - 1
	return time.Duration(bucket-shift*64) << shift
}

// quantile returns the duration that the share q of all durations does not exceed, rounded down to its bucket.
func (h *histogram) quantile(q float64) time.Duration {
	rank := int64(q * float64(h.total))
	for bucket, n := range h.buckets {
		if rank -= n; rank < 0 {
			return floor(bucket)
		}
	}
	return 0
}
