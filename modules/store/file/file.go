// SPDX-License-Identifier: Apache-2.0

// Package file keeps objects in a file that people write: APISIX's apisix.yaml or apisix.json. The file is followed, and
// never written.
package file

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// ErrReadOnly refuses a write. It is a [gateway.ErrReadOnly].
var ErrReadOnly error = readOnly{}

type readOnly struct{}

func (readOnly) Error() string {
	return "file store: objects are kept in a file that is only read: change the file instead"
}

func (readOnly) Is(target error) bool { return target == gateway.ErrReadOnly }

// interval is how often the file is looked at.
const interval = time.Second

// Config says what to read. Path and Parse are required.
type Config struct {
	Path string
	// Parse returns the objects in the text of a file. prior finds an object that the file had before, to be kept in the
	// place of one that cannot be used any more. After an error the file counts as broken, and what was read before
	// stays.
	Parse func(raw []byte, prior func(gateway.Kind, string) (gateway.Object, bool)) ([]gateway.Object, error)
	// Look says when to look whether the file has changed; nil is every second.
	Look <-chan time.Time
	// Log returns the logger of the newest Caddy config; nil logs nothing.
	Log func() *zap.Logger
}

// Store is a [gateway.Store] over one file. It is safe for concurrent use.
type Store struct {
	cfg Config

	// reading is held while the file is compared with what was read before.
	reading sync.Mutex
	// seen is the file as it was when it was last read, nil when it was not there.
	seen os.FileInfo

	mu      sync.Mutex
	rev     uint64
	objects map[string]gateway.Object
}

// Open reads the file, which must be there and in order.
func Open(cfg Config) (*Store, error) {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop
	}
	s := &Store{cfg: cfg}
	if _, err := s.read(); err != nil {
		return nil, err
	}
	return s, nil
}

// Snapshot implements [gateway.Store]: it is what was read last.
func (s *Store) Snapshot(ctx context.Context) (uint64, []gateway.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	objects := make([]gateway.Object, 0, len(s.objects))
	for _, o := range s.objects {
		objects = append(objects, o)
	}
	return s.rev, objects, ctx.Err()
}

// Commit implements [gateway.Store]. It always fails.
func (*Store) Commit(context.Context, []gateway.Change) (uint64, error) { return 0, ErrReadOnly }

// Close implements [gateway.Store].
func (*Store) Close() error { return nil }

// Watch implements [gateway.Store]. What is the same in the file as before is no change, so it keeps its state.
func (s *Store) Watch(ctx context.Context, _ uint64) iter.Seq2[[]gateway.Change, error] {
	return func(yield func([]gateway.Change, error) bool) {
		look := s.cfg.Look
		if look == nil {
			ticker := time.NewTicker(interval)
			defer ticker.Stop()
			look = ticker.C
		}
		for {
			select {
			case <-look:
			case <-ctx.Done():
				return
			}
			changes, err := s.read()
			if err != nil {
				s.cfg.Log().Error("the file of objects cannot be used; what it held before is still served",
					zap.String("path", s.cfg.Path), zap.Error(err))
				continue
			}
			if len(changes) > 0 && !yield(changes, nil) {
				return
			}
		}
	}
}

// read takes over the file if it has changed since it was last read.
func (s *Store) read() ([]gateway.Change, error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	// What is written while it is read has another time or size next time.
	now, err := os.Stat(s.cfg.Path)
	if err != nil {
		if gone := s.seen == nil && s.objects != nil; gone {
			return nil, nil
		}
		s.seen = nil
		return nil, fmt.Errorf("file store: %w", err)
	}
	if s.seen != nil && os.SameFile(s.seen, now) && s.seen.ModTime().Equal(now.ModTime()) && s.seen.Size() == now.Size() {
		return nil, nil
	}
	s.seen = now
	raw, err := os.ReadFile(s.cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("file store: %w", err)
	}
	objects, err := s.cfg.Parse(raw, s.object)
	if err != nil {
		return nil, fmt.Errorf("file store: %s: %w", s.cfg.Path, err)
	}
	return s.replace(objects), nil
}

func (s *Store) object(kind gateway.Kind, id string) (gateway.Object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[gateway.Key(kind, id)]
	return o, ok
}

// replace makes objects all there are and returns what that changes, numbered.
func (s *Store) replace(objects []gateway.Object) []gateway.Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[string]gateway.Object, len(objects))
	var changes []gateway.Change
	for _, o := range objects {
		next[o.Key()] = o
	}
	// What goes leaves room for what comes: two consumers cannot have one key.
	for _, o := range sorted(s.objects) {
		if _, kept := next[o.Key()]; !kept {
			s.rev++
			o.Modified = s.rev
			changes = append(changes, gateway.Change{Object: o, Delete: true})
		}
	}
	for _, o := range objects {
		prior, known := s.objects[o.Key()]
		if known && bytes.Equal(prior.Value, o.Value) {
			next[o.Key()] = prior
			continue
		}
		s.rev++
		o.Created, o.Modified = s.rev, s.rev
		if known {
			o.Created = prior.Created
		}
		next[o.Key()] = o
		changes = append(changes, gateway.Change{Object: o})
	}
	s.objects = next
	return changes
}

func sorted(objects map[string]gateway.Object) []gateway.Object {
	list := make([]gateway.Object, 0, len(objects))
	for _, o := range objects {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b gateway.Object) int { return strings.Compare(a.Key(), b.Key()) })
	return list
}

var _ gateway.Store = (*Store)(nil)
