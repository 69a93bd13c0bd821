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
	// subserver answers subrequests; nil is nobody.
	subserver atomic.Pointer[Subserver]

	queue   chan *task
	closing chan struct{}
	// done is closed when the committer has stopped.
	done chan struct{}
	// life ends when Close is called; whatever only reads the store goes by it.
	life     context.Context
	stop     context.CancelFunc
	watching sync.WaitGroup

	closeOnce sync.Once
	closeErr  error

	// generations, orphaned, rev and expiring belong to the committer. The last of the generations is current; orphaned
	// says that it is the only one and was detached. rev is the newest revision in the table or hidden under it.
	generations []*Generation
	orphaned    bool
	rev         uint64
	expiring    expiring
	// watchers belong to the committer too.
	watchers []func(Table)
}

// view is what a request takes with one atomic load. seq numbers the views of the process, so that a memo can tell
// whether it is still good without keeping a table alive.
type view struct {
	table    Table
	settings *Settings
	seq      uint64
	// nameless is settings without Server.
	nameless *Settings
}

var viewSeq atomic.Uint64

func (g *Gateway) publish(table Table, settings *Settings) {
	if settings == nil {
		settings = defaultSettings
	}
	nameless := *settings
	nameless.Server = ""
	g.current.Store(&view{table, settings, viewSeq.Add(1), &nameless})
	for _, watch := range g.watchers {
		watch(table)
	}
}

// OnTable calls watch with the table that is current, and from then on with each that becomes so, in order, after requests
// can see it. watch runs on the committer: writes wait for it, and it must neither block nor call the gateway.
func (g *Gateway) OnTable(watch func(Table)) error {
	_, err := g.enqueue(&task{ctx: context.Background(), do: func() error {
		g.watchers = append(g.watchers, watch)
		watch(g.Table())
		return nil
	}})
	return err
}

// Open reads the store, compiles its objects as gen says and starts the committer; gen is attached, see [Gateway.Detach].
// The gateway owns the store from here on, also after an error. ctx bounds the reading. faults lists stored objects that
// cannot be served as they are.
func Open(ctx context.Context, store Store, gen *Generation) (g *Gateway, faults []error, err error) {
	life, stop := context.WithCancel(context.Background())
	g = &Gateway{
		store: store, generations: []*Generation{gen},
		queue: make(chan *task, maxBatch), closing: make(chan struct{}), done: make(chan struct{}),
		life: life, stop: stop,
	}
	faults, err = g.recompile(ctx, gen)
	if err != nil {
		stop()
		return nil, nil, errors.Join(err, store.Close())
	}
	rev := g.rev
	g.expire()
	go g.commitLoop()
	g.watching.Go(func() { g.watch(rev) })
	return g, faults, nil
}

// Table returns the newest table.
func (g *Gateway) Table() Table { return g.current.Load().table }

// Begin starts an exchange on the newest table and settings.
func (g *Gateway) Begin(x *Exchange, wire Wire) {
	v := g.current.Load()
	x.Begin(v.table, v.settings, wire)
	x.seq, x.subserver = v.seq, g.subserver.Load()
}

// BeginRoute starts an exchange whose route is known. Nothing is matched, global rules stay out and the response keeps
// its Server field: this is for handlers that stand by themselves in a Caddy site.
func (g *Gateway) BeginRoute(x *Exchange, wire Wire, route *Route) {
	v := g.current.Load()
	x.Begin(&oneRoute{v.table, route}, v.nameless, wire)
	x.subserver = g.subserver.Load()
}

// oneRoute is a table that has the same answer to every request.
type oneRoute struct {
	Table
	route *Route
}

func (t *oneRoute) Match(*Exchange, Trace) *Route { return t.route }
func (t *oneRoute) ReadsBody(*Exchange) int64     { return 0 }
func (t *oneRoute) Globals() *Chain               { return nil }

// Submit runs write on the committer against the newest table, and returns when what it asks for is durable and live,
// with the revision of its last change. write must be quick, must not wait and must not call the gateway; its error, or
// the refusal of a change that does not compile, is returned as it is and leaves everything as it was. Writes that wait
// together share one commit, and what one of them is told rests on nothing that could still be lost. When ctx ends
// before write has run, its error is returned and nothing happens; afterwards Submit waits for the outcome.
func (g *Gateway) Submit(ctx context.Context, write func(Tx) ([]Change, error)) (rev uint64, err error) {
	return g.enqueue(&task{ctx: ctx, write: write})
}

// Try is Submit without its effect: write runs, what it asks for is compiled, and whatever would refuse it does; then it is
// forgotten.
func (g *Gateway) Try(ctx context.Context, write func(Tx) ([]Change, error)) error {
	_, err := g.enqueue(&task{ctx: ctx, write: write, trial: true})
	return err
}

// Attach makes gen the current generation until detach is called; then the newest one still attached is current again.
// The last one stays current when it is detached too, until the next one comes, so that a gateway always serves. A
// generation that is attached cannot be attached again. After an error everything is as it was.
func (g *Gateway) Attach(gen *Generation) (detach func(), faults []error, err error) {
	_, err = g.enqueue(&task{ctx: context.Background(), do: func() (err error) {
		attached := g.generations
		if g.orphaned {
			attached = nil
		}
		if slices.Contains(attached, gen) {
			return errors.New("the generation is already attached")
		}
		if faults, err = g.recompile(g.life, gen); err != nil {
			return err
		}
		g.generations, g.orphaned = append(slices.Clip(attached), gen), false
		return nil
	}})
	if err != nil {
		return nil, nil, err
	}
	return sync.OnceFunc(func() { g.Detach(gen) }), faults, nil
}

// Detach is what detach of Attach does, for the generation that [Open] was given.
func (g *Gateway) Detach(gen *Generation) {
	_, err := g.enqueue(&task{ctx: context.Background(), do: func() error {
		i := slices.Index(g.generations, gen)
		if i < 0 {
			return nil
		}
		if len(g.generations) == 1 {
			g.orphaned = true
			return nil
		}
		wasCurrent := i == len(g.generations)-1
		g.generations = slices.Delete(g.generations, i, i+1)
		if !wasCurrent {
			return nil
		}
		faults, err := g.recompile(g.life, g.generations[len(g.generations)-1])
		g.logFaults(faults)
		return err
	}})
	if err != nil && !errors.Is(err, ErrClosed) {
		g.log().Error("going back to the configuration before failed; the detached one is still served", zap.Error(err))
	}
}

// recompile makes the table anew as gen says. It runs on the committer. It reads the store rather than the table, which
// lacks the objects that a generation's own hide.
func (g *Gateway) recompile(ctx context.Context, gen *Generation) ([]error, error) {
	rev, stored, err := g.store.Snapshot(ctx)
	if err != nil {
		if g.life.Err() != nil {
			return nil, ErrClosed
		}
		return nil, fmt.Errorf("read the store: %w", err)
	}
	table, faults, err := g.compile(gen, rev, overlay(g.unexpired(stored), gen.Objects))
	if err != nil {
		return nil, err
	}
	g.rev = rev
	g.expiring.reset(stored)
	g.publish(table, gen.Settings)
	return faults, nil
}

// compile guards against a compiler that panics: one object must not take down the committer, and all writes with it.
func (g *Gateway) compile(gen *Generation, rev uint64, objects []Object) (table Table, faults []error, err error) {
	defer g.guard("compile", &err)
	if again, ok := gen.Compiler.(Recompiler); ok && g.current.Load() != nil {
		table, faults = again.Recompile(g.Table(), rev, objects)
	} else {
		table, faults = gen.Compiler.Compile(rev, objects)
	}
	return table, faults, nil
}

// Close finishes the writes that are queued, stops the committer and closes the store. Exchanges go on with the table
// they have.
func (g *Gateway) Close() error {
	g.closeOnce.Do(func() {
		g.stop()
		close(g.closing)
		<-g.done
		g.watching.Wait()
		g.closeErr = g.store.Close()
	})
	return g.closeErr
}

// guard, deferred, turns a panic into an error.
func (g *Gateway) guard(where string, err *error) {
	if p := recover(); p != nil {
		g.log().Error("committer: panic", zap.String("in", where), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		*err = fmt.Errorf("internal error: %s: %v", where, p)
	}
}

func (g *Gateway) logFaults(faults []error) {
	for _, fault := range faults {
		g.log().Error("stored object cannot be served", zap.Error(fault))
	}
}

func (g *Gateway) log() *zap.Logger {
	if v := g.current.Load(); v != nil && v.settings != nil && v.settings.Log != nil {
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
