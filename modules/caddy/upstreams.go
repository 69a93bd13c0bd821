// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"encoding/json"
	"errors"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Upstreams is the source of a reverse_proxy's upstreams that an upstream as APISIX has it is: for each attempt it gives
// the node that the upstream's balancer picks, with its weights, priorities and health checks. Everything else is
// reverse_proxy's: whether and how often to retry, timeouts, TLS to nodes, which Host is sent.
type Upstreams struct {
	// The upstream as APISIX spells it: type (roundrobin, chash, least_conn, ewma), nodes, key, hash_on, checks, ...
	Upstream json.RawMessage `json:"upstream,omitempty"`

	pooled *pooledUpstream
	// check begins the health checks, once.
	check func()
}

// CaddyModule returns the Caddy module information.
func (*Upstreams) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.reverse_proxy.upstreams.ando", New: func() caddy.Module { return new(Upstreams) }}
}

// Provision compiles the upstream, or finds it as the config before has it.
func (s *Upstreams) Provision(caddy.Context) error {
	l := LoadBalance{Upstream: s.Upstream}
	if err := l.Check(); err != nil {
		return err
	}
	value, _, err := upstreams.LoadOrNew(s.poolKey(), func() (caddy.Destructor, error) {
		return compileForSite("reverse_proxy", s.Upstream)
	})
	if err != nil {
		return err
	}
	s.pooled = value.(*pooledUpstream)
	s.check = sync.OnceFunc(func() { siteHealth().Set(s.pooled.Upstream) })
	if s.pooled.Fault != 0 {
		return errors.New("upstream: " + s.pooled.FaultReason)
	}
	return nil
}

func (s *Upstreams) poolKey() string { return "reverse_proxy " + string(s.Upstream) }

// GetUpstreams implements reverseproxy.UpstreamSource.
func (s *Upstreams) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	s.check()
	node := requestOf(r, s).pick(s.pooled.Upstream, nil)
	if node == nil {
		return nil, nil
	}
	return []*reverseproxy.Upstream{{Dial: node.Addr}}, nil
}

// Cleanup gives the upstream back.
func (s *Upstreams) Cleanup() error {
	if s.pooled == nil {
		return nil
	}
	_, err := upstreams.Delete(s.poolKey())
	return err
}

// UnmarshalCaddyfile reads
//
//	dynamic ando [<type>] [<key>] {
//		node <address> [weight=<n>] [priority=<n>]
//		checks <json>
//	}
//
// or the whole upstream as JSON in backquotes. The type is roundrobin by default; the key is as for lb_policy ando_chash.
func (s *Upstreams) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	fields := map[string]any{"type": "roundrobin"}
	if d.NextArg() {
		if text := d.Val(); text != "" && text[0] == '{' {
			s.Upstream = json.RawMessage(text)
			return nil
		}
		fields["type"] = d.Val()
		if d.NextArg() {
			key := new(CHash)
			if err := key.readKey(d); err != nil {
				return err
			}
			fields["hash_on"], fields["key"] = key.HashOn, key.Key
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	var nodes []Node
	for d.NextBlock(0) {
		switch d.Val() {
		case "node":
			args := d.RemainingArgs()
			if len(args) == 0 {
				return d.ArgErr()
			}
			node, err := ParseNode(args[0])
			if err != nil {
				return d.WrapErr(err)
			}
			for _, option := range args[1:] {
				if err := node.Option(option); err != nil {
					return d.WrapErr(err)
				}
			}
			nodes = append(nodes, node)
		case "checks":
			if !d.NextArg() || !json.Valid([]byte(d.Val())) {
				return d.Err("checks: a JSON object in backquotes is expected")
			}
			fields["checks"] = json.RawMessage(d.Val())
		default:
			return d.Errf("unrecognized option %q: node and checks are known", d.Val())
		}
	}
	fields["nodes"] = nodes
	raw, err := json.Marshal(fields)
	s.Upstream = raw
	return err
}

var (
	_ reverseproxy.UpstreamSource = (*Upstreams)(nil)
	_ caddy.Provisioner           = (*Upstreams)(nil)
	_ caddy.CleanerUpper          = (*Upstreams)(nil)
	_ caddyfile.Unmarshaler       = (*Upstreams)(nil)
)
