// SPDX-License-Identifier: Apache-2.0

package proxycache

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/cache"
)

// Settings are what is to be said of what a config keeps.
type Settings struct {
	// Strategy is "disk" or "memory", as the zone has to be.
	Strategy, Zone string
	// Statuses are those of responses that are kept.
	Statuses []int
	// TTL is how long a response in memory is fresh.
	TTL time.Duration
	// Control heeds Cache-Control in memory; on disk it is heeded anyway.
	Control bool
	// SetCookie keeps responses that set cookies.
	SetCookie bool
	// Isolated says that keys have who the consumer is in them.
	Isolated bool
	// MaxBody is the longest body that is kept.
	MaxBody int64
}

// Responses are what a config keeps of what nodes answer: all of proxy-cache but what makes the keys, for other plugins that
// cache. It is immutable, and implements the hooks but Access for the plugin it is part of.
type Responses struct {
	zone     *cache.Zone
	isolated bool
	statuses []int
	fresh    time.Duration
	// obeys takes what responses say about caching into account, and requestsToo what requests say.
	obeys, requestsToo bool
	cookies            bool
	maxBody            int64
	// refuses, when not nil, keeps a response out.
	refuses gateway.Predicate
}

const memory = "memory"

// NewResponses finds the zone. The error is for whoever writes the config.
func NewResponses(s Settings) (*Responses, error) {
	zone := cache.Find(s.Zone)
	switch {
	case zone == nil:
		return nil, fmt.Errorf("cache_zone %s not found", s.Zone)
	case zone.OnDisk() == (s.Strategy == memory):
		return nil, fmt.Errorf("invalid or empty cache_zone for cache_strategy: %s", s.Strategy)
	}
	r := &Responses{
		zone: zone, isolated: s.Isolated, statuses: s.Statuses, fresh: zone.Fresh(), obeys: true, cookies: s.SetCookie, maxBody: s.MaxBody,
	}
	if s.Strategy == memory {
		r.fresh, r.obeys, r.requestsToo = s.TTL, s.Control, s.Control
	}
	return r, nil
}

// Zone is where the responses are.
func (p *Responses) Zone() *cache.Zone { return p.zone }

// Blocks implements gateway.Blocker.
func (p *Responses) Blocks() bool { return p.zone.OnDisk() }

// Identity is who the consumer is, or else the name in Basic credentials (RFC 7617).
func Identity(x *gateway.Exchange) string {
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

// visitOf returns what a request has to do with the cache so far; nil is nothing.
func visitOf(x *gateway.Exchange) *visit {
	v, _ := (*x.State()).(*visit)
	return v
}

const statusField = "Apisix-Cache-Status"

// Waited reports whether the request has waited for somebody else's response: Access is called the second time.
func (p *Responses) Waited(x *gateway.Exchange) bool {
	v := visitOf(x)
	return v != nil && v.waited
}

// Bypass lets a request pass without looking.
func (p *Responses) Bypass(x *gateway.Exchange) gateway.Verdict {
	x.Response.Header.Set(statusField, "BYPASS")
	return gateway.Continue
}

// Answer answers the request with what is kept for the key, or lets it pass and keeps what it brings. It may return
// gateway.Wait; the key counts the first time only.
func (p *Responses) Answer(x *gateway.Exchange, key string) gateway.Verdict {
	v := visitOf(x)
	if v == nil {
		v = &visit{key: key}
		*x.State() = v
	}
	r := &x.Request
	asked := p.directives(&r.Header)
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
func (p *Responses) directives(h *gateway.Header) requestDirectives {
	if !p.requestsToo {
		return requestDirectives{}
	}
	return parseRequest(h)
}

// Log implements gateway.Logger: whatever became of the request, nobody waits for it any more.
func (p *Responses) Log(x *gateway.Exchange) {
	if v := visitOf(x); v != nil {
		p.land(v)
	}
}

func (p *Responses) land(v *visit) {
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
	_ gateway.HeaderFilter = (*Responses)(nil)
	_ gateway.BodyFilter   = (*Responses)(nil)
	_ gateway.Logger       = (*Responses)(nil)
	_ gateway.Blocker      = (*Responses)(nil)
)
