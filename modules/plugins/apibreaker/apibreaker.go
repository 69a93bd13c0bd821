// SPDX-License-Identifier: Apache-2.0

// Package apibreaker is APISIX's api-breaker plugin: nodes that fail are left alone for a while.
package apibreaker

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/limit"
)

//go:embed schema.json
var configSchema []byte

const name = "api-breaker"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:     name,
		Priority: 1005,
		Version:  0.1,
		Schema:   configSchema,
		New:      compile,
	})
}

// apiBreaker is one compiled config. It is immutable; what it counts is the process's.
type apiBreaker struct {
	code    int
	body    []byte
	headers []header
	longest time.Duration

	unhealthy, healthy  []int
	failures, successes int64
}

type header struct {
	name  string
	value *expr.Template
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Code    int     `json:"break_response_code"`
		Body    *string `json:"break_response_body"`
		Headers []struct {
			Key   string `json:"key"`
			Value string `json:"value"`
		} `json:"break_response_headers"`
		Longest   int64 `json:"max_breaker_sec"`
		Unhealthy struct {
			Statuses []int `json:"http_statuses"`
			Failures int64 `json:"failures"`
		} `json:"unhealthy"`
		Healthy struct {
			Statuses  []int `json:"http_statuses"`
			Successes int64 `json:"successes"`
		} `json:"healthy"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("api-breaker: %w", err)
	}
	b := &apiBreaker{
		code: c.Code, longest: time.Duration(min(c.Longest, maxSeconds)) * time.Second,
		unhealthy: c.Unhealthy.Statuses, failures: c.Unhealthy.Failures,
		healthy: c.Healthy.Statuses, successes: c.Healthy.Successes,
	}
	if c.Body == nil {
		return b, nil
	}
	b.body = []byte(*c.Body)
	for _, h := range c.Headers {
		b.headers = append(b.headers, header{h.Key, expr.ParseTemplate(h.Value)})
	}
	return b, nil
}

// maxSeconds is a hundred years.
const maxSeconds = 100 * 365 * 24 * 3600

// circuit is what became of the requests for one host and path.
type circuit struct {
	// unhealthy counts failures since all was well, healthy the good responses since the last failure.
	unhealthy, healthy int64
	// opened is when the circuit was last opened, in nanoseconds since 1970; 0 is never.
	opened int64
}

// circuits are the process's, as in APISIX: they belong to the host and path, whichever object carries the config. They are
// given up for others when no place is left, the one that saw a failure longest ago first.
var circuits limit.Table[circuit]

var scope = limit.NewScope(name)

// kept is how long a circuit is kept that sees no more failures.
const kept = int64(30 * 24 * time.Hour)

func key(x *gateway.Exchange) limit.Key {
	scratch := limit.Borrow()
	defer scratch.Return()
	scratch.Bytes = append(append(scratch.Bytes, x.Request.Host...), x.Request.Path...)
	return scope.KeyOf(scratch.Bytes)
}

// Access implements gateway.Accessor.
func (b *apiBreaker) Access(x *gateway.Exchange) gateway.Verdict {
	now := limit.Now(x)
	k := key(x)
	e := circuits.LockKnown(k, now)
	if e == nil {
		return gateway.Continue
	}
	isOpen := b.isOpen(e.State, now)
	circuits.Unlock(k)
	if !isOpen {
		return gateway.Continue
	}
	for _, h := range b.headers {
		x.Response.Header.Add(h.name, h.value.String(x))
	}
	return x.Exit(b.code, b.body)
}

// isOpen: the more failures there were, the longer a circuit stays open: 2, 4, 8 seconds and so on.
func (b *apiBreaker) isOpen(c circuit, now int64) bool {
	if c.opened == 0 {
		return false
	}
	n := max(1, (c.unhealthy+b.failures-1)/b.failures)
	open := b.longest
	if n < 32 {
		open = min(open, time.Second<<n)
	}
	return now < c.opened+int64(open)
}

// Log implements gateway.Logger: it looks at what the node answered, or at what stands for its failure.
func (b *apiBreaker) Log(x *gateway.Exchange) {
	n := len(x.Forward.Attempts)
	if n == 0 {
		return
	}
	b.observe(key(x), x.Forward.Attempts[n-1].Status, limit.Clock())
}

func (b *apiBreaker) observe(k limit.Key, status int, now int64) {
	switch {
	case slices.Contains(b.unhealthy, status):
		e := circuits.Lock(k, now)
		c := &e.State
		e.Until = now + kept
		c.healthy = 0
		if c.unhealthy++; c.unhealthy%b.failures == 0 {
			c.opened = now
		}
		circuits.Unlock(k)
	case slices.Contains(b.healthy, status):
		e := circuits.LockKnown(k, now)
		if e == nil {
			return
		}
		if e.State.healthy++; e.State.healthy >= b.successes {
			e.Until = 0
		}
		circuits.Unlock(k)
	}
}

var (
	_ gateway.Accessor = (*apiBreaker)(nil)
	_ gateway.Logger   = (*apiBreaker)(nil)
)
