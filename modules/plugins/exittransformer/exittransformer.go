// SPDX-License-Identifier: Apache-2.0

// Package exittransformer is APISIX's exit-transformer plugin: functions in Lua change the responses that the gateway makes
// itself.
package exittransformer

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lua"
)

//go:embed schema.json
var configSchema []byte

const name = "exit-transformer"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 22950, Version: 0.1, Schema: configSchema, New: compile})
}

// transformer is one compiled config. It is safe for concurrent use.
type transformer struct{ rewriter *lua.Rewriter }

// compile gives LuaJIT's text for a source that is none, as APISIX does.
func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Functions []string `json:"functions"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("exit-transformer: %w", err)
	}
	chunks := make([]*lua.Chunk, len(c.Functions))
	for i, source := range c.Functions {
		var err error
		if chunks[i], err = lua.Load(source); err != nil {
			return nil, err
		}
	}
	return &transformer{lua.NewRewriter(env.Log, chunks...)}, nil
}

// Rewrite implements gateway.Rewriter: responses from here on are changed.
func (t *transformer) Rewrite(x *gateway.Exchange) gateway.Verdict {
	*x.State() = true
	return gateway.Continue
}

// FilterHeader implements gateway.HeaderFilter. What a node has sent is left alone, and so is the 502 for one that could not
// be reached: in APISIX nginx makes it.
func (t *transformer) FilterHeader(x *gateway.Exchange) {
	if *x.State() == true && !x.Response.FromNode && len(x.Forward.Attempts) == 0 {
		t.rewriter.Rewrite(x)
	}
}

var (
	_ gateway.Rewriter     = (*transformer)(nil)
	_ gateway.HeaderFilter = (*transformer)(nil)
)
