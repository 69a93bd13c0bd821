// SPDX-License-Identifier: Apache-2.0

// Package redirect is APISIX's redirect plugin: it sends clients somewhere else.
package redirect

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/fields"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

const name = "redirect"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 900, Version: 0.1, Schema: configSchema, New: compile})
}

var errBoth = errors.New("only one of `http_to_https` and `append_query_string` can be configured.")

// redirect is one compiled config. It is immutable.
type redirect struct {
	status int
	// One of these is set.
	uri     *expr.Template
	pattern *expr.Pattern
	secure  bool

	with *expr.Replacement
	// encodes percent-encodes the path, and appends adds the request's query.
	encodes, appends bool
	// constant is where to when that is always the same.
	constant string
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		URI     *string  `json:"uri"`
		Regex   []string `json:"regex_uri"`
		Secure  bool     `json:"http_to_https"`
		Status  int      `json:"ret_code"`
		Encodes bool     `json:"encode_uri"`
		Appends bool     `json:"append_query_string"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("redirect: %w", err)
	}
	r := &redirect{status: c.Status, secure: c.Secure, encodes: c.Encodes, appends: c.Appends}
	if err := reply.CheckStatus("ret_code", c.Status); err != nil {
		return nil, err
	}
	if c.Secure && c.Appends {
		return nil, errBoth
	}
	switch {
	case c.URI != nil:
		r.uri = expr.ParseTemplate(*c.URI)
		if text, ok := r.uri.Const(); ok && !r.appends {
			r.constant = r.location(text, "")
		}
	case len(c.Regex) == 2:
		var err error
		if r.pattern, err = expr.CompilePattern(c.Regex[0], false); err != nil {
			return nil, fmt.Errorf("invalid regex_uri (%s, %s), err:%w", c.Regex[0], c.Regex[1], err)
		}
		r.with = expr.ParseReplacement(c.Regex[1])
	}
	return r, nil
}

// Rewrite implements gateway.Rewriter.
func (r *redirect) Rewrite(x *gateway.Exchange) gateway.Verdict {
	q := &x.Request
	switch {
	case r.constant != "":
		return r.exit(x, r.status, r.constant)
	case r.uri != nil:
		return r.exit(x, r.status, r.location(r.uri.String(x), q.Query))
	case r.pattern != nil:
		text, match, err := r.pattern.Replace(q.Path, r.with)
		switch {
		case err != nil:
			return x.Exit(500, nil)
		case match == nil:
			return gateway.Continue
		}
		return r.exit(x, r.status, r.location(text, q.Query))
	case r.secure:
		return r.toHTTPS(x)
	}
	return gateway.Continue
}

// toHTTPS believes X-Forwarded-Proto, which is the gateway's own unless a trusted proxy sent it.
func (r *redirect) toHTTPS(x *gateway.Exchange) gateway.Verdict {
	q := &x.Request
	scheme := q.Header.Get("X-Forwarded-Proto")
	if scheme == "" {
		scheme = q.Scheme
	}
	if scheme != "http" || q.Host == "" {
		return gateway.Continue
	}
	status := 308
	if q.Method == "GET" || q.Method == "HEAD" {
		status = 301
	}
	return r.exit(x, status, string(fields.AppendURI(nil, "https://"+q.Host+q.RequestURI())))
}

func (r *redirect) exit(x *gateway.Exchange, status int, location string) gateway.Verdict {
	x.Response.Header.Set("Location", location)
	return x.Exit(status, nil)
}

// location makes a URI of text: whatever variables have brought along, it is one line and no other host's name begins with
// what browsers take for a slash.
func (r *redirect) location(text, query string) string {
	path, rest, hasQuery := strings.Cut(text, "?")
	var uri []byte
	if r.encodes {
		uri = fields.AppendPath(nil, path)
	} else {
		uri = fields.AppendURI(nil, path)
	}
	if hasQuery {
		uri = fields.AppendURI(append(uri, '?'), rest)
	}
	if r.appends && query != "" {
		separator := byte('?')
		if hasQuery {
			separator = '&'
		}
		uri = append(append(uri, separator), query...)
	}
	return string(uri)
}

var _ gateway.Rewriter = (*redirect)(nil)
