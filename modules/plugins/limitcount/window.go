// SPDX-License-Identifier: Apache-2.0

package limitcount

import "github.com/andogate/ando/modules/plugins/limit"

// fixed is a window that begins with its first request. It ends when its entry expires. What was refused is counted too,
// as in APISIX.
type fixed struct{ used int64 }

// sliding is a window that begins at a multiple of its length since 1970, and the one before it. What was refused is not
// counted.
type sliding struct{ id, used, before int64 }

// The counters of the process. They belong to no config, so they outlive all of them.
var (
	fixedWindows   limit.Table[fixed]
	slidingWindows limit.Table[sliding]
)

// usedMost bounds what a window counts.
const usedMost = 1 << 62

// fix counts a request in a fixed window: it is admitted when the window has room for all that it costs.
func fix(key limit.Key, q quota) state {
	e := fixedWindows.Lock(key, q.now)
	if e.Until == 0 {
		e.Until = q.now + q.window
	}
	e.State.used = min(e.State.used+q.cost, usedMost)
	used, reset := e.State.used, e.Until-q.now
	fixedWindows.Unlock(key)
	return fixedState(q, used, reset)
}

// fixedState is what a fixed window says in which that much was used, this request included.
func fixedState(q quota, used, reset int64) state {
	return state{admitted: used <= q.limit, remaining: max(0, q.limit-used), reset: min(reset, q.window)}
}

// slide counts a request in a sliding window.
func slide(key limit.Key, q quota) state {
	e := slidingWindows.Lock(key, q.now)
	s := e.State.admit(q)
	e.Until = (e.State.id + 2) * q.window
	slidingWindows.Unlock(key)
	return s
}

// admit counts a request unless what is in this window, with the share of the one before that a window ending now would
// still hold, has reached the limit.
func (w *sliding) admit(q quota) state {
	left := w.advance(q)
	if w.used >= q.limit {
		return state{reset: left}
	}
	before := float64(min(w.before, q.limit))
	overlap := before * float64(left) / float64(q.window)
	if overlap+float64(w.used) >= float64(q.limit) {
		return state{reset: left - int64(float64(q.limit-w.used)*float64(q.window)/before)}
	}
	w.used += q.cost
	return state{admitted: true, remaining: max(0, floor(float64(q.limit-w.used)-overlap)), reset: left}
}

// advance goes to the window that q is in, and returns how long it lasts still. A request that was overtaken by one of the
// next window counts in that.
func (w *sliding) advance(q quota) (left int64) {
	id := q.now / q.window
	switch {
	case id <= w.id:
		return min(q.window, (w.id+1)*q.window-q.now)
	case id == w.id+1:
		w.before = w.used
	default:
		w.before = 0
	}
	w.id, w.used = id, 0
	return q.window - q.now%q.window
}

func floor(f float64) int64 {
	n := int64(f)
	if float64(n) > f {
		n--
	}
	return n
}
