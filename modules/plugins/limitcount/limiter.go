// SPDX-License-Identifier: Apache-2.0

package limitcount

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/limit"
)

// Limiter counts what requests cost, as a config of limit-count says. It is safe for concurrent use. Its counters live in
// the process or in Redis, under the config's scope: a limiter that is compiled again goes on where it was.
type Limiter struct {
	plugin  string
	log     func() *zap.Logger
	rules   []rule
	sliding bool
	// skips says that rules that do not apply to a request are passed over.
	skips    bool
	show     bool
	degrade  bool
	rejected limit.Rejection
	// redis is nil for local counters, delayed nil for those that are asked for every request.
	redis   *limit.Redis
	delayed *delayed
	// group keeps the group's name taken.
	group *group
}

// rule is one quota.
type rule struct {
	count, window limit.Number
	keyer         limit.Keyer
	scope         limit.Scope
	// names are the metadata's unless the rule has a prefix.
	names *fieldNames
}

// quota is what a rule comes to for one request. Times are in nanoseconds.
type quota struct {
	limit, window, cost, now int64
}

// state is what a counter says to a request. reset is the time until the window ends, or until a request may come again.
type state struct {
	admitted         bool
	remaining, reset int64
}

// MaxCost bounds what one request can cost, so that no counter overflows.
const MaxCost = 1 << 40

// maxWindow is a hundred years: what is longer is never over anyway.
const maxWindow = 100 * 365 * 24 * time.Hour

// New compiles a config of limit-count for the plugin of that name. env.Owner tells the counters of two configs apart.
func New(plugin string, env gateway.Env, raw json.RawMessage) (*Limiter, error) {
	var c config
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", plugin, err)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	l := &Limiter{
		plugin: plugin, log: env.Log, sliding: c.WindowType == "sliding", skips: len(c.Rules) > 0,
		show: c.ShowHeaders, degrade: c.Degrade,
	}
	var err error
	if l.rejected, err = limit.NewRejection(c.RejectedCode, c.RejectedMsg); err != nil {
		return nil, fmt.Errorf("%s: rejected_msg: %w", plugin, err)
	}
	scope := "plugin-" + plugin + limit.Owned(env, raw)
	if c.Group != "" {
		if l.group, err = joinGroup(plugin, c.Group, raw); err != nil {
			return nil, err
		}
		scope = "plugin-" + plugin + c.Group
	}
	if l.redis, err = limit.NewRedis(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", plugin, err)
	}
	if l.redis != nil && c.SyncInterval > 0 {
		l.delayed = newDelayed(l, time.Duration(c.SyncInterval*float64(time.Second)))
	}
	l.addRules(&c, scope)
	return l, nil
}

func (l *Limiter) addRules(c *config, scope string) {
	if c.Count != nil && c.TimeWindow != nil {
		l.rules = []rule{{
			count: *c.Count, window: *c.TimeWindow, keyer: limit.NewKeyer(c.KeyType, c.Key), scope: limit.NewScope(scope),
		}}
	}
	for i, r := range c.Rules {
		prefix := r.HeaderPrefix
		if prefix == "" {
			prefix = strconv.Itoa(i + 1)
		}
		// Two rules whose keys come to the same text for a request are two quotas still.
		l.rules = append(l.rules, rule{
			count: r.Count, window: r.TimeWindow, keyer: limit.NewKeyer("var_combination", r.Key),
			scope: limit.NewScope(scope + ":" + strconv.Itoa(i+1)),
			names: &fieldNames{
				"X-" + prefix + "-RateLimit-Limit", "X-" + prefix + "-RateLimit-Remaining", "X-" + prefix + "-RateLimit-Reset",
			},
		})
	}
}

// Blocks says that every Take waits for Redis.
func (l *Limiter) Blocks() bool { return l.redis != nil && l.delayed == nil }

// Take counts a request that costs so much, and ends it when a quota is used up. It returns gateway.Wait when it has to
// ask Redis and does not every time: see gateway.Wait. The exchange's State is Take's.
func (l *Limiter) Take(x *gateway.Exchange, cost int64) gateway.Verdict {
	// A rule that was counted before the wait is not counted again.
	from, mayWait := 0, l.Blocks()
	if resume, ok := (*x.State()).(resumeAt); ok {
		from, mayWait = int(resume), true
	}
	scratch := limit.Borrow()
	defer scratch.Return()
	applied := from > 0
	for i := from; i < len(l.rules); i++ {
		r := &l.rules[i]
		q, ok := r.quota(x, cost)
		var key []byte
		if ok {
			key, ok = l.key(x, r, scratch.Bytes[:0])
			scratch.Bytes = key[:0]
		}
		if !ok {
			continue
		}
		applied = true
		s, waits, err := l.count(x, r, key, q, mayWait)
		switch {
		case waits:
			*x.State() = resumeAt(i)
			return gateway.Wait
		case err != nil:
			l.log().Error("failed to limit count", zap.String("plugin", l.plugin), zap.Error(err))
			if l.degrade {
				return gateway.Continue
			}
			return x.Exit(500, failed)
		}
		l.tell(x, r, q.limit, s, scratch)
		if !s.admitted {
			return l.rejected.Exit(x)
		}
	}
	if !applied && !l.degrade {
		l.log().Error("failed to get rate limit rules", zap.String("plugin", l.plugin))
		return x.Exit(500, nil)
	}
	return gateway.Continue
}

// MayWait tells the next Take of the exchange that it is called where it may wait, when a plugin has returned gateway.Wait
// for a reason of its own.
func (l *Limiter) MayWait(x *gateway.Exchange) {
	if _, resumes := (*x.State()).(resumeAt); !resumes {
		*x.State() = resumeAt(0)
	}
}

// resumeAt is the rule at which a Take goes on. Numbers below 256 are kept without an allocation.
type resumeAt uint8

var failed = []byte(`{"error_msg":"failed to limit count"}` + "\n")

// quota reads the rule's numbers. ok is false when they are none.
func (r *rule) quota(x *gateway.Exchange, cost int64) (q quota, ok bool) {
	count, counts := r.count.Of(x, 1)
	window, lasts := r.window.Of(x, 1)
	return quota{
		limit: count, window: min(window, int64(maxWindow/time.Second)) * int64(time.Second),
		cost: min(cost, MaxCost), now: limit.Now(x),
	}, counts && lasts
}

func (l *Limiter) key(x *gateway.Exchange, r *rule, dst []byte) (key []byte, ok bool) {
	if l.skips {
		return r.keyer.Append(dst, x)
	}
	return r.keyer.AppendOrClient(dst, x), true
}

// count counts the request where the config says. waits says that this needs Redis.
func (l *Limiter) count(x *gateway.Exchange, r *rule, key []byte, q quota, mayWait bool) (s state, waits bool, err error) {
	switch {
	case l.redis == nil && l.sliding:
		// Windows of different lengths do not begin together, so each length has its own.
		key = strconv.AppendInt(append(key, '.'), q.window, 36)
		return slide(r.scope.KeyOf(key), q), false, nil
	case l.redis == nil:
		return fix(r.scope.KeyOf(key), q), false, nil
	case l.delayed != nil:
		return l.delayed.count(x, r, key, q, mayWait)
	}
	s, err = l.ask(x.Context(), r.scope.Text(string(key)), q)
	return s, false, err
}

// tell sets the fields that tell the client of its quota.
func (l *Limiter) tell(x *gateway.Exchange, r *rule, count int64, s state, scratch *limit.Scratch) {
	if !l.show {
		return
	}
	names := r.names
	if names == nil {
		names = &defaultNames
		if metadata, ok := x.Table.Metadata(l.plugin).(*fieldNames); ok {
			names = metadata
		}
	}
	h := &x.Response.Header
	h.Set(names.limit, scratch.Integer(count))
	h.Set(names.remaining, scratch.Integer(s.remaining))
	h.Set(names.reset, scratch.Seconds(s.reset))
}

// ask counts in Redis.
func (l *Limiter) ask(ctx context.Context, key string, q quota) (state, error) {
	if l.sliding {
		answer, err := l.redis.Integers(ctx, slideScript, slideKey(key, q), slideArgs(q, false)...)
		return slideAnswer(answer, err)
	}
	answer, err := l.redis.Integers(ctx, fixScript, key, fixArgs(q)...)
	return fixAnswer(q, answer, err)
}
