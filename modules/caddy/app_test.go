// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// newApp returns an app that is provisioned and not started, without a listener.
func newApp(t *testing.T) *App {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	app := &App{StoreRaw: json.RawMessage(`{"module":"memory"}`), Admin: &AdminConfig{Disabled: true}}
	if err := app.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := app.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return app
}

// A server may start before the gateway does.
func TestRequestsWaitForStart(t *testing.T) {
	app := newApp(t)
	type result struct {
		running *running
		err     error
	}
	got := make(chan result)
	go func() {
		r, err := app.serving(t.Context())
		got <- result{r, err}
	}()
	select {
	case r := <-got:
		t.Fatalf("before the start: %+v", r)
	default:
	}
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	if r := <-got; r.err != nil || r.running == nil {
		t.Errorf("after the start: %+v", r)
	}
	if err := app.Stop(); err != nil {
		t.Fatal(err)
	}
	if r, err := app.serving(t.Context()); err != nil || r == nil {
		t.Errorf("a request that is under way in a reload: %v %v", r, err)
	}
}

func TestRequestsDoNotWaitForEver(t *testing.T) {
	app := newApp(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := app.serving(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that has gone: %v", err)
	}
	if err := app.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if _, err := app.serving(t.Context()); !errors.Is(err, errNotStarted) {
		t.Errorf("a config that is given up: %v", err)
	}
}

func BenchmarkServing(b *testing.B) {
	app := &App{settled: make(chan struct{}), running: new(running)}
	close(app.settled)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := app.serving(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
