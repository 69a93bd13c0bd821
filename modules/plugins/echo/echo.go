// SPDX-License-Identifier: Apache-2.0

// Package echo is APISIX's echo plugin: it puts text around responses or in their place, to try things out.
package echo

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/fields"
)

//go:embed schema.json
var configSchema []byte

const name = "echo"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 412, Version: 0.1, Schema: configSchema, New: compile})
}

// echo is one compiled config. It is immutable.
type echo struct {
	before, after []byte
	// whole is what the whole response is replaced with, replaces that it is.
	whole    []byte
	replaces bool
	fields   []fields.Field
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Before  string          `json:"before_body"`
		Body    *string         `json:"body"`
		After   string          `json:"after_body"`
		Headers json.RawMessage `json:"headers"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("echo: %w", err)
	}
	e := &echo{before: []byte(c.Before), after: []byte(c.After)}
	if c.Body != nil {
		e.replaces, e.whole = true, []byte(c.Before+*c.Body+c.After)
	}
	var err error
	e.fields, err = fields.CompileResponse(c.Headers)
	return e, err
}

// begun is what State holds once something was sent.
var begun = new(struct{ _ byte })

// FilterHeader implements gateway.HeaderFilter.
func (e *echo) FilterHeader(x *gateway.Exchange) {
	x.Response.ClearBodyFields()
	for i := range e.fields {
		e.fields[i].SetResponse(x)
	}
}

// FilterBody implements gateway.BodyFilter.
func (e *echo) FilterBody(x *gateway.Exchange, chunk []byte, last bool) []byte {
	first := *x.State() == nil
	*x.State() = begun
	switch {
	case e.replaces && first:
		return e.whole
	case e.replaces:
		return nil
	case first && len(e.before) > 0 || last && len(e.after) > 0:
		framed := make([]byte, 0, len(e.before)+len(chunk)+len(e.after))
		if first {
			framed = append(framed, e.before...)
		}
		framed = append(framed, chunk...)
		if last {
			framed = append(framed, e.after...)
		}
		return framed
	}
	return chunk
}

var (
	_ gateway.HeaderFilter = (*echo)(nil)
	_ gateway.BodyFilter   = (*echo)(nil)
)
