// SPDX-License-Identifier: Apache-2.0

// Package memory keeps objects in memory: for tests, and for gateways whose objects are all declared elsewhere.
package memory

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/andogate/ando/modules/gateway"
)

// ErrClosed is what a closed store answers.
var ErrClosed = errors.New("memory store: closed")

// Store is a [gateway.Store] that forgets everything when its process ends. It is safe for concurrent use.
type Store struct {
	mu      sync.Mutex
	rev     uint64
	objects map[string]gateway.Object
	closed  bool
	// injected holds the batches of Inject for watchers that come later; grown is closed and replaced when there is a
	// new one.
	injected [][]gateway.Change
	grown    chan struct{}
}

// New returns a store that holds objects. Those without a revision are numbered in order.
func New(objects ...gateway.Object) *Store {
	s := &Store{objects: make(map[string]gateway.Object, len(objects)), grown: make(chan struct{})}
	for _, o := range objects {
		s.rev = max(s.rev, o.Modified)
	}
	for _, o := range objects {
		if o.Modified == 0 {
			s.rev++
			o.Created, o.Modified = s.rev, s.rev
		}
		s.objects[o.Key()] = o
	}
	return s
}

// Snapshot implements [gateway.Store].
func (s *Store) Snapshot(ctx context.Context) (uint64, []gateway.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, nil, ErrClosed
	}
	return s.rev, slices.Collect(maps.Values(s.objects)), ctx.Err()
}

// Commit implements [gateway.Store].
func (s *Store) Commit(_ context.Context, changes []gateway.Change) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, ErrClosed
	}
	if err := gateway.CheckNumbers(s.rev, changes); err != nil {
		return 0, fmt.Errorf("memory store: %w", err)
	}
	s.apply(changes)
	return s.rev, nil
}

func (s *Store) apply(changes []gateway.Change) {
	for _, change := range changes {
		key := change.Object.Key()
		if change.Delete {
			delete(s.objects, key)
		} else {
			s.objects[key] = change.Object
		}
		s.rev = change.Object.Modified
	}
}

// Inject stores changes as another writer of a shared store would, and returns their last revision: Watch yields them.
// It numbers them itself.
func (s *Store) Inject(changes []gateway.Change) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	changes = slices.Clone(changes)
	for i := range changes {
		o := &changes[i].Object
		o.Modified = s.rev + 1 + uint64(i)
		o.Created = o.Modified
		if prior, ok := s.objects[o.Key()]; ok {
			o.Created = prior.Created
		}
	}
	s.apply(changes)
	s.injected = append(s.injected, changes)
	close(s.grown)
	s.grown = make(chan struct{})
	return s.rev
}

// Watch implements [gateway.Store]: it yields what Inject stored.
func (s *Store) Watch(ctx context.Context, rev uint64) iter.Seq2[[]gateway.Change, error] {
	return func(yield func([]gateway.Change, error) bool) {
		seen := 0
		for {
			s.mu.Lock()
			batches, grown := s.injected[seen:], s.grown
			s.mu.Unlock()
			seen += len(batches)
			for _, batch := range batches {
				if fresh := after(rev, batch); len(fresh) > 0 && !yield(fresh, nil) {
					return
				}
			}
			select {
			case <-grown:
			case <-ctx.Done():
				return
			}
		}
	}
}

func after(rev uint64, batch []gateway.Change) []gateway.Change {
	for i := range batch {
		if batch[i].Object.Modified > rev {
			return batch[i:]
		}
	}
	return nil
}

// Close implements [gateway.Store].
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

var _ gateway.Store = (*Store)(nil)
