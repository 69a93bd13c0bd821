// SPDX-License-Identifier: Apache-2.0

package proxycache

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/cache"
)

// FilterHeader implements gateway.HeaderFilter: it begins to take a response down, if it may be kept.
func (p *Responses) FilterHeader(x *gateway.Exchange) {
	if v := visitOf(x); v != nil && !v.hit {
		if p.begin(x, v); v.storing == nil {
			p.land(v)
		}
	}
}

// begin settles whether a response is kept, and for how long.
func (p *Responses) begin(x *gateway.Exchange, v *visit) {
	r, h := &x.Response, &x.Response.Header
	if !r.FromNode || x.Request.Method == "HEAD" || r.Status == 206 || !slices.Contains(p.statuses, r.Status) || p.refuses != nil && p.refuses(x) {
		return
	}
	now := time.Now()
	said := parseResponse(h, now)
	fresh := p.fresh
	if p.obeys && said.given {
		fresh = said.fresh
	}
	_, cookies := h.Lookup("Set-Cookie")
	_, credentials := x.Request.Header.Lookup("Authorization")
	length, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	vary, everything := varyOf(h)
	switch {
	case said.forbidden, fresh <= 0, everything, cookies && !p.cookies, err == nil && length > p.maxBody:
		return
	case credentials && !said.shareable && !(p.isolated && Identity(x) != ""):
		// RFC 9111 section 3.5: it is for whoever has these credentials alone.
		return
	}
	e := &cache.Entry{Status: r.Status, Stored: now, Fresh: fresh, Body: []byte{}}
	for name, value := range h.All() {
		if !x.SetBefore(name) && !ownField(name) {
			e.Fields = append(e.Fields, cache.Field{Name: strings.Clone(name), Value: strings.Clone(value)})
		}
	}
	v.storing, v.vary = e, vary
	if len(vary) > 0 {
		v.values = make(map[string]string, len(vary))
		for _, name := range vary {
			v.values[name] = strings.Clone(valueOf(&x.Request.Header, name))
		}
	}
	if r.Status == 204 {
		p.keep(v)
	}
}

// varyOf returns the fields of the request that the response depends on. What is compressed depends on what the client
// takes, whether it says so or not.
func varyOf(h *gateway.Header) (names []string, everything bool) {
	for field := range h.Values("Vary") {
		for name := range strings.SplitSeq(field, ",") {
			name = strings.ToLower(strings.TrimSpace(name))
			switch name {
			case "":
			case "*":
				return nil, true
			default:
				names = append(names, name)
			}
		}
	}
	if h.Get("Content-Encoding") != "" {
		names = append(names, "accept-encoding")
	}
	slices.Sort(names)
	return slices.Compact(names), false
}

// ownField reports whether a field is the gateway's, or is made anew with every response.
func ownField(name string) bool {
	for _, own := range [...]string{"Age", "Content-Length", "Server", statusField, "X-APISIX-Upstream-Status", "X-Accel-Expires"} {
		if gateway.EqualFold(name, own) {
			return true
		}
	}
	return false
}

// FilterBody implements gateway.BodyFilter. It changes nothing.
func (p *Responses) FilterBody(x *gateway.Exchange, chunk []byte, last bool) []byte {
	v := visitOf(x)
	if v == nil || v.storing == nil {
		return chunk
	}
	if int64(len(v.storing.Body)+len(chunk)) > p.maxBody {
		p.land(v)
		return chunk
	}
	v.storing.Body = append(v.storing.Body, chunk...)
	if last {
		p.keep(v)
	}
	return chunk
}

// keep stores a response that is complete. Whoever waits for it then finds it.
func (p *Responses) keep(v *visit) {
	e, key, vary, values, leads := v.storing, v.key, v.vary, v.values, v.leads
	v.storing, v.leads = nil, false
	store := func() {
		p.zone.Put(key, e, vary, func(name string) string { return values[name] })
		if leads {
			p.zone.Land(key)
		}
	}
	if p.zone.OnDisk() {
		go store()
		return
	}
	store()
}
