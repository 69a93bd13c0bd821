// SPDX-License-Identifier: Apache-2.0

// Package proxycache is APISIX's proxy-cache plugin: it answers requests with responses that nodes gave before.
package proxycache

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

const name = "proxy-cache"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 1085, Version: 0.2, Schema: configSchema, New: compile})
}

// proxyCache is one compiled config. It is immutable.
type proxyCache struct {
	*Responses
	key             []*expr.Template
	bypass, noCache []*expr.Template
	methods         []string
	hides           bool
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Strategy  string   `json:"cache_strategy"`
		Zone      string   `json:"cache_zone"`
		Key       []string `json:"cache_key"`
		Isolation bool     `json:"consumer_isolation"`
		Bypass    []string `json:"cache_bypass"`
		NoCache   []string `json:"no_cache"`
		Methods   []string `json:"cache_method"`
		Statuses  []int    `json:"cache_http_status"`
		TTL       int64    `json:"cache_ttl"`
		Control   bool     `json:"cache_control"`
		SetCookie bool     `json:"cache_set_cookie"`
		Hide      bool     `json:"hide_cache_headers"`
		MaxBody   int64    `json:"max_resp_body_size"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("proxy-cache: %w", err)
	}
	if slices.Contains(c.Key, "$request_method") {
		return nil, fmt.Errorf("cache_key variable $request_method unsupported")
	}
	responses, err := NewResponses(Settings{
		Strategy: c.Strategy, Zone: c.Zone, Statuses: c.Statuses, TTL: time.Duration(c.TTL) * time.Second, Control: c.Control,
		SetCookie: c.SetCookie, Isolated: c.Isolation && !slices.ContainsFunc(c.Key, isIdentity), MaxBody: c.MaxBody,
	})
	if err != nil {
		return nil, err
	}
	p := &proxyCache{
		Responses: responses, key: templates(c.Key), bypass: templates(c.Bypass), noCache: templates(c.NoCache),
		methods: c.Methods, hides: c.Hide,
	}
	if len(p.noCache) > 0 {
		responses.refuses = func(x *gateway.Exchange) bool { return holds(p.noCache, x) }
	}
	return p, nil
}

func templates(texts []string) []*expr.Template {
	list := make([]*expr.Template, len(texts))
	for i, text := range texts {
		list[i] = expr.ParseTemplate(text)
	}
	return list
}

// isIdentity reports whether a part of the key says already who the consumer is.
func isIdentity(part string) bool {
	switch part {
	case "$consumer_name", "$consumer_group_id", "$remote_user", "$http_authorization", "$credential_identifier":
		return true
	}
	return false
}

// keyOf is where responses to the request are kept. POST has keys of its own, as it has other responses.
func (p *proxyCache) keyOf(x *gateway.Exchange) string {
	b := make([]byte, 0, 128)
	if x.Request.Method == "POST" {
		b = append(b, "POST\x00"...)
	}
	if p.isolated {
		b = append(append(b, Identity(x)...), 0)
	}
	for _, part := range p.key {
		b = append(part.Append(b, x), 0)
	}
	return string(b)
}

// holds reports whether any of the values is neither empty nor "0".
func holds(values []*expr.Template, x *gateway.Exchange) bool {
	return slices.ContainsFunc(values, func(t *expr.Template) bool {
		text := t.String(x)
		return text != "" && text != "0"
	})
}

// Access implements gateway.Accessor.
func (p *proxyCache) Access(x *gateway.Exchange) gateway.Verdict {
	r := &x.Request
	if p.Waited(x) {
		return p.Answer(x, "")
	}
	if r.Method == "PURGE" {
		return p.purge(x)
	}
	if !slices.Contains(p.methods, r.Method) {
		return gateway.Continue
	}
	asked := p.directives(&r.Header)
	if holds(p.bypass, x) || p.requestsToo && (asked.noStore || asked.noCache) {
		// What is on disk is renewed all the same.
		if p.zone.OnDisk() {
			*x.State() = &visit{key: p.keyOf(x)}
		}
		return p.Bypass(x)
	}
	return p.Answer(x, p.keyOf(x))
}

// FilterHeader implements gateway.HeaderFilter.
func (p *proxyCache) FilterHeader(x *gateway.Exchange) {
	p.Responses.FilterHeader(x)
	if p.hides {
		x.Response.Header.Del("Cache-Control")
		x.Response.Header.Del("Expires")
	}
}

// purge forgets what there is for the request.
func (p *proxyCache) purge(x *gateway.Exchange) gateway.Verdict {
	found := p.zone.Remove(p.keyOf(x))
	if slices.Contains(p.methods, "POST") {
		x.Request.Method = "POST"
		found = p.zone.Remove(p.keyOf(x)) || found
		x.Request.Method = "PURGE"
	}
	if found {
		return x.Exit(200, nil)
	}
	return x.Exit(404, nil)
}

var (
	_ gateway.Accessor     = (*proxyCache)(nil)
	_ gateway.HeaderFilter = (*proxyCache)(nil)
	_ gateway.BodyFilter   = (*proxyCache)(nil)
	_ gateway.Logger       = (*proxyCache)(nil)
	_ gateway.Blocker      = (*proxyCache)(nil)
)
