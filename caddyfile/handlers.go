// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	andocaddy "github.com/andogate/ando/modules/caddy"
)

// parseAdmin reads `ando_admin [<matcher>]`.
func parseAdmin(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	return new(andocaddy.AdminHandler), nil
}

// parseKeyAuth reads the directive that asks for a consumer's key:
//
//	ando_key_auth [<matcher>] {
//		header <name>
//		query  <name>
//		realm  <text>
//		hide_credentials
//		anonymous_consumer <name>
//	}
func parseKeyAuth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	start := h.Token()
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	auth := new(andocaddy.KeyAuth)
	texts := map[string]*string{
		"header": &auth.Header, "query": &auth.Query, "realm": &auth.Realm, "anonymous_consumer": &auth.AnonymousConsumer,
	}
	for nesting := h.Nesting(); h.NextBlock(nesting); {
		if h.Val() == "hide_credentials" {
			on, err := flag(h.Dispenser)
			if err != nil {
				return nil, err
			}
			auth.HideCredentials = on
			continue
		}
		target, known := texts[h.Val()]
		if !known {
			return nil, unknown(h.Dispenser, "ando_key_auth",
				[]string{"header", "query", "realm", "hide_credentials", "anonymous_consumer"})
		}
		token, err := one(h.Dispenser)
		if err != nil {
			return nil, err
		}
		*target = token.Text
	}
	if err := auth.Check(); err != nil {
		return nil, at(start).WrapErr(err)
	}
	return auth, nil
}

// parsePlugin reads `ando_plugin [<matcher>] NAME` with the plugin's config: fields, or one JSON object.
func parsePlugin(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	start := h.Token()
	if !h.NextArg() {
		return nil, h.Errf("ando_plugin takes the name of a plugin")
	}
	plugin := &andocaddy.Plugin{Name: h.Val()}
	v, err := config(h.Dispenser)
	if err != nil {
		return nil, err
	}
	plugin.Config, err = json.Marshal(v)
	if err != nil {
		return nil, h.WrapErr(err)
	}
	if err := plugin.Check(); err != nil {
		return nil, at(start).WrapErr(err)
	}
	return plugin, nil
}

// parseLoadBalance reads the directive that balances over nodes:
//
//	ando_load_balance [<matcher>] [roundrobin|chash|least_conn|ewma] [$<variable>] <node...> {
//		node <address> [weight=N] [priority=N]
//		...any other word of an upstream
//	}
//
// A node that is called like an algorithm has to be given with its port.
func parseLoadBalance(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	start := h.Token()
	o := object{}
	var nodes []andocaddy.Node
	for i, arg := range h.RemainingArgs() {
		switch {
		case i == 0 && slices.Contains(algorithms, arg):
			o["type"] = arg
		case strings.HasPrefix(arg, "$"):
			if err := o.set(h.Dispenser, "key", strings.TrimPrefix(arg, "$")); err != nil {
				return nil, err
			}
		default:
			node, err := andocaddy.ParseNode(arg)
			if err != nil {
				return nil, h.WrapErr(err)
			}
			nodes = append(nodes, node)
		}
	}
	if nodes != nil {
		o["nodes"] = nodes
	}
	if err := upstreamFields.read(h.Dispenser, start.Text, o); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, h.WrapErr(err)
	}
	balance := &andocaddy.LoadBalance{Upstream: raw}
	if err := balance.Check(); err != nil {
		return nil, at(start).WrapErr(err)
	}
	return balance, nil
}
