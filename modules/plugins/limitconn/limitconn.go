// SPDX-License-Identifier: Apache-2.0

// Package limitconn is APISIX's limit-conn plugin: so many requests at the same time.
package limitconn

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/limit"
)

//go:embed schema.json
var configSchema []byte

//go:embed stream.json
var streamSchema []byte

const name = "limit-conn"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:     name,
		Priority: 1003,
		Version:  0.1,
		Schema:   configSchema,
		New:      compile,
	})
	gateway.RegisterStreamPlugin(&gateway.Plugin{Name: name, Priority: 1003, Version: 0.1, Schema: streamSchema, New: compile})
}

// limitConn is one compiled config. It is immutable but for unit; what is under way is counted in the process or in Redis.
type limitConn struct {
	log   func() *zap.Logger
	rules []rule
	// skips says that rules that do not apply to a request are passed over.
	skips    bool
	rejected limit.Rejection
	degrade  bool
	// unit is the delay of one turn, in seconds, as the bits of a float64. Unless it is fixed it follows how long requests
	// take.
	unit  atomic.Uint64
	fixed bool
	// redis is nil for local counters.
	redis *limit.Redis
	ttl   time.Duration
}

// rule is one limit.
type rule struct {
	conn, burst limit.Number
	keyer       limit.Keyer
	scope       limit.Scope
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Conn         *limit.Number `json:"conn"`
		Burst        *limit.Number `json:"burst"`
		Key          string        `json:"key"`
		KeyType      string        `json:"key_type"`
		Delay        float64       `json:"default_conn_delay"`
		OnlyDefault  bool          `json:"only_use_default_delay"`
		RejectedCode int           `json:"rejected_code"`
		RejectedMsg  string        `json:"rejected_msg"`
		Degrade      bool          `json:"allow_degradation"`
		KeyTTL       int           `json:"key_ttl"`
		Rules        []struct {
			Conn  limit.Number `json:"conn"`
			Burst limit.Number `json:"burst"`
			Key   string       `json:"key"`
		} `json:"rules"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("limit-conn: %w", err)
	}
	if c.RejectedCode == 0 {
		// A stream's config has none, and its client sees none.
		c.RejectedCode = 503
	}
	rejected, err := limit.NewRejection(c.RejectedCode, c.RejectedMsg)
	if err != nil {
		return nil, fmt.Errorf("limit-conn: rejected_msg: %w", err)
	}
	redis, err := limit.NewRedis(config)
	if err != nil {
		return nil, fmt.Errorf("limit-conn: %w", err)
	}
	l := &limitConn{
		log: env.Log, skips: len(c.Rules) > 0, rejected: rejected, degrade: c.Degrade, fixed: c.OnlyDefault,
		redis: redis, ttl: time.Duration(c.KeyTTL) * time.Second,
	}
	if l.ttl <= 0 {
		l.ttl = time.Hour
	}
	l.unit.Store(math.Float64bits(c.Delay))
	scope := "plugin-" + name + limit.Owned(env, config)
	if c.Conn != nil && c.Burst != nil {
		l.rules = []rule{{*c.Conn, *c.Burst, limit.NewKeyer(c.KeyType, c.Key), limit.NewScope(scope)}}
	}
	for i, r := range c.Rules {
		l.rules = append(l.rules, rule{
			r.Conn, r.Burst, limit.NewKeyer("var_combination", r.Key), limit.NewScope(scope + ":" + strconv.Itoa(i+1)),
		})
	}
	return l, nil
}

// Blocks implements gateway.Blocker. With local counters only those requests wait that are delayed.
func (l *limitConn) Blocks() bool { return l.redis != nil }

// Access implements gateway.Accessor.
func (l *limitConn) Access(x *gateway.Exchange) gateway.Verdict {
	if h, ok := (*x.State()).(*held); ok {
		limit.Sleep(x, h.delay)
		return gateway.Continue
	}
	h := newHeld(l)
	*x.State() = h
	scratch := limit.Borrow()
	defer scratch.Return()
	for i := range l.rules {
		r := &l.rules[i]
		conn, conns := r.conn.Of(x, 1)
		burst, bursts := r.burst.Of(x, 0)
		key, there := scratch.Bytes[:0], true
		if l.skips {
			key, there = r.keyer.Append(key, x)
		} else {
			key = r.keyer.AppendOrClient(key, x)
		}
		scratch.Bytes = key[:0]
		if !conns || !bursts || !there {
			continue
		}
		h.applied = true
		nth, err := h.acquire(x, r, key, conn+burst)
		switch {
		case err != nil:
			return l.fail(x, err)
		case nth == 0:
			return l.rejected.Exit(x)
		case nth > conn:
			h.delay += l.turns((nth - 1) / conn)
		}
	}
	if !h.applied {
		return l.fail(x, errNoRule)
	}
	if limit.Worthwhile(h.delay) {
		return gateway.Wait
	}
	return gateway.Continue
}

var errNoRule = errors.New("no limit applies: neither key nor numbers are there")

func (l *limitConn) fail(x *gateway.Exchange, err error) gateway.Verdict {
	l.log().Error("failed to limit conn", zap.Error(err))
	if l.degrade {
		return gateway.Continue
	}
	return x.Exit(500, nil)
}

// turns is how long so many turns take.
func (l *limitConn) turns(n int64) time.Duration {
	const longest = 24 * 3600
	return time.Duration(min(math.Float64frombits(l.unit.Load())*float64(n), longest) * float64(time.Second))
}

// learn has the delay follow a request that took so long.
func (l *limitConn) learn(took time.Duration) {
	for {
		old := l.unit.Load()
		next := math.Float64bits((math.Float64frombits(old) + max(0, took.Seconds())) / 2)
		if l.unit.CompareAndSwap(old, next) {
			return
		}
	}
}

// Log implements gateway.Logger: whatever became of the request, it is over.
func (l *limitConn) Log(x *gateway.Exchange) {
	if h, ok := (*x.State()).(*held); ok {
		h.Log(x)
	}
}

var (
	_ gateway.Accessor = (*limitConn)(nil)
	_ gateway.Logger   = (*limitConn)(nil)
	_ gateway.Blocker  = (*limitConn)(nil)
)
