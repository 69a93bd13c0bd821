// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
)

// fakeConfig is a config API that can be told to fail and to be changed by somebody else.
type fakeConfig struct {
	mu       sync.Mutex
	value    string
	revision int
	reads    int
	replaced []string
	// conflicts is how many Replaces find that somebody was faster; fails is what every call returns.
	conflicts int
	fails     error
	// entered is sent to when Replace has begun, which goes on when it can receive from proceed.
	entered, proceed chan struct{}
}

func (c *fakeConfig) Read(context.Context, string) (json.RawMessage, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads++
	return json.RawMessage(c.value), fmt.Sprint(c.revision), c.fails
}

func (c *fakeConfig) Replace(_ context.Context, _, etag string, value json.RawMessage) error {
	if c.entered != nil {
		c.entered <- struct{}{}
		<-c.proceed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conflicts > 0 {
		c.conflicts--
		c.revision++
	}
	switch {
	case c.fails != nil:
		return c.fails
	case etag != fmt.Sprint(c.revision):
		return ErrConflict
	}
	c.value = string(value)
	c.revision++
	c.replaced = append(c.replaced, c.value)
	return nil
}

func (c *fakeConfig) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// wanted is what the objects want.
type wanted struct {
	mu   sync.Mutex
	text string
}

func (w *wanted) set(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = text
}

func (w *wanted) edit(json.RawMessage) (json.RawMessage, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.text == "broken" {
		return nil, errors.New("broken")
	}
	return json.RawMessage(w.text), nil
}

func startReloader(t *testing.T, config *fakeConfig, want *wanted) *Reloader {
	t.Helper()
	r := &Reloader{
		API: config, Path: "/config/apps", Edit: want.edit, Log: zap.NewNop,
		pause: time.Millisecond, minRetry: time.Millisecond, maxRetry: 10 * time.Millisecond,
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func settle(t *testing.T, r *Reloader) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := r.Wait(ctx, r.Ask())
	if errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("no pass ends")
	}
	return err
}

func TestReloader(t *testing.T) {
	config, want := &fakeConfig{value: `1`}, &wanted{text: `1`}
	r := startReloader(t, config, want)
	if err := settle(t, r); err != nil || len(config.replaced) != 0 {
		t.Fatalf("nothing to do: got %v and %v", err, config.replaced)
	}
	want.set(`2`)
	if err := settle(t, r); err != nil || config.value != `2` {
		t.Fatalf("got %v and %s", err, config.value)
	}
	config.set(func() { config.conflicts = 3 })
	want.set(`3`)
	if err := settle(t, r); err != nil || config.value != `3` || len(config.replaced) != 2 {
		t.Fatalf("after conflicts: got %v and %v", err, config.replaced)
	}
	if s := r.Status(); s.Reloads != 2 || s.Failures != 0 || s.Err != nil {
		t.Errorf("got %+v", s)
	}
}

func TestReloaderFailsAndRecovers(t *testing.T) {
	config, want := &fakeConfig{value: `1`, fails: errors.New("down")}, &wanted{text: `2`}
	r := startReloader(t, config, want)
	if err := settle(t, r); err == nil || r.Status().Err == nil || r.Status().Since.IsZero() || config.value != `1` {
		t.Fatalf("got %v, %+v, %s", err, r.Status(), config.value)
	}
	// Nobody asks any more; it tries again by itself.
	config.set(func() { config.fails = nil })
	for timeout := time.After(time.Minute); ; {
		r.mu.Lock()
		err, passed := r.status.Err, r.passed
		r.mu.Unlock()
		if err == nil {
			break
		}
		select {
		case <-passed:
		case <-timeout:
			t.Fatal(err)
		}
	}
	if s := r.Status(); s.Err != nil || s.Reloads != 1 || !s.Since.IsZero() {
		t.Errorf("got %+v", s)
	}
	want.set("broken")
	if err := settle(t, r); err == nil || config.value != `2` {
		t.Errorf("an edit that fails: got %v and %s", err, config.value)
	}
	want.set(`3`)
	config.set(func() { config.conflicts = 1000 })
	if err := settle(t, r); !errors.Is(err, ErrConflict) {
		t.Errorf("conflicts without end: got %v", err)
	}
}

// Whoever asks during a reload shares the next one.
func TestReloaderCoalesces(t *testing.T) {
	config := &fakeConfig{value: `0`, entered: make(chan struct{}), proceed: make(chan struct{})}
	want := &wanted{text: `1`}
	r := startReloader(t, config, want)
	first := r.Ask()
	<-config.entered
	var tickets []uint64
	for i := range 100 {
		want.set(fmt.Sprint(i + 2))
		tickets = append(tickets, r.Ask())
	}
	config.proceed <- struct{}{}
	if err := r.Wait(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	<-config.entered
	config.proceed <- struct{}{}
	for _, ticket := range tickets {
		if err := r.Wait(t.Context(), ticket); err != nil {
			t.Fatal(err)
		}
	}
	if fmt.Sprint(config.replaced) != "[1 101]" {
		t.Errorf("got %v", config.replaced)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Wait(ended, tickets[99]+1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestReloaderIsNeedless(t *testing.T) {
	config, want := &fakeConfig{value: `1`, fails: errors.New("there is no API")}, &wanted{text: `2`}
	r := &Reloader{API: config, Edit: want.edit, Log: zap.NewNop, Needless: func() bool { return true }}
	ticket := r.Ask()
	if reloaded, err := r.pass(t.Context()); reloaded || err != nil || config.reads > 0 {
		t.Errorf("got %v, %v and %d reads", reloaded, err, config.reads)
	}
	if err := r.Wait(t.Context(), ticket); err != nil {
		t.Error(err)
	}
}
