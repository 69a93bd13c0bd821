// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
)

// ConfigAPI is Caddy's config API: documents at paths, whose change is a reload.
type ConfigAPI interface {
	// Read returns the value at a path, and its etag. A path that leads nowhere has the value null.
	Read(ctx context.Context, path string) (value json.RawMessage, etag string, err error)
	// Replace puts a value in the place of the one at a path, which must be there, and returns when that is live. When the
	// etag is not that of the present value the error is ErrConflict. After an error everything is as it was.
	Replace(ctx context.Context, path, etag string, value json.RawMessage) error
}

// ErrConflict says that somebody else has changed Caddy's config since it was read.
var ErrConflict = errors.New("the config has changed meanwhile")

// Reloader keeps Caddy's own config in step with the objects: it is the one place where a write of the Admin API becomes
// a reload. One goroutine, Run, does so: it reads the part of the config that is the gateway's business, has it edited,
// and replaces it if that made a difference. Whoever asks while it is at work waits for the next pass together with all
// others, so that a reload serves any number of writes. What fails is tried again, and leaves what is live alone.
type Reloader struct {
	// API is Caddy's config API, and Path what of the config is edited.
	API  ConfigAPI
	Path string
	// Edit returns the config as the objects want it: the value itself when that is how it is. It is called by Run alone,
	// again after each conflict.
	Edit func(value json.RawMessage) (json.RawMessage, error)
	// Needless, when set, reports that the objects want nothing of Caddy, and that it has nothing of theirs.
	Needless func() bool
	// Log returns the logger of the newest Caddy config.
	Log func() *zap.Logger

	// The zero values mean the constants.
	pause, minRetry, maxRetry time.Duration

	once sync.Once
	wake chan struct{}
	mu   sync.Mutex
	// asked counts the calls of Ask; done is how many of them a pass has served, whatever came of it.
	asked, done uint64
	// passed is closed, and replaced, after each pass.
	passed chan struct{}
	status ReloadStatus
}

// ReloadStatus says how Caddy's config follows the objects.
type ReloadStatus struct {
	// Reloads counts the configs that were replaced, Failures the passes that failed.
	Reloads, Failures uint64
	// Err is why Caddy's config is behind the objects, nil that it is not; Since is when that began.
	Err   error
	Since time.Time
}

const (
	// reloadPause is the least time between two reloads: each rebuilds all of Caddy's apps.
	reloadPause = 200 * time.Millisecond
	// A pass that fails is repeated, after twice as long each time from the one to the other.
	minReloadRetry = time.Second
	maxReloadRetry = time.Minute
	// maxConflicts is how often a pass begins again because somebody else was faster.
	maxConflicts = 10
)

func (r *Reloader) init() {
	r.once.Do(func() {
		r.wake, r.passed = make(chan struct{}, 1), make(chan struct{})
		for _, d := range []struct {
			value    *time.Duration
			standard time.Duration
		}{{&r.pause, reloadPause}, {&r.minRetry, minReloadRetry}, {&r.maxRetry, maxReloadRetry}} {
			if *d.value == 0 {
				*d.value = d.standard
			}
		}
	})
}

// Ask makes Run look at the objects again, and returns a ticket to wait with. It does not wait itself.
func (r *Reloader) Ask() (ticket uint64) {
	r.init()
	r.mu.Lock()
	r.asked++
	ticket = r.asked
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return ticket
}

// Wait returns when a pass that began after the ticket was given has ended: nil when Caddy's config is as the objects want
// it, or else why it is not.
func (r *Reloader) Wait(ctx context.Context, ticket uint64) error {
	r.init()
	for {
		r.mu.Lock()
		done, err, passed := r.done, r.status.Err, r.passed
		r.mu.Unlock()
		if done >= ticket {
			return err
		}
		select {
		case <-passed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Status says how things are.
func (r *Reloader) Status() ReloadStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Run serves those who ask until ctx ends.
func (r *Reloader) Run(ctx context.Context) {
	r.init()
	retry := r.minRetry
	again := time.NewTimer(0)
	again.Stop()
	defer again.Stop()
	for {
		select {
		case <-r.wake:
		case <-again.C:
		case <-ctx.Done():
			return
		}
		again.Stop()
		reloaded, err := r.pass(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			again.Reset(retry)
			retry = min(2*retry, r.maxRetry)
		default:
			retry = r.minRetry
		}
		if reloaded {
			select {
			case <-time.After(r.pause):
			case <-ctx.Done():
				return
			}
		}
	}
}

// pass makes Caddy's config what the objects want, and tells who waits.
func (r *Reloader) pass(ctx context.Context) (reloaded bool, err error) {
	r.mu.Lock()
	serves := r.asked
	r.mu.Unlock()
	if r.Needless == nil || !r.Needless() {
		reloaded, err = r.reload(ctx)
	}
	if err != nil && ctx.Err() == nil {
		r.Log().Error("Caddy's config is behind the objects", zap.Error(err))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = serves
	if reloaded {
		r.status.Reloads++
	}
	if err != nil {
		r.status.Failures++
		if r.status.Err == nil {
			r.status.Since = time.Now()
		}
	}
	if r.status.Err = err; err == nil {
		r.status.Since = time.Time{}
	}
	close(r.passed)
	r.passed = make(chan struct{})
	return reloaded, err
}

func (r *Reloader) reload(ctx context.Context) (reloaded bool, err error) {
	for range maxConflicts {
		value, etag, err := r.API.Read(ctx, r.Path)
		if err != nil {
			return false, fmt.Errorf("read %s: %w", r.Path, err)
		}
		edited, err := r.Edit(value)
		if err != nil {
			return false, fmt.Errorf("edit %s: %w", r.Path, err)
		}
		if bytes.Equal(edited, value) {
			return false, nil
		}
		err = r.API.Replace(ctx, r.Path, etag, edited)
		switch {
		case err == nil:
			return true, nil
		case !errors.Is(err, ErrConflict):
			return false, fmt.Errorf("replace %s: %w", r.Path, err)
		}
	}
	return false, fmt.Errorf("replace %s: %w, %d times", r.Path, ErrConflict, maxConflicts)
}
