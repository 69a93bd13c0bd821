// SPDX-License-Identifier: Apache-2.0

package limitconn

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/limit"
)

// held is what one request holds until it is over. It is the State of its exchange.
type held struct {
	limiter *limitConn
	local   []limit.Key
	remote  []member
	delay   time.Duration
	// applied says that some rule applied.
	applied bool
}

// member is a request among those that Redis counts.
type member struct{ key, id string }

var helds = sync.Pool{New: func() any { return new(held) }}

func newHeld(l *limitConn) *held {
	h := helds.Get().(*held)
	h.limiter = l
	return h
}

// underWay counts the requests of one key. It belongs to no config, so it outlives all of them. Entries are Held as long as
// a request is under way, and gone with the last one.
var underWay limit.Table[int64]

var errFull = errors.New("as many keys as are counted have requests under way")

// acquire counts a request, unless most are under way already. nth is which one it is, from 1, or 0.
func (h *held) acquire(x *gateway.Exchange, r *rule, key []byte, most int64) (nth int64, err error) {
	if h.limiter.redis != nil {
		return h.acquireRemote(x.Context(), r.scope.Text(string(key)), most)
	}
	k := r.scope.KeyOf(key)
	e := underWay.Lock(k, limit.Now(x))
	if e == nil {
		return 0, errFull
	}
	defer underWay.Unlock(k)
	if e.State >= most {
		return 0, nil
	}
	e.Until = limit.Held
	e.State++
	h.local = append(h.local, k)
	return e.State, nil
}

// Log lets go of everything. It is called once, when the request is over, and may be called for a plugin that holds h for
// another.
func (h *held) Log(x *gateway.Exchange) {
	for _, k := range h.local {
		if e := underWay.LockKnown(k, 0); e != nil {
			if e.State--; e.State == 0 {
				e.Until = 0
			}
			underWay.Unlock(k)
		}
	}
	l := h.limiter
	if len(h.remote) > 0 {
		go l.release(h.remote)
	}
	if (len(h.local) > 0 || len(h.remote) > 0) && !l.fixed {
		l.learn(h.took(x))
	}
	*x.State() = nil
	clear(h.local)
	*h = held{local: h.local[:0]}
	helds.Put(h)
}

// took is how long the node took, or without one the gateway, not counting the delay.
func (h *held) took(x *gateway.Exchange) time.Duration {
	if n := len(x.Forward.Attempts); n > 0 {
		return time.Since(x.Forward.Attempts[n-1].Began)
	}
	return time.Since(x.Start) - h.delay
}

// enter counts a request in Redis. A gateway that ends without letting go is forgotten after the TTL.
//
//	KEYS  a sorted set of requests, by when they are forgotten in milliseconds
//	ARGV  how many there may be, the request, the TTL in milliseconds
//	gives which one it is, from 1, or 0
var enter = limit.NewScript(`
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local nth = redis.call('ZCARD', KEYS[1]) + 1
if nth > tonumber(ARGV[1]) then
	return {0}
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[3]), ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {nth}
`)

// leave takes a request out again.
var leave = limit.NewScript(`return {redis.call('ZREM', KEYS[1], ARGV[1])}`)

func (h *held) acquireRemote(ctx context.Context, key string, most int64) (nth int64, err error) {
	l := h.limiter
	m := member{key, strconv.FormatUint(rand.Uint64(), 36) + strconv.FormatUint(rand.Uint64(), 36)}
	answer, err := l.redis.Integers(ctx, enter, key, most, m.id, l.ttl.Milliseconds())
	if err == nil && len(answer) != 1 {
		err = errors.New("redis: the script's answer has another shape")
	}
	if err != nil {
		// It may have counted, and only the answer got lost.
		go l.release([]member{m})
		return 0, err
	}
	if answer[0] > 0 {
		h.remote = append(h.remote, m)
	}
	return answer[0], nil
}

// releaseTimeout bounds how long it is tried to let go of a request. After that its TTL does.
const releaseTimeout = 10 * time.Second

func (l *limitConn) release(members []member) {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	for _, m := range members {
		if _, err := l.redis.Integers(ctx, leave, m.key, m.id); err != nil {
			l.log().Warn("a request that is over is counted until its time is up", zap.String("plugin", name), zap.Error(err))
		}
	}
}
