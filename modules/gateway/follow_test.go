// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script(route("1", "a"))
		g := open(t, store)
		submit(t, g, put("2", "b"))
		store.Inject([]gateway.Change{
			{Object: route("1", "c")}, {Object: route("2", ""), Delete: true}, {Object: route("3", "d")},
		})
		synctest.Wait()
		wantRoutes(t, g, "1=c 3=d")
		if got := submit(t, g, put("4", "e")); got != 6 {
			t.Errorf("a write after the others' has revision %d, want 6", got)
		}
	})
}

func TestWatchKeepsTheLastGoodVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script(route("1", "a"), route("2", "a"))
		g := open(t, store)
		store.Inject([]gateway.Change{
			{Object: route("1", "bad")}, {Object: route("2", "panic")}, {Object: route("3", "b")},
		})
		synctest.Wait()
		wantRoutes(t, g, "1=a 2=a 3=b")
	})
}

func TestWatchUnderADeclaredObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script(route("1", "stored"))
		g := open(t, store)
		detach, _, err := g.Attach(generation("second", declared("1", "declared")))
		if err != nil {
			t.Fatal(err)
		}
		store.Inject([]gateway.Change{{Object: route("1", "changed")}})
		synctest.Wait()
		wantRoutes(t, g, "1=declared")
		detach()
		wantRoutes(t, g, "1=changed")
	})
}

// TestWatchAfterASnapshotThatKnewMore has a change arrive when the table was already made from what followed it.
func TestWatchAfterASnapshotThatKnewMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script(route("1", "a"))
		late := make(chan struct{})
		store.watch = func(ctx context.Context, rev uint64) iter.Seq2[[]gateway.Change, error] {
			return func(yield func([]gateway.Change, error) bool) {
				<-late
				store.Store.Watch(ctx, rev)(yield)
			}
		}
		g := open(t, store)
		store.Inject([]gateway.Change{{Object: route("1", "b")}})
		store.Inject([]gateway.Change{{Object: route("1", ""), Delete: true}})
		if _, _, err := g.Attach(generation("second")); err != nil {
			t.Fatal(err)
		}
		wantRoutes(t, g, "")
		submit(t, g, put("1", "mine"))
		seen := g.Table()
		close(late)
		synctest.Wait()
		wantRoutes(t, g, "1=mine")
		if g.Table() != seen {
			t.Error("changes that were known made a new table")
		}
	})
}

// TestWatchFails breaks the watch, changes the store in the dark, and wants the table to catch up with waits that grow.
func TestWatchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script(route("same", "a"), route("changed", "a"), route("deleted", "a"))
		broken := errors.New("connection refused")
		var watches []time.Time
		var works atomic.Bool
		store.watch = func(ctx context.Context, rev uint64) iter.Seq2[[]gateway.Change, error] {
			watches = append(watches, time.Now())
			if works.Load() {
				return store.Store.Watch(ctx, rev)
			}
			return func(yield func([]gateway.Change, error) bool) {
				if len(watches) == 2 {
					panic("a watch may not take the process down")
				}
				if len(watches) != 3 {
					yield(nil, broken)
				}
			}
		}
		g := open(t, store)
		synctest.Wait()
		submit(t, g, put("mine", "a"))
		store.Inject([]gateway.Change{
			{Object: route("changed", "b")}, {Object: route("deleted", ""), Delete: true}, {Object: route("new", "b")},
		})
		pass(5 * time.Minute)
		wantRoutes(t, g, "changed=b mine=a new=b same=a")
		if n := len(watches); n < 10 || n > 25 {
			t.Errorf("%d tries in five minutes", n)
		}
		for i := range watches[2:] {
			if before, after := watches[i+1].Sub(watches[i]), watches[i+2].Sub(watches[i+1]); after < before {
				t.Errorf("wait %d of %v follows one of %v", i+1, after, before)
			}
		}

		works.Store(true)
		store.failSnapshot(broken)
		pass(time.Minute)
		store.failSnapshot(nil)
		pass(time.Minute)
		store.Inject([]gateway.Change{{Object: route("new", "c")}})
		synctest.Wait()
		wantRoutes(t, g, "changed=b mine=a new=c same=a")
		if got := submit(t, g, put("mine", "b")); got != 9 {
			t.Errorf("the next write has revision %d, want 9", got)
		}
	})
}

func TestCloseEndsABrokenWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script()
		store.watch = func(context.Context, uint64) iter.Seq2[[]gateway.Change, error] {
			return func(yield func([]gateway.Change, error) bool) { yield(nil, errors.New("broken")) }
		}
		g := open(t, store)
		synctest.Wait()
		before := time.Now()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if waited := time.Since(before); waited != 0 {
			t.Errorf("close waited %v for the next try", waited)
		}
	})
}
