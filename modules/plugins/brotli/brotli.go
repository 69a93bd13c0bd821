// SPDX-License-Identifier: Apache-2.0

// Package brotli is APISIX's brotli plugin: it compresses responses for clients that take br.
package brotli

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/andybalholm/brotli"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/compress"
)

//go:embed schema.json
var configSchema []byte

const name = "brotli"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 996, Version: 0.1, Schema: configSchema, New: compile})
}

// options are what makes writers differ. The library finds the block size and the mode by itself.
type options struct {
	Level  int `json:"comp_level"`
	Window int `json:"lgwin"`
}

// pools maps options to *compress.Pool: the schema allows 192 of them.
var pools sync.Map

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	shared, err := compress.ParseConfig(config)
	if err != nil {
		return nil, fmt.Errorf("brotli: %w", err)
	}
	var o options
	if err := json.Unmarshal(config, &o); err != nil {
		return nil, fmt.Errorf("brotli: %w", err)
	}
	pool, _ := pools.LoadOrStore(o, &compress.Pool{New: func() (compress.Writer, error) {
		return brotli.NewWriterOptions(io.Discard, brotli.WriterOptions{Quality: o.Level, LGWin: o.Window}), nil
	}})
	return &compress.Coding{Config: shared, Name: "br", Pool: pool.(*compress.Pool)}, nil
}
