// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	andocaddy "github.com/andogate/ando/modules/caddy"
	"github.com/andogate/ando/modules/gateway"
)

// site is what the routes of one site block take from its addresses.
type site struct {
	// label begins the ids of its routes.
	label string
	// hosts are its host names; none when one of its addresses is for any host.
	hosts []string
	// unknown is why its hosts cannot be told.
	unknown error
}

// routeIDs are the ids that routes have got so far, each with its place. One is kept for all sites of a Caddyfile.
type routeIDs map[string]string

const routeIDsState = "ando.route_ids"

// parseSite reads the directive of a site:
//
//	ando [<matcher>] {
//		route <path...> { ... }
//		service|upstream|plugin_config <id> { ... }
//	}
func parseSite(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	ids, ok := h.State[routeIDsState].(routeIDs)
	if !ok {
		ids = routeIDs{}
		h.State[routeIDsState] = ids
	}
	site := siteOf(h)
	handler := new(andocaddy.Handler)
	for nesting := h.Nesting(); h.NextBlock(nesting); {
		var o andocaddy.Declared
		var err error
		switch h.Val() {
		case "route":
			o, err = parseRoute(h.Dispenser, site, ids)
		case "service", "upstream", "plugin_config":
			o, err = parseNamed(h.Dispenser)
		default:
			err = unknown(h.Dispenser, "ando", []string{"route", "service", "upstream", "plugin_config"})
		}
		if err != nil {
			return nil, err
		}
		handler.Objects = append(handler.Objects, o)
	}
	return handler, nil
}

// parseRoute reads `route PATH...` with its block. Without hosts of its own it takes the site's.
func parseRoute(d *caddyfile.Dispenser, site site, ids routeIDs) (andocaddy.Declared, error) {
	start := d.Token()
	o := object{}
	paths := d.RemainingArgs()
	switch len(paths) {
	case 0:
		return andocaddy.Declared{}, d.Errf("route takes one or more paths, such as /orders/*")
	case 1:
		o["uri"] = paths[0]
	default:
		o["uris"] = paths
	}
	where := "route " + paths[0]
	if err := routeFields.read(d, where, o); err != nil {
		return andocaddy.Declared{}, err
	}
	if !slices.ContainsFunc([]string{"upstream", "upstream_id", "service_id", "plugins"}, o.has) {
		return andocaddy.Declared{}, at(start).Errf("%s: it needs an upstream, upstream_id, service_id or plugin", where)
	}
	if !o.has("hosts") {
		if site.unknown != nil {
			return andocaddy.Declared{}, at(start).Errf("%s: %w; name the hosts of the route with hosts", where, site.unknown)
		}
		if len(site.hosts) > 0 {
			o["hosts"] = site.hosts
		}
	}
	id, given := o["id"].(string)
	if !given {
		id = ids.choose(site.label, paths[0])
	}
	place := fmt.Sprintf("%s:%d", start.File, start.Line)
	if other, taken := ids[id]; taken {
		return andocaddy.Declared{}, at(start).Errf("%s: the id %s is taken by the route at %s", where, id, other)
	}
	ids[id] = place
	delete(o, "id")
	return declare(start, where, gateway.Routes, id, o)
}

// choose makes the id of a route that has none: it says where the route is from, and stays the same when others come and
// go before it.
func (ids routeIDs) choose(label, path string) string {
	const longest = 64 - len("-0123456789")
	id := slug(label + "-" + path)
	if len(id) > longest {
		sum := sha256.Sum256([]byte(id))
		id = id[:longest-9] + "-" + hex.EncodeToString(sum[:4])
	}
	if _, taken := ids[id]; !taken {
		return id
	}
	for n := 2; ; n++ {
		numbered := fmt.Sprintf("%s-%d", id, n)
		if _, taken := ids[numbered]; !taken {
			return numbered
		}
	}
}

// slug makes text an id: everything that an id cannot hold becomes one dash.
func slug(text string) string {
	words := strings.FieldsFunc(text, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && r != '.' && r != '_'
	})
	if len(words) == 0 {
		return "route"
	}
	return strings.Join(words, "-")
}

// siteOf finds out about the site block that a directive stands in.
func siteOf(h httpcaddyfile.Helper) site {
	if h.IsNamedRoute() {
		return site{unknown: fmt.Errorf("a named route belongs to no site")}
	}
	keys, err := siteKeys(h)
	if err != nil {
		return site{unknown: err}
	}
	s := site{}
	anyHost := false
	for _, key := range keys {
		address, err := httpcaddyfile.ParseAddress(key)
		if err != nil {
			return site{unknown: err}
		}
		host := strings.ToLower(address.Host)
		if s.label == "" {
			s.label = host
			if host == "" {
				s.label = address.Port
			}
		}
		switch {
		case host == "":
			anyHost = true
		case strings.ContainsAny(host, "{}"):
			return site{label: s.label, unknown: fmt.Errorf("the address %s is only known when the server runs", key)}
		case !slices.Contains(s.hosts, host):
			s.hosts = append(s.hosts, host)
		}
	}
	if anyHost {
		s.hosts = nil
	}
	return s
}

// siteKeys returns the addresses of the site block. Caddy keeps them in a field that it does not export and has no other
// way to ask; it is only read, and when a version of Caddy has no such field the user has to name the hosts.
func siteKeys(h httpcaddyfile.Helper) ([]string, error) {
	block := reflect.ValueOf(h).FieldByName("parentBlock")
	if !block.IsValid() || !block.CanConvert(reflect.TypeFor[caddyfile.ServerBlock]()) {
		return nil, fmt.Errorf("this version of Caddy does not tell the addresses of the site")
	}
	keys := block.FieldByName("Keys")
	texts := make([]string, keys.Len())
	for i := range texts {
		texts[i] = keys.Index(i).FieldByName("Text").String()
	}
	return texts, nil
}
