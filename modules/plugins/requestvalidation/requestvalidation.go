// SPDX-License-Identifier: Apache-2.0

// Package requestvalidation is APISIX's request-validation plugin: it holds header and body to JSON Schemas.
package requestvalidation

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

const name = "request-validation"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 2800, Version: 0.1, Schema: configSchema, New: compile})
}

// validation is one compiled config. It is immutable. Either schema may be nil.
type validation struct {
	header *headerSchema
	body   *schema.Schema
	status int
	// message is what refusals say; nil is what is wrong.
	message []byte
	max     int64
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Header  json.RawMessage `json:"header_schema"`
		Body    json.RawMessage `json:"body_schema"`
		Status  int             `json:"rejected_code"`
		Message string          `json:"rejected_msg"`
		Max     int64           `json:"max_req_body_size"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("request-validation: %w", err)
	}
	if err := reply.CheckStatus("rejected_code", c.Status); err != nil {
		return nil, err
	}
	v := &validation{status: c.Status, max: c.Max}
	if c.Message != "" {
		v.message = []byte(c.Message)
	}
	var err error
	if c.Header != nil {
		if v.header, err = compileHeader(c.Header); err != nil {
			return nil, fmt.Errorf("header_schema: %w", err)
		}
	}
	if c.Body != nil {
		if v.body, err = schema.Compile(c.Body); err != nil {
			return nil, fmt.Errorf("body_schema: %w", err)
		}
	}
	return v, nil
}

// ReadsBody implements gateway.BodyReader.
func (v *validation) ReadsBody() int64 {
	if v.body == nil {
		return 0
	}
	return v.max
}

// Rewrite implements gateway.Rewriter.
func (v *validation) Rewrite(x *gateway.Exchange) gateway.Verdict {
	if v.header != nil {
		if err := v.header.check(x); err != nil {
			return v.refuse(x, err)
		}
	}
	if v.body != nil {
		if err := v.checkBody(x); err != nil {
			return v.refuse(x, err)
		}
	}
	return gateway.Continue
}

func (v *validation) refuse(x *gateway.Exchange, err error) gateway.Verdict {
	body := v.message
	if body == nil {
		body = []byte(err.Error())
	}
	return x.Exit(v.status, body)
}

var errNoBody = errors.New("the request has no body")

// checkBody checks the body, and has JSON forwarded as it was understood: of two members with one name the node must not
// take the one that nobody has looked at.
func (v *validation) checkBody(x *gateway.Exchange) error {
	raw, err := x.Body()
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge):
		return fmt.Errorf("the request body is longer than %d bytes", v.max)
	case err != nil:
		return err
	case len(raw) == 0:
		return errNoBody
	}
	if isForm(x.Request.Header.Get("Content-Type")) {
		_, err = v.body.Apply(decodeForm(string(raw)))
		return err
	}
	value, err := schema.Decode(raw)
	if err != nil {
		return fmt.Errorf("the request body is no JSON: %w", err)
	}
	if value, err = v.body.Apply(value); err != nil {
		return err
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	x.ReplaceBody(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	return nil
}

var (
	_ gateway.Rewriter   = (*validation)(nil)
	_ gateway.BodyReader = (*validation)(nil)
)
