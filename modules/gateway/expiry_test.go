// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

func putFor(id, value string, life time.Duration) func(gateway.Tx) ([]gateway.Change, error) {
	return func(gateway.Tx) ([]gateway.Change, error) {
		o := route(id, value)
		o.Expires = time.Now().Add(life)
		return []gateway.Change{{Object: o}}, nil
	}
}

// pass lets time go by and the committer come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script()
		g := open(t, store)
		submit(t, g, put("forever", "x"))
		submit(t, g, putFor("long", "x", 2*time.Hour))
		submit(t, g, putFor("short", "x", 10*time.Second))
		submit(t, g, putFor("renewed", "x", 10*time.Second))
		submit(t, g, putFor("renewed", "x", 20*time.Second))
		submit(t, g, putFor("kept", "x", 10*time.Second))
		submit(t, g, put("kept", "x"))

		pass(10*time.Second - time.Millisecond)
		wantRoutes(t, g, "forever=x kept=x long=x renewed=x short=x")
		pass(time.Millisecond)
		wantRoutes(t, g, "forever=x kept=x long=x renewed=x")
		if got := g.Table().Revision(); got != 8 {
			t.Errorf("revision %d after the seven writes and one expiry", got)
		}
		pass(10 * time.Second)
		wantRoutes(t, g, "forever=x kept=x long=x")
		pass(2 * time.Hour)
		wantRoutes(t, g, "forever=x kept=x")
		if got := stored(t, store); got != "forever=x kept=x" {
			t.Errorf("the store has %q", got)
		}
		if got := submit(t, g, put("next", "x")); got != 11 {
			t.Errorf("the next write has revision %d", got)
		}
	})
}

func TestExpiredAtOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone, later := route("gone", "x"), route("later", "x")
		gone.Expires, later.Expires = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		store := script(gone, later)
		g := open(t, store)
		wantRoutes(t, g, "later=x")
		if got := stored(t, store); got != "later=x" {
			t.Errorf("the store has %q", got)
		}
		pass(time.Hour)
		wantRoutes(t, g, "")
	})
}

func TestExpiryOutlivesAFailingStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script()
		g := open(t, store)
		submit(t, g, putFor("1", "x", time.Second))
		store.failCommit(errors.New("disk full"))
		pass(time.Minute)
		wantRoutes(t, g, "1=x")
		if tries := len(store.commits) - 1; tries < 2 || tries > 10 {
			t.Errorf("%d tries in a minute", tries)
		}
		store.failCommit(nil)
		pass(time.Minute)
		wantRoutes(t, g, "")
	})
}

// TestExpiryOfAHiddenObject also covers what expired while nothing could be seen of it.
func TestExpiryOfAHiddenObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script()
		g := open(t, store)
		submit(t, g, putFor("1", "stored", time.Minute))
		detach, _, err := g.Attach(generation("second", declared("1", "declared")))
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		wantRoutes(t, g, "1=declared")
		if got := stored(t, store); got != "" {
			t.Errorf("the store has %q", got)
		}
		detach()
		wantRoutes(t, g, "")
	})
}

func TestExpiryOfWhatOthersWrote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script()
		g := open(t, store)
		o := route("1", "x")
		o.Expires = time.Now().Add(time.Minute)
		store.Inject([]gateway.Change{{Object: o}})
		synctest.Wait()
		wantRoutes(t, g, "1=x")
		pass(time.Minute)
		wantRoutes(t, g, "")
	})
}

func TestTableKnowsExpiresAsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script()
		g := open(t, store)
		submit(t, g, putFor("1", "x", time.Hour+time.Nanosecond))
		live, _ := g.Table().Object(gateway.Routes, "1")
		_, objects, _ := store.Snapshot(context.Background())
		if want := time.Now().Add(time.Hour); !live.Expires.Equal(want) || !objects[0].Expires.Equal(want) {
			t.Errorf("expires %v in the table, %v in the store, want %v", live.Expires, objects[0].Expires, want)
		}
	})
}
