// SPDX-License-Identifier: Apache-2.0

package authzkeycloak

import (
	"context"
	"sync"
	"time"
)

// held is a value of a server that is used for a time. When that is over, one caller asks for the next one and all wait for
// it. The zero value holds nothing.
type held[T any] struct {
	mu sync.Mutex
	// The following is guarded by mu. value is nil when there is none yet, flight when nobody asks.
	value  *T
	until  time.Time
	flight *flight[T]
}

// flight is one fetch. value and err may be read when done is closed.
type flight[T any] struct {
	done  chan struct{}
	value *T
	err   error
}

// fetch returns the value after last, which may be nil, and until when it is used.
type fetch[T any] = func(ctx context.Context, now time.Time, last *T) (next *T, until time.Time, err error)

// get returns the value that holds now. The fetch, if one has to be made, is not the caller's alone: it goes on when ctx
// ends, and has to end by itself.
func (h *held[T]) get(ctx context.Context, now time.Time, next fetch[T]) (*T, error) {
	h.mu.Lock()
	if h.value != nil && now.Before(h.until) {
		defer h.mu.Unlock()
		return h.value, nil
	}
	f := h.flight
	if f == nil {
		f = &flight[T]{done: make(chan struct{})}
		h.flight = f
		last := h.value
		go func() {
			var until time.Time
			f.value, until, f.err = next(context.Background(), now, last)
			h.mu.Lock()
			if f.err == nil {
				h.value, h.until = f.value, until
			}
			h.flight = nil
			h.mu.Unlock()
			close(f.done)
		}()
	}
	h.mu.Unlock()
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// drop forgets a value that turned out to be no good, unless there is another one by now.
func (h *held[T]) drop(value *T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.value == value {
		h.value = nil
	}
}
