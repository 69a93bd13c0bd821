// SPDX-License-Identifier: Apache-2.0

// Package proxybuffering is APISIX's proxy-buffering plugin: it says whether responses may be held back, which Ando never does.
package proxybuffering

import (
	_ "embed"
	"encoding/json"

	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

const name = "proxy-buffering"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 21991, Version: 0.1, Schema: configSchema, New: compile})
}

// compile returns an instance without hooks: whatever the config says is the case.
func compile(gateway.Env, json.RawMessage) (any, error) { return struct{}{}, nil }
