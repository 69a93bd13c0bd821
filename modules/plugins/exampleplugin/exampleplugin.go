// SPDX-License-Identifier: Apache-2.0

// Package exampleplugin is APISIX's example-plugin: it shows what a plugin is made of, and tests use it.
package exampleplugin

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/upstream"
)

//go:embed schema.json
var configSchema []byte

//go:embed metadata_schema.json
var metadataSchema []byte

const name = "example-plugin"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 0, Version: 0.1, Schema: configSchema, MetadataSchema: metadataSchema,
		New:         compile,
		NewMetadata: func(gateway.Env, json.RawMessage) (any, error) { return nil, nil },
	})
}

// example is one compiled config. It is immutable.
type example struct {
	// upstream is what requests are sent to in the place of the route's; nil leaves that.
	upstream *gateway.Upstream
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		IP   string `json:"ip"`
		Port int    `json:"port"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("example-plugin: %w", err)
	}
	if c.IP == "" {
		return &example{}, nil
	}
	if c.Port < 0 || c.Port > 65535 {
		return nil, fmt.Errorf("property \"port\" validation failed: expected %d to be a port from 1 to 65535", c.Port)
	}
	node := map[string]any{"host": c.IP, "weight": 1}
	if c.Port > 0 {
		node["port"] = c.Port
	}
	raw, err := json.Marshal(map[string]any{"type": "roundrobin", "nodes": []any{node}})
	if err != nil {
		return nil, err
	}
	u, err := upstream.Compile(env.Owner, raw, nil, upstream.Surroundings{})
	return &example{u}, err
}

// Access implements gateway.Accessor.
func (e *example) Access(x *gateway.Exchange) gateway.Verdict {
	if e.upstream != nil {
		x.Forward.Upstream = e.upstream
	}
	return gateway.Continue
}

var _ gateway.Accessor = (*example)(nil)
