// SPDX-License-Identifier: Apache-2.0

// Package workflow is APISIX's workflow plugin: it refuses or limits the requests for which a condition holds.
package workflow

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:     "workflow",
		Priority: 1006,
		Version:  0.1,
		Schema:   configSchema,
		New:      compile,
	})
}

// workflow is one compiled config. It is immutable.
type workflow struct {
	rules         []rule
	reads, blocks bool
}

// rule is what is done with the requests for which match holds; nil always does. action is nil for nothing.
type rule struct {
	match  gateway.Predicate
	action gateway.Accessor
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Rules []struct {
			Case    json.RawMessage     `json:"case"`
			Actions [][]json.RawMessage `json:"actions"`
		} `json:"rules"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("workflow: %w", err)
	}
	w := new(workflow)
	for i, r := range c.Rules {
		var made rule
		if len(r.Case) > 0 {
			e, err := expr.Compile(r.Case)
			if err != nil {
				return nil, fmt.Errorf("failed to validate the 'case' expression: %w", err)
			}
			made.match = e.Match
			w.reads = w.reads || e.ReadsBody
		}
		// All actions have to be right, and the first one is done.
		for j, a := range r.Actions {
			action, err := compileAction(env, i, a)
			if err != nil {
				return nil, err
			}
			if j > 0 {
				continue
			}
			made.action = action
			if b, ok := action.(gateway.Blocker); ok {
				w.blocks = w.blocks || b.Blocks()
			}
		}
		w.rules = append(w.rules, made)
	}
	return w, nil
}

// bodyLimit is up to how many bytes of a body conditions look at: APISIX's max_post_args_readable_size.
const bodyLimit = 64 << 20

// ReadsBody implements gateway.BodyReader.
func (w *workflow) ReadsBody() int64 {
	if w.reads {
		return bodyLimit
	}
	return 0
}

// Blocks implements gateway.Blocker.
func (w *workflow) Blocks() bool { return w.blocks }

// waiting is the State of an exchange whose action waits: that action goes on, whatever the conditions say by now.
type waiting struct {
	action gateway.Accessor
	state  any
}

// Access implements gateway.Accessor.
func (w *workflow) Access(x *gateway.Exchange) gateway.Verdict {
	action := w.action(x)
	if action == nil {
		return gateway.Continue
	}
	verdict := action.Access(x)
	if state := x.State(); verdict == gateway.Wait {
		*state = &waiting{action, *state}
	}
	return verdict
}

func (w *workflow) action(x *gateway.Exchange) gateway.Accessor {
	state := x.State()
	if wait, ok := (*state).(*waiting); ok {
		*state = wait.state
		return wait.action
	}
	for i := range w.rules {
		if r := &w.rules[i]; r.match == nil || r.match(x) {
			return r.action
		}
	}
	return nil
}

// Log implements gateway.Logger: what the action left in the State may want to know that the request is over.
func (w *workflow) Log(x *gateway.Exchange) {
	state := x.State()
	if wait, ok := (*state).(*waiting); ok {
		*state = wait.state
	}
	if left, ok := (*state).(gateway.Logger); ok {
		left.Log(x)
	}
}

var (
	_ gateway.Accessor   = (*workflow)(nil)
	_ gateway.BodyReader = (*workflow)(nil)
	_ gateway.Blocker    = (*workflow)(nil)
	_ gateway.Logger     = (*workflow)(nil)
)
