// SPDX-License-Identifier: Apache-2.0

// Package trafficlabel is APISIX's traffic-label plugin: it marks requests for whoever comes after, by condition and weight.
package trafficlabel

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/fields"
)

//go:embed schema.json
var configSchema []byte

const name = "traffic-label"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 967, Version: 0.1, Schema: configSchema, New: compile})
}

// labels is one compiled config. It is immutable but for the turns of its wheels.
type labels struct {
	rules     []rule
	readsBody bool
}

// rule is actions that take turns, for requests that match; nil matches all.
type rule struct {
	match   gateway.Predicate
	actions [][]fields.Field
	wheel   *wheel
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Rules []struct {
			Match   json.RawMessage              `json:"match"`
			Actions []map[string]json.RawMessage `json:"actions"`
		} `json:"rules"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("traffic-label: %w", err)
	}
	l := new(labels)
	for _, r := range c.Rules {
		condition, err := expr.Compile(r.Match)
		if err != nil {
			return nil, fmt.Errorf("failed to validate the 'match' expression: %s err: %w", r.Match, err)
		}
		l.readsBody = l.readsBody || condition.ReadsBody
		compiled := rule{match: condition.Match}
		var weights []int
		for _, action := range r.Actions {
			weight := 1
			for _, name := range slices.Sorted(maps.Keys(action)) {
				switch name {
				case "weight":
					if err := json.Unmarshal(action[name], &weight); err != nil {
						return nil, fmt.Errorf("property \"weight\" validation failed: %w", err)
					}
				case "set_headers":
				default:
					return nil, fmt.Errorf("not supported action: %s", name)
				}
			}
			set, err := fields.Compile(action["set_headers"])
			if err != nil {
				return nil, fmt.Errorf("failed to validate the 'set_headers' action: %w", err)
			}
			compiled.actions, weights = append(compiled.actions, set), append(weights, weight)
		}
		compiled.wheel = newWheel(weights)
		l.rules = append(l.rules, compiled)
	}
	return l, nil
}

// bodyLimit bounds the body that conditions look at: APISIX's max_post_args_readable_size.
const bodyLimit = 64 << 20

// ReadsBody implements gateway.BodyReader.
func (l *labels) ReadsBody() int64 {
	if l.readsBody {
		return bodyLimit
	}
	return 0
}

// Access implements gateway.Accessor. The first rule that matches counts.
func (l *labels) Access(x *gateway.Exchange) gateway.Verdict {
	for i := range l.rules {
		r := &l.rules[i]
		if r.match != nil && !r.match(x) {
			continue
		}
		action := r.actions[r.wheel.next()]
		for j := range action {
			action[j].SetRequest(x, fields.Match{})
		}
		break
	}
	return gateway.Continue
}

var (
	_ gateway.Accessor   = (*labels)(nil)
	_ gateway.BodyReader = (*labels)(nil)
)
