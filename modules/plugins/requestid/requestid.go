// SPDX-License-Identifier: Apache-2.0

// Package requestid is APISIX's request-id plugin: every request has an id that client, gateway and node know it by.
package requestid

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"golang.org/x/net/http/httpguts"

	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

const name = "request-id"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 12015, Version: 0.1, Schema: configSchema, New: compile})
}

// requestID is one compiled config. It is immutable.
type requestID struct {
	field    string
	respond  bool
	generate func() string
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Field     string `json:"header_name"`
		Respond   bool   `json:"include_in_response"`
		Algorithm string `json:"algorithm"`
		Range     struct {
			Characters string `json:"char_set"`
			Length     int    `json:"length"`
		} `json:"range_id"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("request-id: %w", err)
	}
	if !httpguts.ValidHeaderFieldName(c.Field) {
		return nil, fmt.Errorf("property \"header_name\" validation failed: %q is no name of a field", c.Field)
	}
	r := &requestID{field: c.Field, respond: c.Respond, generate: generators[c.Algorithm]}
	if c.Algorithm == "range_id" {
		switch {
		case c.Range.Length > maxLength:
			return nil, fmt.Errorf("property \"range_id\" validation failed: property \"length\" validation failed: expected %d to be at most %d", c.Range.Length, maxLength)
		case !httpguts.ValidHeaderFieldValue(c.Range.Characters):
			return nil, fmt.Errorf("property \"range_id\" validation failed: property \"char_set\" validation failed: a field cannot hold them all")
		}
		r.generate = func() string { return draw(c.Range.Characters, c.Range.Length) }
	}
	return r, nil
}

// maxLength bounds ids, which travel in every request.
const maxLength = 4096

// Rewrite implements gateway.Rewriter. A client's own id is kept.
func (r *requestID) Rewrite(x *gateway.Exchange) gateway.Verdict {
	if x.Request.Header.Get(r.field) == "" {
		x.Request.Header.Set(r.field, r.generate())
	}
	return gateway.Continue
}

// FilterHeader implements gateway.HeaderFilter. A node that has set the field knows better.
func (r *requestID) FilterHeader(x *gateway.Exchange) {
	if !r.respond || x.Response.Header.Get(r.field) != "" {
		return
	}
	if id := x.Request.Header.Get(r.field); id != "" {
		x.Response.Header.Set(r.field, id)
	}
}

var (
	_ gateway.Rewriter     = (*requestID)(nil)
	_ gateway.HeaderFilter = (*requestID)(nil)
)
