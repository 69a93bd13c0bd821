// SPDX-License-Identifier: Apache-2.0

// Package refererrestriction is APISIX's referer-restriction plugin: it lets requests through, or refuses them, by the page
// that they come from.
package refererrestriction

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

const name = "referer-restriction"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 2990, Version: 0.1, Schema: configSchema, New: compile})
}

// restriction is one compiled config. It is immutable.
type restriction struct {
	hosts *hostSet
	// admits says that hosts are those that are let through, and not those that are refused.
	admits, bypassMissing bool
	body                  []byte
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Whitelist     []string `json:"whitelist"`
		Blacklist     []string `json:"blacklist"`
		BypassMissing bool     `json:"bypass_missing"`
		Message       string   `json:"message"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("referer-restriction: %w", err)
	}
	r := &restriction{admits: c.Whitelist != nil, bypassMissing: c.BypassMissing, body: reply.JSON("message", c.Message)}
	if r.admits {
		r.hosts = newHostSet(c.Whitelist)
	} else {
		r.hosts = newHostSet(c.Blacklist)
	}
	return r, nil
}

// Access implements gateway.Accessor. Every value of the field has to pass: nobody knows which one the node reads.
func (r *restriction) Access(x *gateway.Exchange) gateway.Verdict {
	missing := true
	for referer := range x.Request.Header.Values("Referer") {
		host, ok := hostOf(referer)
		if !ok {
			continue
		}
		missing = false
		if r.hosts.has(host) != r.admits {
			return x.Exit(403, r.body)
		}
	}
	if missing && !r.bypassMissing {
		return x.Exit(403, r.body)
	}
	return gateway.Continue
}

var _ gateway.Accessor = (*restriction)(nil)
