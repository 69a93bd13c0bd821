// SPDX-License-Identifier: Apache-2.0

// Package mocking is APISIX's mocking plugin: it answers in the place of nodes that are yet to be written.
package mocking

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/fields"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

const name = "mocking"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 10900, Version: 0.1, Blocking: true, Schema: configSchema, New: compile,
	})
}

var errContentType = errors.New("unsupported content type!")

// mock is one compiled config. It is immutable.
type mock struct {
	delay       time.Duration
	status      int
	contentType string
	signed      bool
	fields      []fields.Field
	// example is nil when the body is made up after shape, and written by write; nil writes none.
	example *expr.Template
	shape   *shape
	write   func(value any) []byte
	// constant is an example without variables.
	constant []byte
}

// maxDelay is longer than anybody waits.
const maxDelay = 24 * 60 * 60

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Delay       int64           `json:"delay"`
		Status      int             `json:"response_status"`
		ContentType string          `json:"content_type"`
		Example     *string         `json:"response_example"`
		Schema      json.RawMessage `json:"response_schema"`
		Signed      bool            `json:"with_mock_header"`
		Headers     json.RawMessage `json:"response_headers"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("mocking: %w", err)
	}
	if err := reply.CheckStatus("response_status", c.Status); err != nil {
		return nil, err
	}
	kind, _, _ := strings.Cut(c.ContentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	m := &mock{
		delay:  time.Duration(min(max(c.Delay, 0), maxDelay)) * time.Second,
		status: c.Status, contentType: c.ContentType, signed: c.Signed,
	}
	switch kind {
	case "application/json", "text/plain":
		m.write = writeJSON
	case "application/xml", "text/xml":
		m.write = writeXML
	case "text/html":
	default:
		return nil, errContentType
	}
	if !httpguts.ValidHeaderFieldValue(c.ContentType) {
		return nil, errContentType
	}
	var err error
	if m.fields, err = fields.CompileResponse(c.Headers); err != nil {
		return nil, err
	}
	if c.Example == nil {
		m.shape, err = compileShape(c.Schema)
		return m, err
	}
	m.example = expr.ParseTemplate(*c.Example)
	if text, ok := m.example.Const(); ok {
		m.constant = []byte(text)
	}
	return m, nil
}

// Blocks implements gateway.Blocker.
func (m *mock) Blocks() bool { return m.delay > 0 }

const mockedBy = "APISIX/" + gateway.CompatibleVersion

// Access implements gateway.Accessor.
func (m *mock) Access(x *gateway.Exchange) gateway.Verdict {
	if m.delay > 0 && !m.sleep(x) {
		return x.Exit(clientGone, nil)
	}
	h := &x.Response.Header
	h.Set("Content-Type", m.contentType)
	if m.signed {
		h.Set("x-mock-by", mockedBy)
	}
	for i := range m.fields {
		m.fields[i].SetResponse(x)
	}
	return x.Exit(m.status, m.body(x))
}

// body returns what is never nil, since that would be the status page.
func (m *mock) body(x *gateway.Exchange) []byte {
	switch {
	case m.constant != nil:
		return m.constant
	case m.example != nil:
		return m.example.Append([]byte{}, x)
	case m.write == nil:
		return []byte{}
	}
	return m.write(m.shape.makeUp())
}

// clientGone is nginx's status for a client that did not wait; nobody is there to read it.
const clientGone = 499

// sleep returns false when the client has gone.
func (m *mock) sleep(x *gateway.Exchange) bool {
	timer := time.NewTimer(m.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-x.Context().Done():
		return false
	}
}

var (
	_ gateway.Accessor = (*mock)(nil)
	_ gateway.Blocker  = (*mock)(nil)
)
