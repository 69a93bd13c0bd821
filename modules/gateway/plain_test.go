// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/store/memory"
)

// plainCompiler makes tables that do nothing but hold objects. A value with "bad" in it does not compile, one with
// "panic" in it panics.
type plainCompiler struct{ name string }

func (c *plainCompiler) Compile(rev uint64, objects []gateway.Object) (gateway.Table, []error) {
	t := &plainTable{rev: rev, by: c.name, objects: make(map[string]gateway.Object)}
	var faults []error
	for _, o := range objects {
		if err := check(o); err != nil {
			faults = append(faults, err)
			continue
		}
		t.objects[o.Key()] = o
	}
	return t, faults
}

func check(o gateway.Object) error {
	if bytes.Contains(o.Value, []byte("panic")) {
		panic("the compiler met " + o.Key())
	}
	if bytes.Contains(o.Value, []byte("bad")) {
		return &gateway.Refusal{Message: o.Key() + " is bad"}
	}
	return nil
}

type plainTable struct {
	gateway.Table
	rev     uint64
	by      string
	objects map[string]gateway.Object
}

func (t *plainTable) Object(kind gateway.Kind, id string) (gateway.Object, bool) {
	o, ok := t.objects[gateway.Key(kind, id)]
	return o, ok
}

func (t *plainTable) Objects(kind gateway.Kind) iter.Seq[gateway.Object] {
	return func(yield func(gateway.Object) bool) {
		for _, key := range slices.Sorted(maps.Keys(t.objects)) {
			if o := t.objects[key]; o.Kind == kind && !yield(o) {
				return
			}
		}
	}
}

func (t *plainTable) Revision() uint64 { return t.rev }

func (t *plainTable) With(changes []gateway.Change) (gateway.Table, error) {
	next := &plainTable{rev: t.rev, by: t.by, objects: maps.Clone(t.objects)}
	for _, change := range changes {
		o := change.Object
		next.rev = o.Modified
		if change.Delete {
			delete(next.objects, o.Key())
			continue
		}
		if err := check(o); err != nil {
			return nil, err
		}
		next.objects[o.Key()] = o
	}
	return next, nil
}

// scripted is a memory store whose methods a test can replace; mu guards it.
type scripted struct {
	*memory.Store

	mu       sync.Mutex
	commit   func([]gateway.Change) error
	snapshot func() error
	watch    func(ctx context.Context, rev uint64) iter.Seq2[[]gateway.Change, error]
	commits  [][]gateway.Change
	closed   bool
}

func script(objects ...gateway.Object) *scripted { return &scripted{Store: memory.New(objects...)} }

func (s *scripted) failCommit(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commit = func([]gateway.Change) error { return err }
}

func (s *scripted) failSnapshot(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshot = func() error { return err }
}

func (s *scripted) Snapshot(ctx context.Context) (uint64, []gateway.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.snapshot != nil {
		if err := s.snapshot(); err != nil {
			return 0, nil, err
		}
	}
	return s.Store.Snapshot(ctx)
}

func (s *scripted) Commit(ctx context.Context, changes []gateway.Change) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits = append(s.commits, slices.Clone(changes))
	if s.commit != nil {
		if err := s.commit(changes); err != nil {
			return 0, err
		}
	}
	return s.Store.Commit(ctx, changes)
}

func (s *scripted) Watch(ctx context.Context, rev uint64) iter.Seq2[[]gateway.Change, error] {
	if s.watch != nil {
		return s.watch(ctx, rev)
	}
	return s.Store.Watch(ctx, rev)
}

func (s *scripted) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.Store.Close()
}

func generation(name string, declared ...gateway.Object) *gateway.Generation {
	return &gateway.Generation{
		Compiler: &plainCompiler{name}, Settings: &gateway.Settings{Server: name}, Objects: declared,
	}
}

func open(t *testing.T, store gateway.Store) *gateway.Gateway {
	t.Helper()
	g, faults, err := gateway.Open(context.Background(), store, generation("first"))
	if err != nil || len(faults) > 0 {
		t.Fatalf("open: %v, faults %v", err, faults)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

func route(id, value string) gateway.Object {
	return gateway.Object{Kind: gateway.Routes, ID: id, Value: json.RawMessage(value)}
}

func declared(id, value string) gateway.Object {
	o := route(id, value)
	o.Origin = gateway.OriginCaddyfile
	return o
}

func put(id, value string) func(gateway.Tx) ([]gateway.Change, error) {
	return func(gateway.Tx) ([]gateway.Change, error) {
		return []gateway.Change{{Object: route(id, value)}}, nil
	}
}

func remove(id string) func(gateway.Tx) ([]gateway.Change, error) {
	return func(gateway.Tx) ([]gateway.Change, error) {
		return []gateway.Change{{Object: route(id, ""), Delete: true}}, nil
	}
}

func submit(t *testing.T, g *gateway.Gateway, write func(gateway.Tx) ([]gateway.Change, error)) uint64 {
	t.Helper()
	rev, err := g.Submit(context.Background(), write)
	if err != nil {
		t.Fatalf("submit: %v", err)
	}
	return rev
}

// routes is what the table serves, such as "1=a 2=b".
func routes(table gateway.Table) string {
	var all []string
	for o := range table.Objects(gateway.Routes) {
		all = append(all, fmt.Sprintf("%s=%s", o.ID, o.Value))
	}
	return strings.Join(all, " ")
}

func wantRoutes(t *testing.T, g *gateway.Gateway, want string) {
	t.Helper()
	if got := routes(g.Table()); got != want {
		t.Errorf("the table has %q, want %q", got, want)
	}
}

// stored is what a restart would serve.
func stored(t *testing.T, store gateway.Store) string {
	t.Helper()
	rev, objects, err := store.Snapshot(context.Background())
	if err != nil {
		t.Fatalf("snapshot: %v", err)
	}
	table, _ := (&plainCompiler{}).Compile(rev, objects)
	return routes(table)
}
