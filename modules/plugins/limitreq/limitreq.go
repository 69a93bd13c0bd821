// SPDX-License-Identifier: Apache-2.0

// Package limitreq is APISIX's limit-req plugin: a leaky bucket, through which requests pass at a rate.
package limitreq

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/limit"
)

//go:embed schema.json
var configSchema []byte

const name = "limit-req"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:     name,
		Priority: 1001,
		Version:  0.1,
		Schema:   configSchema,
		New:      compile,
	})
}

// limitReq is one compiled config. It is immutable; its buckets are the process's or in Redis.
type limitReq struct {
	log      func() *zap.Logger
	shape    shape
	nodelay  bool
	keyer    limit.Keyer
	scope    limit.Scope
	rejected limit.Rejection
	degrade  bool
	// redis is nil for local buckets.
	redis *limit.Redis
}

// shape is what a bucket is like: requests leave it at a rate per second, and it holds a burst beside the one that leaves.
type shape struct{ rate, burst float64 }

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Rate         float64 `json:"rate"`
		Burst        float64 `json:"burst"`
		Key          string  `json:"key"`
		KeyType      string  `json:"key_type"`
		RejectedCode int     `json:"rejected_code"`
		RejectedMsg  string  `json:"rejected_msg"`
		NoDelay      bool    `json:"nodelay"`
		Degrade      bool    `json:"allow_degradation"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("limit-req: %w", err)
	}
	rejected, err := limit.NewRejection(c.RejectedCode, c.RejectedMsg)
	if err != nil {
		return nil, fmt.Errorf("limit-req: rejected_msg: %w", err)
	}
	redis, err := limit.NewRedis(config)
	if err != nil {
		return nil, fmt.Errorf("limit-req: %w", err)
	}
	return &limitReq{
		log: env.Log, shape: shape{c.Rate, c.Burst}, nodelay: c.NoDelay, keyer: limit.NewKeyer(c.KeyType, c.Key),
		scope: limit.NewScope("plugin-" + name + limit.Owned(env, config)), rejected: rejected, degrade: c.Degrade, redis: redis,
	}, nil
}

// Blocks implements gateway.Blocker. With local buckets only those requests wait that are delayed.
func (l *limitReq) Blocks() bool { return l.redis != nil }

// Access implements gateway.Accessor.
func (l *limitReq) Access(x *gateway.Exchange) gateway.Verdict {
	if delay, ok := (*x.State()).(limit.Delay); ok {
		limit.Sleep(x, time.Duration(delay))
		return gateway.Continue
	}
	scratch := limit.Borrow()
	scratch.Bytes = l.keyer.AppendOrClient(scratch.Bytes, x)
	delay, admitted, err := l.pass(x, scratch.Bytes)
	scratch.Return()
	switch {
	case err != nil:
		l.log().Error("failed to limit req", zap.Error(err))
		if l.degrade {
			return gateway.Continue
		}
		return x.Exit(500, nil)
	case !admitted:
		return l.rejected.Exit(x)
	case l.nodelay || !limit.Worthwhile(delay):
		return gateway.Continue
	}
	*x.State() = limit.Delay(delay)
	return gateway.Wait
}

func (l *limitReq) pass(x *gateway.Exchange, key []byte) (delay time.Duration, admitted bool, err error) {
	if l.redis != nil {
		return l.ask(x.Context(), l.scope.Text(string(key)))
	}
	delay, admitted = pass(l.scope.KeyOf(key), l.shape, limit.Now(x))
	return delay, admitted, nil
}

// bucket is how many requests had not left when the last one came.
type bucket struct {
	excess float64
	last   int64
}

// buckets are those of the process. They belong to no config, so they outlive all of them.
var buckets limit.Table[bucket]

// pass puts a request into a bucket. It is admitted unless more than the burst would be in it, and leaves after the delay.
func pass(key limit.Key, s shape, now int64) (delay time.Duration, admitted bool) {
	e := buckets.Lock(key, now)
	defer buckets.Unlock(key)
	if e.Until == 0 {
		e.State = bucket{last: now}
	} else {
		// A request that was overtaken finds the bucket as it is.
		elapsed := max(0, now-e.State.last)
		excess := max(0, e.State.excess-s.rate*float64(elapsed)/float64(time.Second)+1)
		if excess > s.burst {
			return 0, false
		}
		e.State = bucket{excess, max(now, e.State.last)}
	}
	// From then on it is as if no request had ever come.
	e.Until = e.State.last + 1 + seconds((e.State.excess+1)/s.rate)
	return time.Duration(seconds(e.State.excess / s.rate)), true
}

// longest is a hundred years, in seconds.
const longest = 100 * 365 * 24 * 3600

func seconds(s float64) int64 { return int64(min(s, longest) * float64(time.Second)) }

// script is pass by the clock of Redis, which is the same for all gateways.
//
//	KEYS  a hash: e the excess, t when the last request came, in microseconds
//	ARGV  the rate per second, the burst
//	gives the delay in microseconds, or -1
var script = limit.NewScript(source)

const source = `
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local kept = redis.call('HMGET', KEYS[1], 'e', 't')
local excess, last = tonumber(kept[1]), tonumber(kept[2])
if excess == nil then
	excess, last = 0, now
else
	excess = math.max(0, excess - rate * math.max(0, now - last) / 1000000 + 1)
	if excess > burst then
		return {-1}
	end
	last = math.max(now, last)
end
redis.call('HSET', KEYS[1], 'e', string.format('%.17g', excess), 't', string.format('%.0f', last))
redis.call('PEXPIRE', KEYS[1], math.floor(math.min((excess + 1) / rate, 3153600000) * 1000) + 1)
return {math.floor(math.min(excess / rate, 3153600000) * 1000000)}
`

func (l *limitReq) ask(ctx context.Context, key string) (delay time.Duration, admitted bool, err error) {
	answer, err := l.redis.Integers(ctx, script, key, l.shape.rate, l.shape.burst)
	if err != nil {
		return 0, false, err
	}
	if len(answer) != 1 {
		return 0, false, fmt.Errorf("redis: the script's answer has %d numbers, want 1", len(answer))
	}
	return time.Duration(answer[0]) * time.Microsecond, answer[0] >= 0, nil
}

var (
	_ gateway.Accessor = (*limitReq)(nil)
	_ gateway.Blocker  = (*limitReq)(nil)
)
