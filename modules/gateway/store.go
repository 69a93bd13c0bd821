// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"iter"
)

// Store keeps objects. Its methods are called from any goroutine, Commit from one at a time.
type Store interface {
	// Snapshot returns every object as of one revision, in no particular order.
	Snapshot(context.Context) (rev uint64, objects []Object, err error)

	// Commit applies all changes or none, durably, and returns the revision of the last one. The caller has numbered
	// the changes: Object.Modified grows from change to change and is above every revision before it. After an error
	// nothing of the batch is stored.
	Commit(ctx context.Context, changes []Change) (rev uint64, err error)

	// Watch yields, in order, changes committed after rev by anyone but this Store's own Commit, until ctx ends. A
	// store with one writer yields nothing. After an error the sequence ends, and the caller begins again with a
	// Snapshot.
	Watch(ctx context.Context, rev uint64) iter.Seq2[[]Change, error]

	// Close releases the store. No other method may be called after it.
	Close() error
}
