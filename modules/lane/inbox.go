// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"sync"
	"sync/atomic"
)

// Inbox holds what other goroutines want done on a loop. Post may be called from any goroutine, everything else is the
// loop's.
type Inbox struct {
	// Wake interrupts the loop's sleep. It is not called any more when End has returned.
	Wake func()

	mu     sync.Mutex
	posted []func()
	asleep atomic.Bool
	ended  bool
}

// Post has f run on the loop, after what it is doing. When the loop has ended f runs at once, and alone; it must not post.
func (in *Inbox) Post(f func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ended {
		f()
		return
	}
	in.posted = append(in.posted, f)
	if in.asleep.Load() {
		in.Wake()
	}
}

// Doze says that the loop is about to sleep. It reports false when it should not, because there is something to run.
func (in *Inbox) Doze() bool {
	in.asleep.Store(true)
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.posted) == 0
}

// Rise says that the loop is awake.
func (in *Inbox) Rise() { in.asleep.Store(false) }

// Run runs what has been posted.
func (in *Inbox) Run() {
	in.mu.Lock()
	posted := in.posted
	in.posted = nil
	in.mu.Unlock()
	for _, f := range posted {
		f()
	}
}

// End runs what is left, and says that the loop has ended.
func (in *Inbox) End() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ended = true
	for _, f := range in.posted {
		f()
	}
	in.posted = nil
}
