// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// The wait before a broken watch is taken up again doubles from one to the other.
const (
	minWatchRetry = 100 * time.Millisecond
	maxWatchRetry = 30 * time.Second
)

var errWatchEnded = errors.New("the store stopped telling of changes")

// watch follows what others write to the store, from after rev, until the gateway closes. When the store cannot go on it
// begins again with a snapshot.
func (g *Gateway) watch(rev uint64) {
	retry := minWatchRetry
	for {
		err := g.follow(rev, func() { retry = minWatchRetry })
		for err != nil {
			if g.life.Err() != nil {
				return
			}
			g.log().Error("watching the store failed", zap.Error(err), zap.Duration("retry_in", retry))
			select {
			case <-time.After(retry):
			case <-g.life.Done():
				return
			}
			retry = min(2*retry, maxWatchRetry)
			rev, err = g.resync()
		}
	}
}

// follow applies changes until the watch ends, and says why it did. progress is called after each.
func (g *Gateway) follow(rev uint64, progress func()) (err error) {
	defer g.guard("watch", &err)
	for changes, err := range g.store.Watch(g.life, rev) {
		if err != nil {
			return err
		}
		_, err = g.enqueue(&task{ctx: g.life, do: func() error {
			g.apply(g.unseen(changes))
			return nil
		}})
		if err != nil {
			return err
		}
		progress()
	}
	return errWatchEnded
}

// unseen leaves out changes that a snapshot has brought already: applied again they would undo what followed them.
func (g *Gateway) unseen(changes []Change) []Change {
	for i := range changes {
		if changes[i].Object.Modified > g.rev {
			return changes[i:]
		}
	}
	return nil
}

// resync takes over the difference between the store and the table, so that what is the same in both is kept as it is.
func (g *Gateway) resync() (rev uint64, err error) {
	_, err = g.enqueue(&task{ctx: g.life, do: func() error {
		var stored []Object
		var err error
		rev, stored, err = g.store.Snapshot(g.life)
		if err != nil {
			return fmt.Errorf("read the store: %w", err)
		}
		g.apply(difference(g.Table(), rev, g.unexpired(stored)))
		g.rev = rev
		g.expiring.reset(stored)
		return nil
	}})
	return rev, err
}

// difference lists what makes the stored objects in table those of a snapshot.
func difference(table Table, rev uint64, stored []Object) []Change {
	var changes []Change
	keep := make(map[string]bool, len(stored))
	for _, o := range stored {
		keep[o.Key()] = true
	}
	for _, kind := range Kinds {
		for o := range table.Objects(kind) {
			if o.Origin == OriginStore && !keep[o.Key()] {
				o.Modified = rev
				changes = append(changes, Change{Object: o, Delete: true})
			}
		}
	}
	for _, o := range stored {
		if live, ok := table.Object(o.Kind, o.ID); !ok || live.Modified != o.Modified {
			changes = append(changes, Change{Object: o})
		}
	}
	return changes
}

// apply takes over changes that somebody else committed: they cannot be refused any more, so an object that does not
// compile is left as it was served before and logged. What a declared object hides changes in the store alone.
func (g *Gateway) apply(changes []Change) {
	if len(changes) == 0 {
		return
	}
	v := g.current.Load()
	visible := make([]Change, 0, len(changes))
	for _, change := range changes {
		g.rev = max(g.rev, change.Object.Modified)
		if live, ok := v.table.Object(change.Object.Kind, change.Object.ID); !ok || live.Origin == OriginStore {
			visible = append(visible, change)
		}
	}
	g.expiring.note(changes)
	table, err := g.with(v.table, visible)
	if err != nil {
		var faults []error
		table, faults = g.withEach(v.table, visible)
		g.logFaults(faults)
	}
	g.publish(table, v.settings)
}

// withEach applies what can be applied.
func (g *Gateway) withEach(table Table, changes []Change) (Table, []error) {
	var faults []error
	for i := range changes {
		next, err := g.with(table, changes[i:i+1])
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", changes[i].Object.Key(), err))
			continue
		}
		table = next
	}
	return table, faults
}

// with is Table.With for changes that nobody waits for.
func (g *Gateway) with(table Table, changes []Change) (next Table, err error) {
	defer g.guard("with", &err)
	if len(changes) == 0 {
		return table, nil
	}
	return table.With(changes)
}
