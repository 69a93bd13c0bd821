// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/andogate/ando/modules/gateway"
)

// proxied is one request on its way through Caddy's reverse_proxy, as balancers know it. It is guarded by mu: a request
// ends when its client has gone, whatever reverse_proxy is doing then.
type proxied struct {
	mu       sync.Mutex
	x        gateway.Exchange
	repl     *caddy.Replacer
	upstream *gateway.Upstream
	// node is that of the attempt under way, which began then; nil is none.
	node  *gateway.Node
	began time.Time
	ended bool
}

// proxiedVar is the variable of a request that has its proxied, by the module whose they are.
const proxiedVar = "ando_proxied"

// requestOf returns the request as module has seen it before, or anew.
func requestOf(r *http.Request, module any) *proxied {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	seen, ok := vars[proxiedVar].(map[any]*proxied)
	if p := seen[module]; p != nil {
		return p
	}
	p := new(proxied)
	p.repl, _ = r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	p.fill(r)
	if vars != nil {
		if !ok {
			seen = make(map[any]*proxied, 1)
			vars[proxiedVar] = seen
		}
		seen[module] = p
	}
	context.AfterFunc(r.Context(), p.end)
	return p
}

// fill copies what keys are made of.
func (p *proxied) fill(r *http.Request) {
	q := &p.x.Request
	q.Method = r.Method
	q.ProtoMajor, q.ProtoMinor = r.ProtoMajor, r.ProtoMinor
	q.Scheme = "http"
	if r.TLS != nil {
		q.Scheme, q.TLS = "https", r.TLS
	}
	q.SetHost(r.Host)
	q.ContentLength = r.ContentLength
	for name, values := range r.Header {
		for _, value := range values {
			q.Header.Add(name, value)
		}
	}
	q.Peer, _ = netip.ParseAddrPort(r.RemoteAddr)
	q.Client = q.Peer
	if addr := clientAddr(r); addr.IsValid() {
		q.Client = netip.AddrPortFrom(addr, 0)
	}
	// A target that Ando would refuse is Caddy's business here: the path is then empty to variables.
	_ = q.SetTarget(r.URL.RequestURI())
}

// pick returns the node for the next attempt; one before that is still open has failed. usable says of each node by its
// index whether it may be picked now; nil is all.
func (p *proxied) pick(u *gateway.Upstream, usable func(i int) bool) *gateway.Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.close(true)
	if p.upstream != u {
		// The nodes have changed since.
		p.upstream, p.x.Forward.Attempts = u, p.x.Forward.Attempts[:0]
	}
	p.x.Forward.Upstream = u
	tried := p.x.Forward.Attempts
	node := p.pickUsable(u, usable)
	if node == nil && len(tried) > 0 {
		// How often to try is up to Caddy. All of them are tried again before any of them a third time.
		tried = tried[:0]
		p.x.Forward.Attempts = tried
		node = p.pickUsable(u, usable)
	}
	p.x.Forward.Attempts = tried
	if node == nil || p.ended {
		return node
	}
	p.x.Forward.Attempts = append(tried, gateway.Attempt{Node: node})
	p.node, p.began = node, time.Now()
	node.State.InFlight.Add(1)
	return node
}

func (p *proxied) pickUsable(u *gateway.Upstream, usable func(i int) bool) *gateway.Node {
	attempts := p.x.Forward.Attempts
	if usable != nil {
		for i, node := range u.Nodes {
			if !usable(i) {
				attempts = append(attempts, gateway.Attempt{Node: node})
			}
		}
	}
	p.x.Forward.Attempts = attempts
	node := u.Balancer.Pick(&p.x)
	// A single node is picked whatever has become of it.
	if node != nil && len(u.Nodes) == 1 && usable != nil && !usable(0) {
		return nil
	}
	return node
}

// end is called when the request is over.
func (p *proxied) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.close(false)
}

// close ends the attempt under way. Without an answer it has failed when another follows, and nobody knows when the
// request is over.
func (p *proxied) close(another bool) {
	node := p.node
	if node == nil {
		return
	}
	p.node = nil
	node.State.InFlight.Add(-1)
	status, took, failure := 0, time.Since(p.began), gateway.FailedBroken
	if p.repl != nil {
		code, answered := p.repl.Get("http.reverse_proxy.status_code")
		latency, timed := p.repl.Get("http.reverse_proxy.upstream.latency")
		if answered && timed && !another {
			status, _ = code.(int)
			took, _ = latency.(time.Duration)
			failure = gateway.NoFailure
		}
	}
	if !another && failure != gateway.NoFailure {
		return
	}
	if observer, ok := p.upstream.Balancer.(gateway.AttemptObserver); ok {
		observer.Observe(node, took, status)
	}
	if health := p.upstream.Health; health != nil {
		health.Report(node, status, failure)
	}
}
