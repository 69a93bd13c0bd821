// SPDX-License-Identifier: Apache-2.0

// Package iprestriction is APISIX's ip-restriction plugin: it lets requests through, or refuses them, by where they come
// from.
package iprestriction

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

const name = "ip-restriction"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 3000, Version: 0.1, Schema: configSchema, New: compile})
	gateway.RegisterStreamPlugin(&gateway.Plugin{Name: name, Priority: 3000, Version: 0.1, Schema: configSchema, New: compile})
}

// restriction is one compiled config. It is immutable.
type restriction struct {
	set *expr.AddrSet
	// admits says that set holds who is let through, and not who is refused.
	admits bool
	status int
	body   []byte
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Whitelist []string `json:"whitelist"`
		Blacklist []string `json:"blacklist"`
		Message   string   `json:"message"`
		Status    int      `json:"response_code"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("ip-restriction: %w", err)
	}
	r := &restriction{admits: c.Whitelist != nil, status: c.Status, body: reply.JSON("message", c.Message)}
	list := c.Blacklist
	if r.admits {
		list = c.Whitelist
	}
	var err error
	r.set, err = expr.NewAddrSet(list)
	return r, err
}

// Access implements gateway.Accessor.
func (r *restriction) Access(x *gateway.Exchange) gateway.Verdict {
	if r.set.Contains(x.Request.Client.Addr()) != r.admits {
		return x.Exit(r.status, r.body)
	}
	return gateway.Continue
}

var _ gateway.Accessor = (*restriction)(nil)
