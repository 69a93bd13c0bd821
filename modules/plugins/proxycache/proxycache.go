// SPDX-License-Identifier: Apache-2.0

// Package proxycache is APISIX's proxy-cache plugin: it answers requests with responses that nodes gave before.
package proxycache

import (
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/cache"
)

//go:embed schema.json
var configSchema []byte

const name = "proxy-cache"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 1085, Version: 0.2, Schema: configSchema, New: compile})
}

const memory = "memory"

// proxyCache is one compiled config. It is immutable.
type proxyCache struct {
	zone *cache.Zone
	key  []*expr.Template
	// isolated puts who the consumer is before the key.
	isolated        bool
	bypass, noCache []*expr.Template
	methods         []string
	statuses        []int
	fresh           time.Duration
	// obeys takes what requests and responses say about caching into account.
	obeys, requestsToo bool
	cookies, hides     bool
	maxBody            int64
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
	zone := cache.Find(c.Zone)
	switch {
	case zone == nil:
		return nil, fmt.Errorf("cache_zone %s not found", c.Zone)
	case zone.OnDisk() == (c.Strategy == memory):
		return nil, fmt.Errorf("invalid or empty cache_zone for cache_strategy: %s", c.Strategy)
	}
	p := &proxyCache{
		zone: zone, isolated: c.Isolation && !slices.ContainsFunc(c.Key, isIdentity),
		key: templates(c.Key), bypass: templates(c.Bypass), noCache: templates(c.NoCache),
		methods: c.Methods, statuses: c.Statuses, fresh: zone.Fresh(),
		obeys: true, cookies: c.SetCookie, hides: c.Hide, maxBody: c.MaxBody,
	}
	if c.Strategy == memory {
		p.fresh, p.obeys, p.requestsToo = time.Duration(c.TTL)*time.Second, c.Control, c.Control
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

// Blocks implements gateway.Blocker.
func (p *proxyCache) Blocks() bool { return p.zone.OnDisk() }

// keyOf is where responses to the request are kept. POST has keys of its own, as it has other responses.
func (p *proxyCache) keyOf(x *gateway.Exchange) string {
	b := make([]byte, 0, 128)
	if x.Request.Method == "POST" {
		b = append(b, "POST\x00"...)
	}
	if p.isolated {
		b = append(append(b, identity(x)...), 0)
	}
	for _, part := range p.key {
		b = append(part.Append(b, x), 0)
	}
	return string(b)
}

// identity is who the consumer is, or else the name in Basic credentials (RFC 7617).
func identity(x *gateway.Exchange) string {
	if x.Consumer != nil {
		return x.Consumer.Name
	}
	scheme, encoded, _ := strings.Cut(x.Request.Header.Get("Authorization"), " ")
	if !gateway.EqualFold(scheme, "Basic") {
		return ""
	}
	credentials, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	user, _, ok := strings.Cut(string(credentials), ":")
	if err != nil || !ok {
		return ""
	}
	return user
}

// holds reports whether any of the values is neither empty nor "0".
func holds(values []*expr.Template, x *gateway.Exchange) bool {
	return slices.ContainsFunc(values, func(t *expr.Template) bool {
		text := t.String(x)
		return text != "" && text != "0"
	})
}

// visit is what one request has to do with the cache.
type visit struct {
	key string
	// leads says that others may wait for the response.
	leads bool
	// waited says that Access has asked to wait.
	waited bool
	// hit says that the response comes from the cache.
	hit bool
	// storing is the response that is being taken down; nil is none. vary and values are what it depends on.
	storing *cache.Entry
	vary    []string
	values  map[string]string
}

const statusField = "Apisix-Cache-Status"

// Access implements gateway.Accessor.
func (p *proxyCache) Access(x *gateway.Exchange) gateway.Verdict {
	r := &x.Request
	v, _ := (*x.State()).(*visit)
	if v == nil {
		if r.Method == "PURGE" {
			return p.purge(x)
		}
		if !slices.Contains(p.methods, r.Method) {
			return gateway.Continue
		}
		v = &visit{key: p.keyOf(x)}
		*x.State() = v
	}
	asked := p.directives(&r.Header)
	if holds(p.bypass, x) || p.requestsToo && (asked.noStore || asked.noCache) {
		x.Response.Header.Set(statusField, "BYPASS")
		if !p.zone.OnDisk() {
			*x.State() = nil
		}
		return gateway.Continue
	}
	if v.waited {
		p.zone.Await(x.Context(), v.key)
	}
	e := p.zone.Get(v.key, func(name string) string { return valueOf(&r.Header, name) })
	outcome := "MISS"
	now := time.Now()
	switch {
	case e == nil:
	case !p.requestsToo && e.FreshAt(now):
		return p.answer(x, v, e, now)
	case !p.requestsToo:
		outcome = "EXPIRED"
	case asked.accepts(e, now):
		return p.answer(x, v, e, now)
	case e.FreshAt(now):
		outcome = "STALE"
	default:
		outcome = "EXPIRED"
	}
	if p.requestsToo && asked.onlyIfCached {
		return x.Exit(504, nil)
	}
	if r.Method != "HEAD" && !v.waited {
		if v.leads = p.zone.Lead(v.key); !v.leads {
			v.waited = true
			return gateway.Wait
		}
	}
	x.Response.Header.Set(statusField, outcome)
	return gateway.Continue
}

// directives are those of the request, when they count.
func (p *proxyCache) directives(h *gateway.Header) requestDirectives {
	if !p.requestsToo {
		return requestDirectives{}
	}
	return parseRequest(h)
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

// Log implements gateway.Logger: whatever became of the request, nobody waits for it any more.
func (p *proxyCache) Log(x *gateway.Exchange) {
	if v, _ := (*x.State()).(*visit); v != nil {
		p.land(v)
	}
}

func (p *proxyCache) land(v *visit) {
	v.storing = nil
	if v.leads {
		v.leads = false
		p.zone.Land(v.key)
	}
}

// valueOf is what a response may depend on by Vary: the field's values, joined.
func valueOf(h *gateway.Header, name string) string {
	value := strings.Join(slices.Collect(h.Values(name)), ",")
	return strings.Join(strings.Fields(value), "")
}

var (
	_ gateway.Accessor     = (*proxyCache)(nil)
	_ gateway.HeaderFilter = (*proxyCache)(nil)
	_ gateway.BodyFilter   = (*proxyCache)(nil)
	_ gateway.Logger       = (*proxyCache)(nil)
	_ gateway.Blocker      = (*proxyCache)(nil)
)
