// SPDX-License-Identifier: Apache-2.0

// Package trafficsplit is APISIX's traffic-split plugin: it spreads requests over upstreams by weight.
package trafficsplit

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

const name = "traffic-split"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:     name,
		Priority: 966,
		Version:  0.1,
		Schema:   configSchema,
		New:      compile,
	})
	gateway.RegisterStreamPlugin(&gateway.Plugin{Name: name, Priority: 966, Version: 0.1, Schema: configSchema, New: compile})
}

// trafficSplit is one compiled config. It is immutable but for its turns.
type trafficSplit struct {
	rules []rule
	reads bool
}

// rule spreads the requests for which one of its conditions holds; without conditions all.
type rule struct {
	match   []gateway.Predicate
	targets []target
	turns   *turns
}

// target is where a part of the requests goes: an upstream of the rule's own, a shared one, or neither, which leaves the
// request to the route's.
type target struct {
	upstream *gateway.Upstream
	id       string
	// unknown is the answer when there is no shared upstream of that id.
	unknown []byte
}

type ruleConfig struct {
	Match []struct {
		Vars json.RawMessage `json:"vars"`
	} `json:"match"`
	Weighted []struct {
		Upstream json.RawMessage `json:"upstream"`
		ID       json.RawMessage `json:"upstream_id"`
		Weight   *int64          `json:"weight"`
	} `json:"weighted_upstreams"`
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Rules []ruleConfig `json:"rules"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("traffic-split: %w", err)
	}
	t := new(trafficSplit)
	for i := range c.Rules {
		r, err := t.compileRule(env, env.Owner+"#"+name+"/"+strconv.Itoa(i), &c.Rules[i])
		if err != nil {
			return nil, err
		}
		t.rules = append(t.rules, r)
	}
	return t, nil
}

func (t *trafficSplit) compileRule(env gateway.Env, place string, c *ruleConfig) (r rule, err error) {
	for _, m := range c.Match {
		e, err := expr.Compile(m.Vars)
		if err != nil {
			return r, fmt.Errorf("failed to validate the 'vars' expression: %w", err)
		}
		t.reads = t.reads || e.ReadsBody
		if e.Match == nil {
			e.Match = func(*gateway.Exchange) bool { return true }
		}
		r.match = append(r.match, e.Match)
	}
	var weights []int64
	for i, w := range c.Weighted {
		made := target{id: strings.Trim(string(w.ID), `"`)}
		switch {
		case made.id != "":
			made.unknown = []byte("failed to fetch upstream info by upstream id: " + made.id)
		case len(w.Upstream) > 0:
			if made.upstream, err = compileUpstream(env, place+"/"+strconv.Itoa(i), w.Upstream); err != nil {
				return r, err
			}
		}
		weight := int64(1)
		if w.Weight != nil {
			weight = *w.Weight
		}
		r.targets, weights = append(r.targets, made), append(weights, weight)
	}
	if len(r.targets) == 0 {
		r.targets, weights = []target{{}}, []int64{1}
	}
	r.turns = newTurns(weights)
	return r, nil
}

// bodyLimit is up to how many bytes of a body conditions look at: APISIX's max_post_args_readable_size.
const bodyLimit = 64 << 20

// ReadsBody implements gateway.BodyReader.
func (t *trafficSplit) ReadsBody() int64 {
	if t.reads {
		return bodyLimit
	}
	return 0
}

// Access implements gateway.Accessor.
func (t *trafficSplit) Access(x *gateway.Exchange) gateway.Verdict {
	for i := range t.rules {
		if r := &t.rules[i]; r.matches(x) {
			return r.targets[r.turns.next()].choose(x)
		}
	}
	return gateway.Continue
}

func (r *rule) matches(x *gateway.Exchange) bool {
	for _, match := range r.match {
		if match(x) {
			return true
		}
	}
	return len(r.match) == 0
}

func (t *target) choose(x *gateway.Exchange) gateway.Verdict {
	switch {
	case t.upstream != nil:
		x.Forward.Upstream = t.upstream
	case t.id != "":
		u := x.Table.Upstream(t.id)
		if u == nil {
			return x.Exit(500, t.unknown)
		}
		x.Forward.Upstream = u
	}
	return gateway.Continue
}

var (
	_ gateway.Accessor   = (*trafficSplit)(nil)
	_ gateway.BodyReader = (*trafficSplit)(nil)
)
