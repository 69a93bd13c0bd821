// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// Tx is what a write sees: the table that it is applied to, earlier writes of the same batch included.
type Tx struct {
	Table
	// Next is the revision that the write's first change will have.
	Next uint64
}

// StoreError says that the store, and not the request, is why a write failed.
type StoreError struct{ Err error }

func (e *StoreError) Error() string { return e.Err.Error() }
func (e *StoreError) Unwrap() error { return e.Err }

// task is work for the committer. Exactly one of write and do is set.
type task struct {
	ctx   context.Context
	write func(Tx) ([]Change, error)
	do    func() error
	// trial says that the write is not to be kept.
	trial bool

	// taken decides between the committer, which is about to run the task, and a waiter whose ctx has ended.
	taken atomic.Bool

	rev  uint64
	err  error
	done chan struct{}
}

func (t *task) take() bool { return t.taken.CompareAndSwap(false, true) }

// enqueue hands t to the committer and waits until it is done.
func (g *Gateway) enqueue(t *task) (uint64, error) {
	t.done = make(chan struct{})
	if err := t.ctx.Err(); err != nil {
		return 0, err
	}
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
		return t.rev, t.err
	case <-g.done:
	case <-t.ctx.Done():
		if t.take() {
			return 0, t.ctx.Err()
		}
	}
	select {
	case <-t.done:
		return t.rev, t.err
	case <-g.done:
	}
	// The committer did what was queued before it stopped, so what is not done now came too late.
	select {
	case <-t.done:
		return t.rev, t.err
	default:
		return 0, ErrClosed
	}
}

// maxBatch bounds how many writes share one commit, and with it how long the first of them waits for the others.
const maxBatch = 256

func (g *Gateway) commitLoop() {
	defer close(g.done)
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	batch := make([]*task, 0, maxBatch)
	for {
		g.expiring.arm(alarm)
		select {
		case t := <-g.queue:
			batch = append(batch, t)
		case <-alarm.C:
			g.expire()
			continue
		case <-g.closing:
			if batch = g.drain(batch); len(batch) == 0 {
				return
			}
		}
		batch = g.drain(batch)
		g.commit(batch)
		clear(batch)
		batch = batch[:0]
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
	if !t.take() {
		return
	}
	defer close(t.done)
	defer g.guard("task", &t.err)
	t.err = t.do()
}

func (g *Gateway) commitWrites(writes []*task) {
	table, rev := g.Table(), g.rev
	var changes []Change
	// Whoever ran after a change that is not durable yet may rest on it, even a refusal or a write of nothing, so all of
	// them wait for the commit and share its failure.
	waiting := make([]*task, 0, len(writes))
	for _, t := range writes {
		if !t.take() {
			continue
		}
		next, accepted, err := g.prepare(t, table, rev)
		if t.err = err; err == nil {
			table, rev = next, rev+uint64(len(accepted))
			changes = append(changes, accepted...)
			t.rev = rev
		}
		if len(changes) == 0 {
			close(t.done)
			continue
		}
		waiting = append(waiting, t)
	}
	if len(changes) == 0 {
		return
	}
	err := g.persist(changes, table)
	for _, t := range waiting {
		if err != nil {
			t.rev, t.err = 0, err
		}
		close(t.done)
	}
}

// persist stores changes, which are numbered on from g.rev, and then makes table current. Its error is a *[StoreError].
func (g *Gateway) persist(changes []Change, table Table) (err error) {
	defer func() {
		if err != nil {
			err = &StoreError{err}
		}
	}()
	defer g.guard("store", &err)
	// A commit is not abandoned half way for any waiter's sake, so it has no deadline but the store's own.
	if _, err := g.store.Commit(context.Background(), changes); err != nil {
		return err
	}
	g.rev = changes[len(changes)-1].Object.Modified
	g.expiring.note(changes)
	g.publish(table, g.current.Load().settings)
	return nil
}

// prepare runs one write against table, numbers its changes on from rev and compiles them. A panic in it refuses that
// write alone.
func (g *Gateway) prepare(t *task, table Table, rev uint64) (next Table, changes []Change, err error) {
	defer g.guard("write", &err)
	if err := t.ctx.Err(); err != nil {
		return nil, nil, err
	}
	changes, err = t.write(Tx{table, rev + 1})
	if err != nil {
		return nil, nil, err
	}
	if len(changes) == 0 {
		return table, nil, nil
	}
	// earlier maps what this write has changed already to its creation; deleted objects to 0.
	var earlier map[string]uint64
	if len(changes) > 1 {
		earlier = make(map[string]uint64, len(changes))
	}
	for i := range changes {
		o := &changes[i].Object
		prior, exists := table.Object(o.Kind, o.ID)
		if exists && prior.Origin == OriginCaddyfile {
			return nil, nil, ErrReadOnly
		}
		rev++
		created := prior.Created
		if changed, ok := earlier[o.Key()]; ok {
			created = changed
		}
		if created == 0 {
			created = rev
		}
		o.Origin, o.Created, o.Modified = OriginStore, created, rev
		if !o.Expires.IsZero() {
			// As precise as stores keep it, so that the table says what it will say after a restart.
			o.Expires = time.UnixMilli(o.Expires.UnixMilli())
		}
		if earlier != nil {
			earlier[o.Key()] = created
			if changes[i].Delete {
				earlier[o.Key()] = 0
			}
		}
	}
	next, err = table.With(changes)
	if err != nil {
		return nil, nil, err
	}
	if t.trial {
		return table, nil, nil
	}
	return next, changes, nil
}
