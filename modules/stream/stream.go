// SPDX-License-Identifier: Apache-2.0

// Package stream carries TCP connections and UDP sessions to the nodes of stream routes.
package stream

import (
	"context"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// Proxy serves the stream routes of one gateway. It is safe for concurrent use.
//
// A connection is matched, and its node chosen, by the table that is the newest when it begins. Changes do not touch it after
// that: it ends when its two ends say so, when nothing has moved for its idle time, or with the Proxy.
type Proxy struct {
	gateway *gateway.Gateway
	log     func() *zap.Logger

	mu sync.Mutex
	// open are the connections and sessions that have not ended; ended is closed by the last of them once closing is set.
	open    map[ender]struct{}
	closing bool
	ended   chan struct{}
}

// ender is a connection or session that can be told to end.
type ender interface{ end() }

// New returns a proxy for the gateway's stream routes. log returns the logger of the newest configuration; nil logs nothing.
func New(g *gateway.Gateway, log func() *zap.Logger) *Proxy {
	if log == nil {
		log = zap.NewNop
	}
	return &Proxy{gateway: g, log: log, open: make(map[ender]struct{}), ended: make(chan struct{})}
}

// enter counts a connection among those that are open. It reports false when the proxy takes none any more.
func (p *Proxy) enter(e ender) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return false
	}
	p.open[e] = struct{}{}
	return true
}

func (p *Proxy) leave(e ender) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, e)
	if p.closing && len(p.open) == 0 {
		close(p.ended)
	}
}

// Open is how many connections and sessions there are.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

// Close takes no new connections, waits until those that are open have ended or ctx has, and then ends them. It returns when
// they are gone. It is called once.
func (p *Proxy) Close(ctx context.Context) {
	p.mu.Lock()
	p.closing = true
	if len(p.open) == 0 {
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	select {
	case <-p.ended:
		return
	case <-ctx.Done():
	}
	p.mu.Lock()
	left := make([]ender, 0, len(p.open))
	for e := range p.open {
		left = append(left, e)
	}
	p.mu.Unlock()
	for _, e := range left {
		e.end()
	}
	<-p.ended
}

// The times that no configuration sets.
const (
	// handshakeTime bounds a TLS handshake with a client.
	handshakeTime = 10 * time.Second
	// prereadTime bounds how long a client may take to send what a route or a plugin has to look at: nginx's preread_timeout.
	prereadTime = 30 * time.Second
	// prereadSize bounds how much that is, in bytes. A ClientHello has at most 2^14 in one record.
	prereadSize = 64 << 10
	// idleTime ends connections that carry nothing, unless `timeout` says otherwise: nginx's proxy_timeout.
	idleTime = 10 * time.Minute
)

// exchanges are used again: one is larger than all else that a connection needs.
var exchanges = sync.Pool{New: func() any { return new(gateway.Exchange) }}

// begin starts the exchange of a connection on the newest table.
func (p *Proxy) begin(local, client net.Addr, wire gateway.Wire) *gateway.Exchange {
	x := exchanges.Get().(*gateway.Exchange)
	x.Request.Local, x.Request.Client = addrPort(local), addrPort(client)
	x.Request.Peer = x.Request.Client
	p.gateway.Begin(x, wire)
	return x
}

// finish ends an exchange.
func (p *Proxy) finish(x *gateway.Exchange) {
	x.Finish()
	p.report(x)
	recycle(x)
}

func recycle(x *gateway.Exchange) {
	x.Reset()
	exchanges.Put(x)
}

// report says in the log what kept a connection from being served.
func (p *Proxy) report(x *gateway.Exchange) {
	blame := x.Blamed()
	level := zap.DebugLevel
	if blame.By == gateway.ByUpstream || blame.By == gateway.ByGateway {
		level = zap.WarnLevel
	}
	if blame.By != gateway.Nobody {
		if entry := p.log().Check(level, "stream connection failed"); entry != nil {
			route := ""
			if x.Route != nil {
				route = x.Route.ID
			}
			entry.Write(zap.String("route", route), zap.Stringer("local", x.Request.Local), zap.Stringer("client", x.Request.Client),
				zap.Stringer("failed_by", blame.By), zap.String("phase", string(blame.Phase)), zap.String("reason", blame.Reason))
		}
	}
}
