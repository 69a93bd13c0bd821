// SPDX-License-Identifier: Apache-2.0

// Package uriblocker is APISIX's uri-blocker plugin: it refuses requests whose path or query look like an attack.
package uriblocker

import (
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

const name = "uri-blocker"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 2900, Version: 0.1, Schema: configSchema, New: compile})
}

// blocker is one compiled config. It is immutable.
type blocker struct {
	rules  *expr.PatternSet
	status int
	// body is nil for the status page.
	body []byte
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Rules    []string `json:"block_rules"`
		Status   int      `json:"rejected_code"`
		Message  string   `json:"rejected_msg"`
		FoldCase bool     `json:"case_insensitive"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("uri-blocker: %w", err)
	}
	b := &blocker{status: c.Status}
	if c.Message != "" {
		b.body = reply.JSON("error_msg", c.Message)
	}
	if err := reply.CheckStatus("rejected_code", c.Status); err != nil {
		return nil, err
	}
	var err error
	b.rules, err = expr.CompilePatternSet(c.Rules, c.FoldCase)
	return b, err
}

// Rewrite implements gateway.Rewriter. Where percent-encoding makes a difference both spellings are searched: what a rule
// is about must not get past it in the other one.
func (b *blocker) Rewrite(x *gateway.Exchange) gateway.Verdict {
	r := &x.Request
	if b.blocks(r.RequestURI()) {
		return x.Exit(b.status, b.body)
	}
	if r.Path != r.EscapedPath {
		decoded := r.Path
		if r.Query != "" {
			decoded += "?" + r.Query
		}
		if b.blocks(decoded) {
			return x.Exit(b.status, b.body)
		}
	}
	return gateway.Continue
}

// blocks takes a search that did not end in time for a match, or else slowness would be the way past.
func (b *blocker) blocks(uri string) bool {
	found, err := b.rules.Search(uri)
	return found || err != nil
}

var _ gateway.Rewriter = (*blocker)(nil)
