// SPDX-License-Identifier: Apache-2.0

package limitcount

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/limit"
)

// snapshot is what Redis last said about a window, and what was admitted here since. Its entry expires when Redis said that
// the window ends.
type snapshot struct {
	remaining, delta int64
	// queued says that the window is to be synchronized.
	queued bool
}

// snapshots belong to no config, so they outlive all of them.
var snapshots limit.Table[snapshot]

// delayed keeps the windows of one config in step with Redis: `sync_interval`. A request is decided by what is known here,
// and asks Redis only when nothing is. What it counts is told to Redis an interval later, all windows in one round trip.
// Gateways that share a quota so admit at most what each of them admits in an interval too much.
type delayed struct {
	limiter  *Limiter
	interval time.Duration

	mu    sync.Mutex
	queue []queued
	armed bool
}

type queued struct {
	key  limit.Key
	text string
	// q is the last request's.
	q quota
}

const (
	// batch is how many windows go to Redis at once.
	batch = 512
	// flushTimeout bounds one round trip of the synchronization.
	flushTimeout = 10 * time.Second
)

func newDelayed(l *Limiter, interval time.Duration) *delayed {
	return &delayed{limiter: l, interval: interval}
}

// count decides by the snapshot. waits says that there is none, and Redis has to be asked.
func (d *delayed) count(x *gateway.Exchange, r *rule, text []byte, q quota, mayWait bool) (s state, waits bool, err error) {
	key := r.scope.KeyOf(text)
	s, known := d.take(key, r, text, q)
	if known {
		return s, false, nil
	}
	if !mayWait {
		return s, true, nil
	}
	ask := q
	ask.cost = 0
	remaining, reset, err := d.fetch(x.Context(), r.scope.Text(string(text)), ask)
	if err != nil {
		return s, false, err
	}
	q.now = limit.Clock()
	e := snapshots.Lock(key, q.now)
	// Somebody else may have asked meanwhile, and counted.
	if e.Until == 0 {
		e.Until, e.State = q.now+max(reset, int64(time.Millisecond)), snapshot{remaining: remaining}
	}
	snapshots.Unlock(key)
	s, _ = d.take(key, r, text, q)
	return s, false, nil
}

// take counts a request against the snapshot of its window. known is false when there is none.
func (d *delayed) take(key limit.Key, r *rule, text []byte, q quota) (s state, known bool) {
	e := snapshots.LockKnown(key, q.now)
	if e == nil {
		return s, false
	}
	remaining := e.State.remaining - e.State.delta - q.cost
	s = state{admitted: remaining >= 0, remaining: max(0, remaining), reset: min(e.Until-q.now, q.window)}
	if s.admitted {
		e.State.delta += q.cost
	}
	first := !e.State.queued
	e.State.queued = true
	snapshots.Unlock(key)
	if first {
		d.enqueue(queued{key, r.scope.Text(string(text)), q})
	}
	return s, true
}

func (d *delayed) enqueue(windows ...queued) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = append(d.queue, windows...)
	if !d.armed {
		d.armed = true
		time.AfterFunc(d.interval, d.flush)
	}
}

// flush synchronizes what is queued.
func (d *delayed) flush() {
	d.mu.Lock()
	queue := d.queue
	d.queue, d.armed = nil, false
	d.mu.Unlock()
	for windows := range slices.Chunk(queue, batch) {
		if left, err := d.sync(windows); err != nil {
			d.limiter.log().Warn("synchronizing counters with redis failed",
				zap.String("plugin", d.limiter.plugin), zap.Int("counters", len(left)), zap.Error(err))
			d.enqueue(left...)
		}
	}
}

// sync tells Redis what the windows have counted, and takes over what it says. left are those for which it failed.
func (d *delayed) sync(windows []queued) (left []queued, err error) {
	calls, sent := make([]limit.Call, 0, len(windows)), make([]queued, 0, len(windows))
	for _, w := range windows {
		e := snapshots.LockKnown(w.key, limit.Clock())
		if e == nil {
			continue // the window is over
		}
		w.q.cost = e.State.delta
		e.State.queued = false
		snapshots.Unlock(w.key)
		key, args := d.call(w.text, w.q)
		calls, sent = append(calls, limit.Call{Key: key, Args: args}), append(sent, w)
	}
	if len(calls) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	answers, err := d.limiter.redis.IntegersOf(ctx, d.script(), calls)
	for i, w := range sent {
		remaining, reset, ok := d.read(w.q, answers[i])
		now := limit.Clock()
		e := snapshots.LockKnown(w.key, now)
		if e == nil {
			continue
		}
		switch {
		case ok:
			e.State.remaining, e.State.delta = remaining, e.State.delta-w.q.cost
			e.Until = now + max(reset, int64(time.Millisecond))
		case !e.State.queued:
			e.State.queued = true
			left = append(left, w)
		}
		snapshots.Unlock(w.key)
	}
	return left, err
}

func (d *delayed) fetch(ctx context.Context, text string, q quota) (remaining, reset int64, err error) {
	key, args := d.call(text, q)
	answer, err := d.limiter.redis.Integers(ctx, d.script(), key, args...)
	if err != nil {
		return 0, 0, err
	}
	remaining, reset, ok := d.read(q, answer)
	if !ok {
		return 0, 0, errAnswer
	}
	return remaining, reset, nil
}

func (d *delayed) script() *limit.Script {
	if d.limiter.sliding {
		return slideScript
	}
	return fixScript
}

func (d *delayed) call(text string, q quota) (key string, args []any) {
	if d.limiter.sliding {
		return slideKey(text, q), slideArgs(q, true)
	}
	return text, fixArgs(q)
}

// read reads an answer. What remains may be less than nothing.
func (d *delayed) read(q quota, answer []int64) (remaining, reset int64, ok bool) {
	switch {
	case d.limiter.sliding && len(answer) == 3:
		return answer[1], answer[2] * int64(time.Millisecond), true
	case !d.limiter.sliding && len(answer) == 2:
		return q.limit - answer[0], answer[1] * int64(time.Millisecond), true
	}
	return 0, 0, false
}
