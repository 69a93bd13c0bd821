// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

const (
	// maxProbes bounds the probes of a pool that are under way, and with them its sockets.
	maxProbes = 1024
	// tick is how precisely probes begin: those due within one begin together, and the process wakes once for them.
	tick = 50 * time.Millisecond
	// maxIdleWorkers is how many goroutines wait for the next probe rather than end after one.
	maxIdleWorkers = 64
)

// Pool probes the nodes of the upstreams that are in use. It is safe for concurrent use. One goroutine waits for whatever
// is due next, whatever the number of nodes; one makes the connections of tcp probes, each other probe under way
// has one more, and a few wait for the next.
type Pool struct {
	newest func() *zap.Logger
	life   context.Context
	stop   context.CancelFunc
	// woken has room for one: the queue's head has changed.
	woken chan struct{}
	// jobs has no room: what is sent has a worker that waits.
	jobs  chan func()
	idle  atomic.Int64
	ended sync.WaitGroup

	mu sync.Mutex
	// knocks makes tcp probes, once there has been one; where it is nil then they are dialled as others are.
	knocks  *knocker
	knocked bool
	records map[string]*record
	queue   queue
	probing int
	closed  bool
	// table is the one that was last followed.
	table gateway.Table
}

// NewPool returns a pool that has nothing to do. log returns the logger to use, anew for each message; nil logs nothing.
func NewPool(log func() *zap.Logger) *Pool {
	if log == nil {
		log = zap.NewNop
	}
	p := &Pool{newest: log, woken: make(chan struct{}, 1), jobs: make(chan func()), records: make(map[string]*record)}
	p.life, p.stop = context.WithCancel(context.Background())
	p.ended.Go(p.schedule)
	return p
}

func (p *Pool) log() *zap.Logger { return p.newest().Named("health") }

// Follow makes the pool check what the table's upstreams ask for, and nothing else: it is for gateway.Gateway.OnTable. A
// table that is no gateway.CheckedTable asks for nothing.
func (p *Pool) Follow(table gateway.Table) {
	checked, ok := table.(gateway.CheckedTable)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || ok && p.table != nil && checked.ChecksAsIn(p.table) {
		p.table = table
		return
	}
	p.table = table
	seen := make(map[string]bool)
	if ok {
		for u := range checked.Checked() {
			seen[u.Key] = true
			p.set(u)
		}
	}
	for key := range p.records {
		if !seen[key] {
			p.drop(key)
		}
	}
}

// Set makes the pool check the nodes of an upstream, in the place of those it had before. Nodes of known addresses go on
// with what is known of them. An upstream that asks for no checks is dropped. Set is for upstreams outside of a table, and
// for whatever changes the nodes of one in it.
func (p *Pool) Set(u *gateway.Upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.set(u)
	}
}

// Drop ends the checks of an object. Its nodes are healthy from then on.
func (p *Pool) Drop(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(key)
}

func (p *Pool) set(u *gateway.Upstream) {
	version, ok := u.Health.(*Checker)
	old := p.records[u.Key]
	if old != nil && (!ok || old != version.record) {
		p.drop(u.Key)
	}
	if !ok || old == version.record && old.version == version && old.has(u.Nodes) {
		return
	}
	r := version.record
	r.key, r.version, r.balancer = u.Key, version, u.Balancer
	p.records[u.Key] = r
	p.setTargets(r, u.Nodes)
	r.pool.Store(p)
	// Health may have turned between the making of the balancer and now.
	if b, ok := u.Balancer.(gateway.HealthBalancer); ok {
		b.Refresh()
	}
	p.rouse()
}

func (r *record) has(nodes []*gateway.Node) bool {
	return slices.EqualFunc(r.targets, nodes, func(t *target, node *gateway.Node) bool { return t.node == node })
}

// setTargets makes the targets of a record those of the nodes, one for each address.
func (p *Pool) setTargets(r *record, nodes []*gateway.Node) {
	before := make(map[string]*target, len(r.targets))
	for _, t := range r.targets {
		before[t.node.Addr] = t
	}
	r.targets = make([]*target, 0, len(nodes))
	taken := make(map[string]bool, len(nodes))
	for _, node := range nodes {
		if taken[node.Addr] {
			continue
		}
		taken[node.Addr] = true
		t := before[node.Addr]
		if t == nil || t.node.State != node.State {
			t = &target{record: r, place: -1}
		} else {
			delete(before, node.Addr)
		}
		t.node = node
		// The new version may ask elsewhere.
		t.kept.close()
		t.kept = nil
		r.targets = append(r.targets, t)
		p.plan(t)
	}
	for _, t := range before {
		p.remove(t)
	}
}

// plan puts a target into the queue, or moves it when the interval has become shorter. The first probe comes within one
// interval: objects that are stored together are not probed together.
func (p *Pool) plan(t *target) {
	if t.record.version.config.Active.Type == "" || t.probing || slices.Contains(t.record.waiting, t) {
		return
	}
	now, interval := time.Now(), t.interval()
	switch {
	case t.place < 0:
		t.next = now.Add(rand.N(interval))
		p.queue.push(t)
	case t.next.After(now.Add(interval)):
		t.next = now.Add(interval)
		p.queue.fix(t)
	}
}

func (p *Pool) remove(t *target) {
	t.gone = true
	t.flight.end()
	t.kept.close()
	t.kept = nil
	p.queue.remove(t)
	t.record.waiting = slices.DeleteFunc(t.record.waiting, func(other *target) bool { return other == t })
}

func (p *Pool) drop(key string) {
	r := p.records[key]
	if r == nil {
		return
	}
	delete(p.records, key)
	r.pool.Store(nil)
	for _, t := range r.targets {
		p.remove(t)
		t.node.State.Health.Store(0)
	}
	r.targets, r.waiting = nil, nil
}

// Close ends all checks. Probes under way are given up.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	for key := range p.records {
		p.drop(key)
	}
	knocks := p.knocks
	p.mu.Unlock()
	p.stop()
	if knocks != nil {
		knocks.close()
	}
	p.ended.Wait()
}

// rouse has the scheduler look at the queue.
func (p *Pool) rouse() {
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

// schedule begins probes when they are due.
func (p *Pool) schedule() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		p.mu.Lock()
		wait := p.begin(time.Now())
		p.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-p.woken:
		case <-p.life.Done():
			return
		}
	}
}

// begin begins what is due, and returns how long nothing will be.
func (p *Pool) begin(now time.Time) time.Duration {
	for len(p.queue) > 0 && p.probing < maxProbes {
		t := p.queue[0]
		if wait := t.next.Sub(now); wait > 0 {
			// Up to the next tick, so that others become due with it.
			return wait.Truncate(tick) + tick
		}
		p.queue.remove(t)
		if r := t.record; r.probing >= r.version.config.Active.Concurrency {
			r.waiting = append(r.waiting, t)
			continue
		}
		p.launch(t, now)
	}
	return time.Hour
}

// launch probes a target. What waits does so on another goroutine.
func (p *Pool) launch(t *target, now time.Time) {
	r := t.record
	p.probing++
	r.probing++
	t.probing, t.probed = true, now
	version, node, conn := r.version, t.node, t.kept
	t.kept = nil
	if at, ok := t.knockAt(); ok && p.canKnock() {
		doubt := !settled(node.State.Health.Load(), success)
		p.knocks.add(&knock{to: at, deadline: now.Add(version.config.Active.Timeout), doubt: doubt, done: func(err error) {
			e, reason := version.outcome(0, err)
			p.record(t, version, node, e, reason)
			p.land(t, version, nil)
		}})
		return
	}
	job := func() {
		e, reason, conn := version.probe(p.life, &t.flight, node, conn)
		if p.life.Err() == nil {
			p.record(t, version, node, e, reason)
		}
		p.land(t, version, conn)
	}
	select {
	case p.jobs <- job:
	default:
		p.ended.Go(func() { p.work(job) })
	}
}

// canKnock reports whether there is a knocker, and starts it with the first probe that wants one. It is called with mu held.
func (p *Pool) canKnock() bool {
	if !p.knocked {
		p.knocked = true
		if p.knocks = newKnocker(); p.knocks != nil {
			p.ended.Go(p.knocks.run)
		}
	}
	return p.knocks != nil
}

// work does a job and then waits for others, unless enough workers do: a goroutine that has probed has the stack for it.
func (p *Pool) work(job func()) {
	for {
		job()
		if p.idle.Add(1) > maxIdleWorkers {
			p.idle.Add(-1)
			return
		}
		select {
		case job = <-p.jobs:
			p.idle.Add(-1)
		case <-p.life.Done():
			return
		}
	}
}

// record counts what a probe found, unless the target or what is asked of it has changed meanwhile.
func (p *Pool) record(t *target, version *Checker, node *gateway.Node, e event, reason string) {
	p.mu.Lock()
	current := !t.gone && t.record.version == version
	p.mu.Unlock()
	if current {
		t.record.count(p, node, e, func() string { return "probe: " + reason })
	}
}

// land makes room for the next probe and says when the target is probed again.
func (p *Pool) land(t *target, version *Checker, conn *kept) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := t.record
	if !p.closed && !t.gone && r.version == version && statusOf(t.node.State.Health.Load()) == Healthy {
		t.kept = conn
	} else {
		conn.close()
	}
	if p.probing--; p.probing == maxProbes-1 {
		p.rouse()
	}
	r.probing--
	t.probing = false
	if p.closed {
		return
	}
	if !t.gone && r.version.config.Active.Type != "" {
		// By when it was due, so that lateness does not add up.
		t.next = t.next.Add(t.interval())
		if now := time.Now(); t.next.Before(now) {
			t.next = now
		}
		p.queue.push(t)
		if t.place == 0 {
			p.rouse()
		}
	}
	if len(r.waiting) > 0 && r.probing < r.version.config.Active.Concurrency {
		next := r.waiting[0]
		r.waiting = r.waiting[1:]
		p.launch(next, time.Now())
	}
}
