// SPDX-License-Identifier: Apache-2.0

package proxymirror

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// maxUnderWay bounds the copies that are under way in the process: a mirror that is slow or down must not take the
// gateway's memory. Further ones are left out, which is logged once in sayEvery.
const (
	maxUnderWay = 1024
	sayEvery    = 10 * time.Second
)

var (
	underWay, leftOut atomic.Int64
	// saidAt is when leftOut was last logged, in nanoseconds.
	saidAt atomic.Int64
)

// begin reports whether there is room for one more copy.
func begin(log func() *zap.Logger) bool {
	if underWay.Add(1) <= maxUnderWay {
		return true
	}
	underWay.Add(-1)
	leftOut.Add(1)
	now, before := time.Now().UnixNano(), saidAt.Load()
	if now-before >= int64(sayEvery) && saidAt.CompareAndSwap(before, now) {
		log().Warn("requests are not mirrored, as too many copies are under way",
			zap.Int64("left_out", leftOut.Swap(0)), zap.Int("under_way", maxUnderWay))
	}
	return false
}

func end() { underWay.Add(-1) }
