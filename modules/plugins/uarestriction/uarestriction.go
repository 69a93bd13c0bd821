// SPDX-License-Identifier: Apache-2.0

// Package uarestriction is APISIX's ua-restriction plugin: it lets requests through, or refuses them, by their User-Agent.
package uarestriction

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

const name = "ua-restriction"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 2999, Version: 0.1, Schema: configSchema, New: compile})
}

// restriction is one compiled config. It is immutable.
type restriction struct {
	patterns *expr.PatternSet
	// admits says that the patterns are those of who is let through, and not of who is refused.
	admits, bypassMissing bool
	body                  []byte
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Allowlist     []string `json:"allowlist"`
		Denylist      []string `json:"denylist"`
		BypassMissing bool     `json:"bypass_missing"`
		Message       string   `json:"message"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("ua-restriction: %w", err)
	}
	r := &restriction{admits: c.Allowlist != nil, bypassMissing: c.BypassMissing, body: reply.JSON("message", c.Message)}
	list := c.Denylist
	if r.admits {
		list = c.Allowlist
	}
	var err error
	r.patterns, err = expr.CompilePatternSet(list, false)
	return r, err
}

// Access implements gateway.Accessor. Every value of the field has to pass: nobody knows which one the node reads.
func (r *restriction) Access(x *gateway.Exchange) gateway.Verdict {
	missing := true
	for agent := range x.Request.Header.Values("User-Agent") {
		missing = false
		if !r.passes(agent) {
			return x.Exit(403, r.body)
		}
	}
	if missing && !r.bypassMissing {
		return x.Exit(403, r.body)
	}
	return gateway.Continue
}

// passes refuses what cannot be decided about in time.
func (r *restriction) passes(agent string) bool {
	found, err := r.patterns.Search(agent)
	return err == nil && found == r.admits
}

var _ gateway.Accessor = (*restriction)(nil)
