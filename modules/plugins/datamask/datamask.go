// SPDX-License-Identifier: Apache-2.0

// Package datamask is APISIX's data-mask plugin: it keeps secrets of requests out of what loggers write.
package datamask

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

const name = "data-mask"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 1500, Version: 0.1, Schema: configSchema, New: compile})
}

// mask is one compiled config. It is immutable.
type mask struct {
	query, header, form []rule
	json                []rule
	// maxBody bounds the JSON that is looked at, and maxArgs the arguments of a form; 0 is no bound of those.
	maxBody, maxArgs int
}

// rule says what becomes of the values of one name.
type rule struct {
	name string
	// path is where a rule for JSON leads.
	path   []step
	change func(value string) (changed string, keep bool)
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Request []struct {
			Type, Name, Action, Regex, Value string
			Format                           string `json:"body_format"`
		} `json:"request"`
		MaxBody int `json:"max_body_size"`
		MaxArgs int `json:"max_req_post_args"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("data-mask: %w", err)
	}
	m := &mask{maxBody: c.MaxBody, maxArgs: c.MaxArgs}
	for _, item := range c.Request {
		r := rule{name: item.Name}
		switch item.Action {
		case "remove":
			r.change = func(string) (string, bool) { return "", false }
		case "replace":
			r.change = func(string) (string, bool) { return item.Value, true }
		case "regex":
			pattern, err := expr.CompilePattern(item.Regex, false)
			if err != nil {
				return nil, err
			}
			r.change = substitute(pattern, expr.ParseReplacement(item.Value))
		}
		switch {
		case item.Type == "query":
			m.query = append(m.query, r)
		case item.Type == "header":
			m.header = append(m.header, r)
		case item.Format == "urlencoded":
			m.form = append(m.form, r)
		default:
			var err error
			if r.path, err = parsePath(item.Name); err != nil {
				return nil, fmt.Errorf("invalid JSONPath %q: %w", item.Name, err)
			}
			m.json = append(m.json, r)
		}
	}
	return m, nil
}

// substitute makes a change by pattern. A value that cannot be searched in time is left out: it might hold the secret.
func substitute(pattern *expr.Pattern, with *expr.Replacement) func(string) (string, bool) {
	return func(value string) (string, bool) {
		changed, _, err := pattern.Replace(value, with)
		if err != nil {
			return "", true
		}
		return changed, true
	}
}

// Log implements gateway.Logger. It comes before the loggers of the same chain and changes what they see; the node has
// been sent the request as it was.
func (m *mask) Log(x *gateway.Exchange) {
	r := &x.Request
	if len(m.query) > 0 {
		if masked, changed := maskArgs(r.Query, m.query, 0); changed {
			r.Query = masked
			r.Target = r.EscapedPath
			if masked != "" {
				r.Target += "?" + masked
			}
		}
		if path, query, ok := strings.Cut(x.Forward.Target, "?"); ok {
			if masked, changed := maskArgs(query, m.query, 0); changed {
				x.Forward.Target = path + "?" + masked
			}
		}
	}
	for i := range m.header {
		m.header[i].maskField(&r.Header)
	}
	m.maskBody(x)
}

func (r *rule) maskField(h *gateway.Header) {
	if _, ok := h.Lookup(r.name); !ok {
		return
	}
	var kept []string
	for value := range h.Values(r.name) {
		if changed, keep := r.change(value); keep {
			kept = append(kept, changed)
		}
	}
	h.Del(r.name)
	for _, value := range kept {
		h.Add(r.name, value)
	}
}

// maskBody changes the body if somebody has had it read: nobody can log one that was not.
func (m *mask) maskBody(x *gateway.Exchange) {
	body, ok := x.BodyBuffered()
	if !ok || len(body) == 0 {
		return
	}
	switch {
	case len(m.form) > 0 && isForm(x.Request.Header.Get("Content-Type")):
		if masked, changed := maskArgs(string(body), m.form, m.maxArgs); changed {
			x.SetBody([]byte(masked), nil)
		}
	case len(m.json) > 0:
		if masked, changed := m.maskJSON(body); changed {
			x.SetBody(masked, nil)
		}
	}
}

func isForm(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	return gateway.EqualFold(strings.Trim(kind, " \t"), "application/x-www-form-urlencoded")
}

var _ gateway.Logger = (*mask)(nil)
