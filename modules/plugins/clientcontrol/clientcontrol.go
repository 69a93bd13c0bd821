// SPDX-License-Identifier: Apache-2.0

// Package clientcontrol is APISIX's client-control plugin: it bounds the request bodies of a route.
package clientcontrol

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

const name = "client-control"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 22000, Version: 0.1, Schema: configSchema, New: compile})
}

// control is one compiled config. It is immutable.
type control struct {
	// max is how many bytes a body may have; 0 is any number.
	max int64
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Max int64 `json:"max_body_size"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("client-control: %w", err)
	}
	return &control{max: c.Max}, nil
}

// ReadsBody implements gateway.BodyReader.
func (c *control) ReadsBody() int64 { return c.max }

// NeedsBody implements gateway.BodyDecider: a body that does not say how long it is has to be read up to the bound, so that
// the node never sees part of one that is too long.
func (c *control) NeedsBody(x *gateway.Exchange) bool { return x.Request.ContentLength < 0 }

// Rewrite implements gateway.Rewriter.
func (c *control) Rewrite(x *gateway.Exchange) gateway.Verdict {
	switch {
	case c.max == 0:
	case x.Request.ContentLength > c.max:
		return x.Exit(413, nil)
	case x.Request.ContentLength < 0:
		if _, err := x.Body(); err == gateway.ErrBodyTooLarge {
			return x.Exit(413, nil)
		}
	}
	return gateway.Continue
}

var (
	_ gateway.Rewriter    = (*control)(nil)
	_ gateway.BodyReader  = (*control)(nil)
	_ gateway.BodyDecider = (*control)(nil)
)
