// SPDX-License-Identifier: Apache-2.0

// Package serverless is what serverless-pre-function and serverless-post-function share: all but their places in a chain.
package serverless

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lua"
)

//go:embed schema.json
var configSchema []byte

// Register registers the plugin of that name.
func Register(name string, priority int) {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: priority, Version: 0.1, Schema: configSchema, New: compile})
}

var phases = map[string]lua.Phase{
	"rewrite": lua.Rewrite, "access": lua.Access, "before_proxy": lua.BeforeProxy, "header_filter": lua.HeaderFilter,
	"body_filter": lua.BodyFilter, "log": lua.Log,
}

// compile returns something with the one hook that the config asks for. The texts are APISIX's.
func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Phase     string   `json:"phase"`
		Functions []string `json:"functions"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("serverless function: %w", err)
	}
	chunks := make([]*lua.Chunk, len(c.Functions))
	for i, source := range c.Functions {
		var err error
		if chunks[i], err = lua.Load(source); err != nil {
			return nil, fmt.Errorf("failed to loadstring: %w", err)
		}
	}
	program := lua.NewProgram(config, env.Log, chunks...)
	err := program.Check(func(name string, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("pcall error: %w", err)
		case name != "function":
			return errors.New("only accept Lua function, the input code type is " + name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return lua.Hook(program, phases[c.Phase], ""), nil
}
