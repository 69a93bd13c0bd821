// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/upstream"
)

// selection is what Ando's selection policies for Caddy's reverse_proxy have in common. What Caddy holds for unavailable is
// not picked, and no upstream twice for one request while another is left.
type selection struct {
	// Weights of the upstreams, in their order. Those without one have 1, and 0 is never picked.
	Weights []int `json:"weights,omitempty"`

	algorithm, hashOn, key string
	log                    *zap.Logger
	// current is for the pool that came last.
	current atomic.Pointer[compiledPool]
}

// compiledPool is an upstream made of a pool of Caddy's. Its nodes are in the pool's order.
type compiledPool struct {
	dials    []string
	upstream *gateway.Upstream
}

func (s *selection) provision(ctx caddy.Context, algorithm string) error {
	s.log, s.algorithm = ctx.Logger(), algorithm
	for _, weight := range s.Weights {
		if weight < 0 {
			return fmt.Errorf("weights: %d is not a weight: 0 and above are", weight)
		}
	}
	_, err := s.compile([]string{"node:1", "other:1"}, nil)
	return err
}

// compile makes the upstream. Nodes that prior has too go on with what is known of them.
func (s *selection) compile(dials []string, prior *compiledPool) (*compiledPool, error) {
	nodes := make([]Node, len(dials))
	for i, dial := range dials {
		nodes[i] = Node{Weight: 1}
		host, port, err := net.SplitHostPort(strings.TrimPrefix(dial, "tcp/"))
		number, perr := strconv.Atoi(port)
		if err == nil && perr == nil && !slices.Contains(dials[:i], dial) {
			nodes[i].Host, nodes[i].Port = host, number
			if strings.Contains(host, ":") {
				nodes[i].Host = "[" + host + "]"
			}
		} else {
			// A socket, a placeholder, or the same address again: a name that no address has.
			nodes[i].Host, nodes[i].Port = strings.NewReplacer(":", "_", "[", "_", "]", "_").Replace(dial)+"#"+strconv.Itoa(i), 1
		}
		if i < len(s.Weights) {
			nodes[i].Weight = s.Weights[i]
		}
	}
	raw, err := json.Marshal(map[string]any{"type": s.algorithm, "hash_on": s.hashOn, "key": s.key, "nodes": nodes})
	if err != nil {
		return nil, err
	}
	var before *gateway.Upstream
	if prior != nil {
		before = prior.upstream
	}
	u, err := upstream.Compile("reverse_proxy", raw, before, upstream.Surroundings{})
	if err == nil && u.Fault != 0 {
		err = fmt.Errorf("%s", u.FaultReason)
	}
	return &compiledPool{dials, u}, err
}

func (s *selection) compiled(pool reverseproxy.UpstreamPool) (*compiledPool, error) {
	prior := s.current.Load()
	if prior != nil && slices.EqualFunc(pool, prior.dials, func(u *reverseproxy.Upstream, dial string) bool { return u.Dial == dial }) {
		return prior, nil
	}
	dials := make([]string, len(pool))
	for i, u := range pool {
		dials[i] = u.Dial
	}
	next, err := s.compile(dials, prior)
	if err != nil {
		return nil, err
	}
	s.current.Store(next)
	return next, nil
}

// Select implements reverseproxy.Selector.
func (s *selection) Select(pool reverseproxy.UpstreamPool, r *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	if len(pool) == 0 {
		return nil
	}
	c, err := s.compiled(pool)
	if err != nil {
		s.log.Error("the upstreams cannot be balanced", zap.Error(err))
		return nil
	}
	node := requestOf(r, s).pick(c.upstream, func(i int) bool { return pool[i].Available() })
	if node == nil {
		return nil
	}
	return pool[slices.Index(c.upstream.Nodes, node)]
}

// unmarshal reads the weights that follow a policy's name and other arguments.
func (s *selection) unmarshal(d *caddyfile.Dispenser) error {
	for _, arg := range d.RemainingArgs() {
		weight, err := strconv.Atoi(arg)
		if err != nil || weight < 0 {
			return d.Errf("weight %q: a number from 0 up is expected", arg)
		}
		s.Weights = append(s.Weights, weight)
	}
	if d.NextBlock(0) {
		return d.Errf("unrecognized option %q", d.Val())
	}
	return nil
}

// RoundRobin picks the upstreams of a reverse_proxy in turn, each as often as its weight says and spread evenly.
type RoundRobin struct{ selection }

// CaddyModule returns the Caddy module information.
func (*RoundRobin) CaddyModule() caddy.ModuleInfo {
	return selectionInfo("roundrobin", func() caddy.Module { return new(RoundRobin) })
}

// Provision sets up the policy.
func (p *RoundRobin) Provision(ctx caddy.Context) error { return p.provision(ctx, "roundrobin") }

// UnmarshalCaddyfile reads
//
//	lb_policy ando_roundrobin [<weight>...]
func (p *RoundRobin) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return p.unmarshal(d)
}

// LeastConn picks the upstream of a reverse_proxy with the fewest requests under way for its weight.
type LeastConn struct{ selection }

// CaddyModule returns the Caddy module information.
func (*LeastConn) CaddyModule() caddy.ModuleInfo {
	return selectionInfo("least_conn", func() caddy.Module { return new(LeastConn) })
}

// Provision sets up the policy.
func (p *LeastConn) Provision(ctx caddy.Context) error { return p.provision(ctx, "least_conn") }

// UnmarshalCaddyfile reads
//
//	lb_policy ando_least_conn [<weight>...]
func (p *LeastConn) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return p.unmarshal(d)
}

// EWMA compares two upstreams of a reverse_proxy at random and picks the one that has answered faster of late.
type EWMA struct{ selection }

// CaddyModule returns the Caddy module information.
func (*EWMA) CaddyModule() caddy.ModuleInfo {
	return selectionInfo("ewma", func() caddy.Module { return new(EWMA) })
}

// Provision sets up the policy.
func (p *EWMA) Provision(ctx caddy.Context) error { return p.provision(ctx, "ewma") }

// UnmarshalCaddyfile reads
//
//	lb_policy ando_ewma
func (p *EWMA) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return p.unmarshal(d)
}

// CHash picks the upstream of a reverse_proxy that a key of the request belongs to. A key has the node that it has in
// APISIX, and when an upstream comes or goes only its own share of the keys moves.
type CHash struct {
	selection

	// What Key names: vars, header, cookie or vars_combinations. Default: vars.
	HashOn string `json:"hash_on,omitempty"`

	// The variable (without its $), the header or the cookie; for vars_combinations a text with variables. A request
	// without it goes by the client's address. Default: remote_addr.
	Key string `json:"key,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*CHash) CaddyModule() caddy.ModuleInfo {
	return selectionInfo("chash", func() caddy.Module { return new(CHash) })
}

// Provision sets up the policy.
func (p *CHash) Provision(ctx caddy.Context) error {
	if p.HashOn == "" {
		p.HashOn = "vars"
	}
	if p.Key == "" && p.HashOn == "vars" {
		p.Key = "remote_addr"
	}
	if !slices.Contains([]string{"vars", "header", "cookie", "vars_combinations"}, p.HashOn) || p.Key == "" {
		return fmt.Errorf("hash_on %q with key %q: vars, header, cookie or vars_combinations with a key is expected", p.HashOn, p.Key)
	}
	p.hashOn, p.key = p.HashOn, p.Key
	return p.provision(ctx, "chash")
}

// UnmarshalCaddyfile reads
//
//	lb_policy ando_chash [<key>|header <name>|cookie <name>] [<weight>...]
//
// where the key is a variable such as $remote_addr or $arg_user, or a text with several.
func (p *CHash) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		if err := p.readKey(d); err != nil {
			return err
		}
	}
	return p.unmarshal(d)
}

func (p *CHash) readKey(d *caddyfile.Dispenser) error {
	switch word := d.Val(); {
	case word == "header" || word == "cookie":
		if p.HashOn = word; !d.NextArg() {
			return d.ArgErr()
		}
		p.Key = d.Val()
	case strings.HasPrefix(word, "$") && !strings.ContainsAny(word[1:], "${}/ .:;"):
		p.HashOn, p.Key = "vars", word[1:]
	case strings.Contains(word, "$"):
		p.HashOn, p.Key = "vars_combinations", word
	default:
		return d.Errf("key %q: a variable such as $remote_addr, header NAME or cookie NAME is expected", word)
	}
	return nil
}

func selectionInfo(name string, construct func() caddy.Module) caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: caddy.ModuleID("http.reverse_proxy.selection_policies.ando_" + name), New: construct}
}

var (
	_ reverseproxy.Selector = (*RoundRobin)(nil)
	_ reverseproxy.Selector = (*LeastConn)(nil)
	_ reverseproxy.Selector = (*EWMA)(nil)
	_ reverseproxy.Selector = (*CHash)(nil)
	_ caddyfile.Unmarshaler = (*RoundRobin)(nil)
	_ caddyfile.Unmarshaler = (*LeastConn)(nil)
	_ caddyfile.Unmarshaler = (*EWMA)(nil)
	_ caddyfile.Unmarshaler = (*CHash)(nil)
	_ caddy.Provisioner     = (*RoundRobin)(nil)
	_ caddy.Provisioner     = (*LeastConn)(nil)
	_ caddy.Provisioner     = (*EWMA)(nil)
	_ caddy.Provisioner     = (*CHash)(nil)
)
