// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"fmt"
	"iter"
)

// Store keeps objects. Its methods are called from any goroutine, Commit from one at a time.
type Store interface {
	// Snapshot returns every object as of one revision, in no particular order. It sees every Commit that returned
	// before it was called. The slice is the caller's.
	Snapshot(context.Context) (rev uint64, objects []Object, err error)

	// Commit applies all changes or none, durably, and returns the revision of the last one. The caller has numbered
	// the changes: Object.Modified grows from change to change, deletes included, and is above every revision before
	// it; a store in which that does not hold, because somebody else has written, returns an error. After an error
	// nothing of the batch is stored, and the store can still be used; a store that cannot be sure of that returns
	// errors from then on.
	Commit(ctx context.Context, changes []Change) (rev uint64, err error)

	// Watch yields, in order and numbered, changes committed after rev by anyone but this Store's own Commit, until ctx
	// ends. A store with one writer yields nothing until then. After an error the sequence ends, and the caller begins
	// again with a Snapshot.
	Watch(ctx context.Context, rev uint64) iter.Seq2[[]Change, error]

	// Close releases the store. No other method may be called after it, and no Watch may still be running.
	Close() error
}

// CheckNumbers reports whether changes are numbered as [Store.Commit] asks for, with rev the newest revision before.
func CheckNumbers(rev uint64, changes []Change) error {
	for i := range changes {
		o := &changes[i].Object
		if o.Modified <= rev {
			return fmt.Errorf("%s: revision %d does not come after %d", o.Key(), o.Modified, rev)
		}
		rev = o.Modified
	}
	return nil
}
