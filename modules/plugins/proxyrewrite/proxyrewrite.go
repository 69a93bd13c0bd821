// SPDX-License-Identifier: Apache-2.0

// Package proxyrewrite is APISIX's proxy-rewrite plugin: it changes the request that the node is sent.
package proxyrewrite

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/fields"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

const name = "proxy-rewrite"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 1008, Version: 0.1, Schema: configSchema, New: compile})
}

// rewrite is one compiled config. It is immutable.
type rewrite struct {
	log          func() *zap.Logger
	method, host string
	// Of the next two one is set at most. unsafe starts from the target as it was received.
	uri      *uriTemplate
	patterns []pathPattern
	unsafe   bool

	add, set []fields.Field
	remove   []string
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		URI      string          `json:"uri"`
		RegexURI []string        `json:"regex_uri"`
		Host     string          `json:"host"`
		Method   string          `json:"method"`
		Headers  json.RawMessage `json:"headers"`
		Unsafe   bool            `json:"use_real_request_uri_unsafe"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("proxy-rewrite: %w", err)
	}
	r := &rewrite{log: env.Log, method: c.Method, host: c.Host, unsafe: c.Unsafe}
	patterns, err := compilePatterns(c.RegexURI)
	if err != nil {
		return nil, err
	}
	if c.URI != "" {
		r.uri = parseURI(c.URI)
	} else {
		r.patterns = patterns
	}
	return r, r.compileHeaders(c.Headers)
}

// compileHeaders reads `headers`: an object with objects or lists under add, set or remove is the newer form; any other has
// fields to set.
func (r *rewrite) compileHeaders(raw json.RawMessage) (err error) {
	if len(raw) == 0 {
		return nil
	}
	var form map[string]json.RawMessage
	if err := json.Unmarshal(raw, &form); err != nil {
		return fmt.Errorf("headers: %w", err)
	}
	if !structured(form["add"]) && !structured(form["set"]) && !structured(form["remove"]) {
		r.set, err = fields.Compile(raw)
		return err
	}
	if r.add, err = fields.Compile(form["add"]); err != nil {
		return err
	}
	if r.set, err = fields.Compile(form["set"]); err != nil {
		return err
	}
	if len(form["remove"]) > 0 {
		return json.Unmarshal(form["remove"], &r.remove)
	}
	return nil
}

func structured(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) > 0 && (raw[0] == '{' || raw[0] == '[')
}

// Rewrite implements gateway.Rewriter.
func (r *rewrite) Rewrite(x *gateway.Exchange) gateway.Verdict {
	if r.host != "" {
		x.Forward.Host = r.host
	}
	if r.method != "" {
		x.Forward.Method = r.method
	}
	match, err := r.rewriteTarget(x)
	if err != nil {
		r.log().Error("proxy-rewrite: the path cannot be rewritten", zap.Error(err))
		return x.Exit(500, reply.JSON("error_msg", err.Error()))
	}
	for i := range r.add {
		r.add[i].AddRequest(x, match)
	}
	for i := range r.set {
		r.set[i].SetRequest(x, match)
	}
	for _, name := range r.remove {
		x.Request.Header.Del(name)
	}
	return gateway.Continue
}

var _ gateway.Rewriter = (*rewrite)(nil)
