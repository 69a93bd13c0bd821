// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/andogate/ando/modules/gateway"
)

type outcome struct {
	rev uint64
	err error
}

// batch submits writes so that they share one commit, and returns their outcomes in order. It runs in a synctest bubble.
func batch(g *gateway.Gateway, writes ...func(gateway.Tx) ([]gateway.Change, error)) []outcome {
	release := hold(g)
	outcomes := make([]outcome, len(writes))
	var all sync.WaitGroup
	for i, write := range writes {
		all.Go(func() { outcomes[i].rev, outcomes[i].err = g.Submit(context.Background(), write) })
		synctest.Wait()
	}
	release()
	all.Wait()
	return outcomes
}

// hold keeps the committer busy with a write of nothing until release is called.
func hold(g *gateway.Gateway) (release func()) {
	held, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		_, _ = g.Submit(context.Background(), func(gateway.Tx) ([]gateway.Change, error) {
			<-held
			return nil, nil
		})
	}()
	synctest.Wait()
	return func() { close(held); <-done }
}

func TestSubmitReadsItsWrites(t *testing.T) {
	store := script()
	g := open(t, store)
	for i := range 100 {
		value := fmt.Sprint(i)
		rev := submit(t, g, put("1", value))
		o, ok := g.Table().Object(gateway.Routes, "1")
		if !ok || string(o.Value) != value {
			t.Fatalf("after write %d the table has %q", i, o.Value)
		}
		if want := uint64(i + 1); rev != want || o.Modified != want || o.Created != 1 {
			t.Fatalf("write %d: revision %d, modified %d, created %d", i, rev, o.Modified, o.Created)
		}
		if got, want := stored(t, store), "1="+value; got != want {
			t.Fatalf("after write %d the store has %q", i, got)
		}
	}
}

func TestRefusedWriteFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script()
		g := open(t, store)
		refusal := errors.New("no such service")
		got := batch(g,
			put("1", "a"),
			put("2", "bad"),
			func(gateway.Tx) ([]gateway.Change, error) { return nil, refusal },
			put("3", "panic"),
			func(gateway.Tx) ([]gateway.Change, error) { panic("in the write") },
			put("4", "b"),
		)
		var bad *gateway.Refusal
		if !errors.As(got[1].err, &bad) || bad.Message != "/apisix/routes/2 is bad" {
			t.Errorf("bad object: %v", got[1].err)
		}
		if got[2].err != refusal {
			t.Errorf("refused write: %v", got[2].err)
		}
		for _, i := range []int{3, 4} {
			if got[i].err == nil || !strings.Contains(got[i].err.Error(), "internal error") {
				t.Errorf("write %d that panics: %v", i, got[i].err)
			}
		}
		if got[0] != (outcome{rev: 1}) || got[5] != (outcome{rev: 2}) {
			t.Errorf("good writes: %v and %v", got[0], got[5])
		}
		wantRoutes(t, g, "1=a 4=b")
		if got := stored(t, store); got != "1=a 4=b" {
			t.Errorf("the store has %q", got)
		}
		if len(store.commits) != 1 {
			t.Errorf("%d commits, want one for the batch", len(store.commits))
		}
	})
}

func TestLaterWriteOfABatchSeesEarlierOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script()
		g := open(t, store)
		unlessExists := func(tx gateway.Tx) ([]gateway.Change, error) {
			if _, ok := tx.Object(gateway.Routes, "1"); ok {
				return nil, errors.New("exists")
			}
			return []gateway.Change{{Object: route("1", "second")}}, nil
		}
		var next uint64
		got := batch(g, put("1", "first"), unlessExists, func(tx gateway.Tx) ([]gateway.Change, error) {
			next = tx.Next
			return nil, nil
		})
		if got[0] != (outcome{rev: 1}) || got[1].err == nil || got[2] != (outcome{rev: 1}) {
			t.Errorf("outcomes %v", got)
		}
		if next != 2 {
			t.Errorf("next revision %d, want 2", next)
		}
		wantRoutes(t, g, "1=first")
	})
}

func TestFailedCommitFailsTheBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script(route("0", "old"))
		g := open(t, store)
		full := errors.New("disk full")
		store.failCommit(full)
		refuse := func(gateway.Tx) ([]gateway.Change, error) { return nil, errors.New("exists") }
		nothing := func(gateway.Tx) ([]gateway.Change, error) { return nil, nil }
		before := g.Table()
		got := batch(g, refuse, put("1", "a"), put("2", "b"), refuse, nothing)
		if got[0].err == nil || got[0].err.Error() != "exists" {
			t.Errorf("a refusal that rests on what is durable: %v", got[0].err)
		}
		for i, o := range got[1:] {
			var failure *gateway.StoreError
			if !errors.As(o.err, &failure) || !errors.Is(o.err, full) || o.rev != 0 {
				t.Errorf("write %d: %v", i+1, o)
			}
		}
		if g.Table() != before {
			t.Error("the table was replaced")
		}

		store.failCommit(nil)
		if rev := submit(t, g, put("1", "c")); rev != 2 {
			t.Errorf("the next write has revision %d, want 2", rev)
		}
		wantRoutes(t, g, "0=old 1=c")
	})
}

func TestPanickingStoreFailsTheBatch(t *testing.T) {
	store := script()
	g := open(t, store)
	store.commit = func([]gateway.Change) error { panic("no store is above this") }
	var failure *gateway.StoreError
	if _, err := g.Submit(context.Background(), put("1", "a")); !errors.As(err, &failure) {
		t.Errorf("got %v", err)
	}
	wantRoutes(t, g, "")
}

func TestChangesOfOneWrite(t *testing.T) {
	g := open(t, script(gateway.Object{Kind: gateway.Routes, ID: "1", Value: []byte("old"), Created: 3, Modified: 7}))
	rev := submit(t, g, func(gateway.Tx) ([]gateway.Change, error) {
		return []gateway.Change{
			{Object: route("1", "new")},
			{Object: route("2", "x")},
			{Object: route("2", "y")},
			{Object: route("3", "x")},
			{Object: route("3", ""), Delete: true},
			{Object: route("3", "z")},
		}, nil
	})
	if rev != 13 {
		t.Errorf("revision %d, want that of the last change, 13", rev)
	}
	for id, want := range map[string][2]uint64{"1": {3, 8}, "2": {9, 10}, "3": {13, 13}} {
		o, _ := g.Table().Object(gateway.Routes, id)
		if got := [2]uint64{o.Created, o.Modified}; got != want {
			t.Errorf("route %s: created and modified %v, want %v", id, got, want)
		}
	}
	submit(t, g, remove("2"))
	wantRoutes(t, g, "1=new 3=z")
}

func TestParallelWriters(t *testing.T) {
	const writers, each = 64, 50
	store := script()
	g := open(t, store)
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			var last uint64
			for i := range each {
				id, value := fmt.Sprintf("%d-%d", w, i), fmt.Sprint(i)
				rev, err := g.Submit(context.Background(), put(id, value))
				if err != nil || rev <= last {
					t.Errorf("%s: revision %d after %d, error %v", id, rev, last, err)
					return
				}
				last = rev
				if o, ok := g.Table().Object(gateway.Routes, id); !ok || o.Modified != rev {
					t.Errorf("%s is not live when acknowledged", id)
				}
			}
		})
	}
	all.Wait()
	if got := g.Table().Revision(); got != writers*each {
		t.Errorf("revision %d, want %d", got, writers*each)
	}
	if got, want := stored(t, store), routes(g.Table()); got != want {
		t.Error("store and table differ")
	}
}

func TestSubmitWithEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := open(t, script())
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := g.Submit(ended, put("1", "a")); !errors.Is(err, context.Canceled) {
			t.Errorf("ended before: %v", err)
		}

		release := hold(g)
		waiting, cancel := context.WithCancel(context.Background())
		result := make(chan error)
		go func() {
			_, err := g.Submit(waiting, put("2", "b"))
			result <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("ended while queued: %v", err)
		}
		release()
		wantRoutes(t, g, "")
	})
}

func TestContextThatEndsDuringTheCommitChangesNothing(t *testing.T) {
	store := script()
	g := open(t, store)
	ctx, cancel := context.WithCancel(context.Background())
	store.commit = func([]gateway.Change) error { cancel(); return nil }
	rev, err := g.Submit(ctx, put("1", "a"))
	if rev != 1 || err != nil {
		t.Errorf("got %d, %v", rev, err)
	}
	wantRoutes(t, g, "1=a")
}

func TestCloseFinishesWhatIsQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := script()
		g := open(t, store)
		release := hold(g)
		outcomes := make([]outcome, 300)
		var all sync.WaitGroup
		for i := range outcomes {
			all.Go(func() {
				outcomes[i].rev, outcomes[i].err = g.Submit(context.Background(), put(fmt.Sprint(i), "a"))
			})
		}
		synctest.Wait()
		all.Go(func() { _ = g.Close() })
		synctest.Wait()
		release()
		all.Go(func() { _ = g.Close() })
		all.Wait()

		if !store.closed {
			t.Error("the store is open")
		}
		done := 0
		for i, o := range outcomes {
			_, live := g.Table().Object(gateway.Routes, fmt.Sprint(i))
			switch {
			case o.err == nil && live:
				done++
			case errors.Is(o.err, gateway.ErrClosed) && !live:
			default:
				t.Errorf("write %d: error %v, live %t", i, o.err, live)
			}
		}
		if done < 256 {
			t.Errorf("%d of the queued writes were done", done)
		}
		if _, err := g.Submit(context.Background(), put("late", "a")); !errors.Is(err, gateway.ErrClosed) {
			t.Errorf("write after close: %v", err)
		}
		if _, _, err := g.Attach(generation("late")); !errors.Is(err, gateway.ErrClosed) {
			t.Errorf("attach after close: %v", err)
		}
	})
}

// TestCloseRace lets writers run into Close: each gets an answer, and the answer is the truth.
func TestCloseRace(t *testing.T) {
	for range 50 {
		store := script()
		g := open(t, store)
		var all sync.WaitGroup
		for w := range 8 {
			all.Go(func() {
				for i := 0; ; i++ {
					id := fmt.Sprintf("%d-%d", w, i)
					_, err := g.Submit(context.Background(), put(id, "a"))
					_, live := g.Table().Object(gateway.Routes, id)
					if live != (err == nil) {
						t.Errorf("%s: error %v, live %t", id, err, live)
					}
					if err != nil {
						if !errors.Is(err, gateway.ErrClosed) {
							t.Errorf("%s: %v", id, err)
						}
						return
					}
				}
			})
		}
		all.Go(func() { _ = g.Close() })
		all.Wait()
	}
}

func TestOpenFails(t *testing.T) {
	unreadable := errors.New("unreadable")
	store := script()
	store.failSnapshot(unreadable)
	if _, _, err := gateway.Open(context.Background(), store, generation("first")); !errors.Is(err, unreadable) {
		t.Errorf("got %v", err)
	}
	if !store.closed {
		t.Error("the store was left open")
	}

	store = script(route("1", "panic"))
	if _, _, err := gateway.Open(context.Background(), store, generation("first")); err == nil || !store.closed {
		t.Errorf("a compiler that panics: error %v, store closed %t", err, store.closed)
	}
}

func TestOpenReportsFaults(t *testing.T) {
	g, faults, err := gateway.Open(context.Background(), script(route("1", "a"), route("2", "bad")), generation("first"))
	if err != nil || len(faults) != 1 {
		t.Fatalf("error %v, faults %v", err, faults)
	}
	defer g.Close()
	wantRoutes(t, g, "1=a")
}

func BenchmarkSubmit(b *testing.B) {
	g, _, err := gateway.Open(context.Background(), script(), generation("first"))
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	for b.Loop() {
		if _, err := g.Submit(context.Background(), put("1", "a")); err != nil {
			b.Fatal(err)
		}
	}
}

func TestTryStoresNothing(t *testing.T) {
	store := script()
	g := open(t, store)
	submit(t, g, put("1", "a"))
	table := g.Table()
	next := uint64(0)
	err := g.Try(t.Context(), func(tx gateway.Tx) ([]gateway.Change, error) {
		next = tx.Next
		return put("1", "b")(tx)
	})
	if err != nil || next != 2 {
		t.Errorf("got %v, at revision %d", err, next)
	}
	if err := g.Try(t.Context(), put("2", "bad")); err == nil {
		t.Error("what does not compile is not refused")
	}
	if g.Table() != table || stored(t, store) != "1=a" {
		t.Errorf("the table has changed, or the store: %s", stored(t, store))
	}
	if rev := submit(t, g, put("1", "c")); rev != 2 {
		t.Errorf("the next write has revision %d", rev)
	}
}
