// SPDX-License-Identifier: Apache-2.0

// Package gateway is the core of Ando: stored objects, the frozen table that serves them, and the exchange that carries
// one request through its plugins. It knows no wire, no store and no Caddy.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
)

var (
	// ErrReadOnly refuses a write to an object that Caddy's configuration declares.
	ErrReadOnly = errors.New("the object is declared in Caddy's configuration and can only be changed there")
	// ErrClosed refuses a write to a gateway that is going down.
	ErrClosed = errors.New("the gateway is shutting down")
)

// Generation is what one Caddy config brings to a gateway. It is immutable.
type Generation struct {
	Compiler Compiler
	Settings *Settings
	// Objects are declared in the config, with OriginCaddyfile. They hide stored objects of the same key.
	Objects []Object
}

// Gateway outlives Caddy configs. It owns the current table and the one goroutine, the committer, that may replace it.
type Gateway struct {
	store   Store
	current atomic.Pointer[view]

	queue   chan *task
	closing chan struct{}
	done    chan struct{}
	stop    context.CancelFunc

	closeOnce sync.Once
	closeErr  error

	// generations and rev belong to the committer.
	generations []*Generation
	rev         uint64
}

// view is what a request takes with one atomic load. seq numbers the views of the process, so that a memo can tell
// whether it is still good without keeping a table alive.
type view struct {
	table    Table
	settings *Settings
	seq      uint64
}

var viewSeq atomic.Uint64

func (g *Gateway) publish(table Table, settings *Settings) {
	g.current.Store(&view{table, settings, viewSeq.Add(1)})
}

// task is work for the committer. Exactly one of write, changes and do is set.
type task struct {
	ctx   context.Context
	write func(Tx) ([]Change, error)
	// changes were committed by somebody else.
	changes []Change
	do      func() error

	rev  uint64
	err  error
	done chan struct{}
}

// Tx is what a write sees: the table that it is applied to, earlier writes of the same batch included.
type Tx struct {
	Table
	// Next is the revision that the write's first change will have.
	Next uint64
}

// Open reads the store, compiles its objects as gen says and starts the committer. The gateway owns the store from here
// on, also after an error. faults lists stored objects that cannot be served as they are.
func Open(ctx context.Context, store Store, gen *Generation) (g *Gateway, faults []error, err error) {
	rev, objects, err := store.Snapshot(ctx)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read the store: %w", err), store.Close())
	}
	watching, stop := context.WithCancel(context.Background())
	g = &Gateway{
		store: store, rev: rev, generations: []*Generation{gen},
		queue: make(chan *task, maxBatch), closing: make(chan struct{}), done: make(chan struct{}), stop: stop,
	}
	table, faults := gen.Compiler.Compile(rev, overlay(objects, gen.Objects))
	g.publish(table, gen.Settings)
	go g.commitLoop()
	go g.watch(watching, rev)
	return g, faults, nil
}

// Table returns the newest table.
func (g *Gateway) Table() Table { return g.current.Load().table }

// Begin starts an exchange on the newest table and settings.
func (g *Gateway) Begin(x *Exchange, wire Wire) {
	v := g.current.Load()
	x.Begin(v.table, v.settings, wire)
	x.seq = v.seq
}

// Submit runs write on the committer against the newest table, and returns when what it asks for is durable and live,
// with the revision of its last change. write must be quick and must not wait; its error, or the refusal of a change
// that does not compile, is returned as it is and leaves everything as it was. Writes that wait together share one
// commit. When ctx ends before write has run, its error is returned and nothing happens.
func (g *Gateway) Submit(ctx context.Context, write func(Tx) ([]Change, error)) (rev uint64, err error) {
	return g.enqueue(&task{ctx: ctx, write: write, done: make(chan struct{})})
}

// Attach makes gen the current generation until detach is called; then the newest one still attached is current again.
// The last one stays current when it is detached too, so that a gateway always serves.
func (g *Gateway) Attach(gen *Generation) (detach func(), faults []error, err error) {
	_, err = g.enqueue(&task{ctx: context.Background(), done: make(chan struct{}), do: func() (err error) {
		g.generations = append(g.generations, gen)
		if faults, err = g.recompile(); err != nil {
			g.generations = g.generations[:len(g.generations)-1]
		}
		return err
	}})
	if err != nil {
		return nil, nil, err
	}
	return func() { g.detach(gen) }, faults, nil
}

func (g *Gateway) detach(gen *Generation) {
	_, err := g.enqueue(&task{ctx: context.Background(), done: make(chan struct{}), do: func() error {
		i := slices.Index(g.generations, gen)
		if i < 0 || len(g.generations) == 1 {
			return nil
		}
		wasNewest := i == len(g.generations)-1
		g.generations = slices.Delete(g.generations, i, i+1)
		if !wasNewest {
			return nil
		}
		_, err := g.recompile()
		return err
	}})
	if err != nil && !errors.Is(err, ErrClosed) {
		g.log().Error("going back to the configuration before failed; the detached one is still served", zap.Error(err))
	}
}

// Close finishes the writes that are queued, stops the committer and closes the store. Exchanges go on with the table
// they have.
func (g *Gateway) Close() error {
	g.closeOnce.Do(func() {
		close(g.closing)
		g.stop()
		<-g.done
		g.closeErr = g.store.Close()
	})
	return g.closeErr
}

func (g *Gateway) enqueue(t *task) (uint64, error) {
	select {
	case <-g.closing:
		return 0, ErrClosed
	default:
	}
	select {
	case g.queue <- t:
	case <-g.closing:
		return 0, ErrClosed
	case <-t.ctx.Done():
		return 0, t.ctx.Err()
	}
	select {
	case <-t.done:
	case <-g.done:
		// The committer took what was queued when it stopped; this one may have come too late.
		select {
		case <-t.done:
		default:
			return 0, ErrClosed
		}
	}
	return t.rev, t.err
}

// maxBatch bounds how many writes share one commit, and with it how long the first of them waits for the others.
const maxBatch = 256

func (g *Gateway) commitLoop() {
	defer close(g.done)
	batch := make([]*task, 0, maxBatch)
	for {
		batch = batch[:0]
		select {
		case t := <-g.queue:
			batch = append(batch, t)
		case <-g.closing:
			if batch = g.drain(batch); len(batch) == 0 {
				return
			}
		}
		g.commit(g.drain(batch))
		clear(batch)
	}
}

// drain adds what is queued to the batch without waiting.
func (g *Gateway) drain(batch []*task) []*task {
	for len(batch) < maxBatch {
		select {
		case t := <-g.queue:
			batch = append(batch, t)
		default:
			return batch
		}
	}
	return batch
}

// commit applies a batch in order: every write is compiled onto the table of the one before; then all are stored with
// one Commit; then the last table goes live and the waiters wake. Anything that is not a write stands between batches.
func (g *Gateway) commit(batch []*task) {
	for len(batch) > 0 {
		n := slices.IndexFunc(batch, func(t *task) bool { return t.write == nil })
		if n < 0 {
			n = len(batch)
		}
		g.commitWrites(batch[:n])
		if n < len(batch) {
			g.run(batch[n])
			n++
		}
		batch = batch[n:]
	}
}

func (g *Gateway) run(t *task) {
	if t.do != nil {
		t.err = t.do()
	} else {
		t.err = g.apply(t.changes)
	}
	close(t.done)
}

func (g *Gateway) commitWrites(writes []*task) {
	v := g.current.Load()
	table, rev := v.table, g.rev
	var changes []Change
	live := make([]*task, 0, len(writes))
	for _, t := range writes {
		var next Table
		var accepted []Change
		next, accepted, t.err = g.prepare(t, table, rev)
		if t.err != nil || len(accepted) == 0 {
			t.rev = rev
			if t.err != nil {
				t.rev = 0
			}
			close(t.done)
			continue
		}
		table, rev = next, accepted[len(accepted)-1].Object.Modified
		changes = append(changes, accepted...)
		t.rev = rev
		live = append(live, t)
	}
	if len(live) == 0 {
		return
	}
	// A commit is not abandoned half way for any waiter's sake, so it has no deadline but the store's own.
	_, err := g.store.Commit(context.Background(), changes)
	if err == nil {
		g.rev = rev
		g.publish(table, v.settings)
	}
	for _, t := range live {
		if err != nil {
			t.rev, t.err = 0, &StoreError{err}
		}
		close(t.done)
	}
}

// StoreError says that the store, and not the request, is why a write failed.
type StoreError struct{ Err error }

func (e *StoreError) Error() string { return e.Err.Error() }
func (e *StoreError) Unwrap() error { return e.Err }

// prepare runs one write against table and compiles its changes. A panic in it refuses that write alone.
func (g *Gateway) prepare(t *task, table Table, rev uint64) (next Table, changes []Change, err error) {
	defer func() {
		if p := recover(); p != nil {
			g.log().Error("write panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("internal error: %v", p)
		}
	}()
	if err := t.ctx.Err(); err != nil {
		return nil, nil, err
	}
	changes, err = t.write(Tx{table, rev + 1})
	if err != nil || len(changes) == 0 {
		return nil, nil, err
	}
	for i := range changes {
		o := &changes[i].Object
		prior, exists := table.Object(o.Kind, o.ID)
		if exists && prior.Origin == OriginCaddyfile {
			return nil, nil, ErrReadOnly
		}
		rev++
		o.Origin, o.Modified, o.Created = OriginStore, rev, rev
		if exists {
			o.Created = prior.Created
		}
	}
	next, err = table.With(changes)
	return next, changes, err
}

// apply takes over changes that somebody else committed: they cannot be refused any more, so an object that does not
// compile is left as it was served before and logged.
func (g *Gateway) apply(changes []Change) error {
	v := g.current.Load()
	table := v.table
	var faults []error
	for i := range changes {
		g.rev = max(g.rev, changes[i].Object.Modified)
		if prior, ok := table.Object(changes[i].Object.Kind, changes[i].Object.ID); ok && prior.Origin == OriginCaddyfile {
			continue
		}
		next, err := table.With(changes[i : i+1])
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", changes[i].Object.Key(), err))
			continue
		}
		table = next
	}
	g.publish(table, v.settings)
	for _, fault := range faults {
		g.log().Error("stored object cannot be served; its last good version stays", zap.Error(fault))
	}
	return errors.Join(faults...)
}

func (g *Gateway) watch(ctx context.Context, rev uint64) {
	for changes, err := range g.store.Watch(ctx, rev) {
		if err != nil {
			g.log().Error("watching the store failed", zap.Error(err))
			return
		}
		// apply has logged what it could not serve.
		_, _ = g.enqueue(&task{ctx: ctx, changes: changes, done: make(chan struct{})})
	}
}

// recompile makes the table anew as the newest generation says. It runs on the committer. It reads the store rather
// than the table, which lacks the objects that a generation's own hide.
func (g *Gateway) recompile() ([]error, error) {
	gen := g.generations[len(g.generations)-1]
	rev, stored, err := g.store.Snapshot(context.Background())
	if err != nil {
		return nil, fmt.Errorf("read the store: %w", err)
	}
	g.rev = max(g.rev, rev)
	table, faults := gen.Compiler.Compile(g.rev, overlay(stored, gen.Objects))
	g.publish(table, gen.Settings)
	return faults, nil
}

func (g *Gateway) log() *zap.Logger {
	if v := g.current.Load(); v != nil && v.settings.Log != nil {
		return v.settings.Log
	}
	return zap.NewNop()
}

// overlay returns the stored objects with the declared ones over them.
func overlay(stored, declared []Object) []Object {
	if len(declared) == 0 {
		return stored
	}
	hidden := make(map[string]bool, len(declared))
	for _, o := range declared {
		hidden[o.Key()] = true
	}
	all := slices.DeleteFunc(slices.Clone(stored), func(o Object) bool { return hidden[o.Key()] })
	return append(all, declared...)
}
