// SPDX-License-Identifier: Apache-2.0

// Package zstd is an extension: it compresses responses for clients that take zstd (RFC 8878), as gzip does.
package zstd

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/compress"
)

//go:embed schema.json
var configSchema []byte

const name = "zstd"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 997, Version: 0.1, Schema: configSchema, New: compile})
}

// window bounds what a client has to keep to decompress: RFC 9659 lets browsers refuse more than 8 MB.
const window = 1 << 20

// pools has one for each level.
var pools [zstd.SpeedBestCompression + 1]compress.Pool

func init() {
	for level := zstd.SpeedFastest; level <= zstd.SpeedBestCompression; level++ {
		pools[level].New = func() (compress.Writer, error) {
			return zstd.NewWriter(io.Discard, zstd.WithEncoderLevel(level), zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
		}
	}
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	shared, err := compress.ParseConfig(config)
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	var c struct {
		Level int `json:"comp_level"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &compress.Coding{Config: shared, Name: "zstd", Pool: &pools[c.Level]}, nil
}
