// SPDX-License-Identifier: Apache-2.0

// Package gzip is APISIX's gzip plugin: it compresses responses for clients that take gzip.
package gzip

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/compress"
)

//go:embed schema.json
var configSchema []byte

const name = "gzip"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 995, Version: 0.1, Schema: configSchema, New: compile})
}

// pools has one for each level.
var pools [gzip.BestCompression + 1]compress.Pool

func init() {
	for level := range pools {
		pools[level].New = func() (compress.Writer, error) { return gzip.NewWriterLevel(io.Discard, level) }
	}
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	shared, err := compress.ParseConfig(config)
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	var c struct {
		Level int `json:"comp_level"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	return &compress.Coding{Config: shared, Name: "gzip", Pool: &pools[c.Level]}, nil
}
