// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"sync"
	"time"
)

// flights are the responses of a zone that somebody is fetching.
type flights struct {
	mu sync.Mutex
	// under has a channel for each key, which is closed when the response is there, or will not come; guarded by mu.
	under map[string]chan struct{}
}

// waitAtMost bounds how long a request waits for what another one is fetching, as nginx's proxy_cache_lock_timeout does.
const waitAtMost = 5 * time.Second

// Lead reports whether the caller is the one who fetches what is missing for a key. It then calls Land, once, whatever
// comes of it.
func (f *flights) Lead(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, under := f.under[key]; under {
		return false
	}
	if f.under == nil {
		f.under = make(map[string]chan struct{})
	}
	f.under[key] = make(chan struct{})
	return true
}

// Land ends what Lead began.
func (f *flights) Land(key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if done, under := f.under[key]; under {
		close(done)
		delete(f.under, key)
	}
}

// Await waits until what somebody is fetching for a key is there, or will not come, or has taken too long.
func (f *flights) Await(ctx context.Context, key string) {
	f.mu.Lock()
	done := f.under[key]
	f.mu.Unlock()
	if done == nil {
		return
	}
	timer := time.NewTimer(waitAtMost)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Busy reports whether somebody is fetching something.
func (f *flights) Busy() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.under) > 0
}
