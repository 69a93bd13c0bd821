// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

const (
	// maxTransports bounds how many pools with different bounds are kept. The one not used for longest goes first.
	maxTransports = 64
	// maxIdle bounds the idle connections of one pool to all nodes together; the oldest is closed first.
	maxIdle = 16384
	// maxResponseHead bounds the head of a node's response, as on a lane.
	maxResponseHead = 64 << 10
	// maxSessions bounds the TLS sessions that are remembered.
	maxSessions = 1024
	// A connection of HTTP/2 on which nothing has come for pingAfter is asked whether it is alive, and closed when it does
	// not answer within pingTimeout: unlike one of HTTP/1.1 it is used again although a request before got no answer.
	pingAfter, pingTimeout = 30 * time.Second, 15 * time.Second
)

// Transports are the pools of connections to nodes. The zero value is ready, and safe for concurrent use. Pools depend
// on what an upstream says and not on the upstream, so they survive every change that leaves that alone.
type Transports struct {
	mu    sync.Mutex
	pools map[poolKey]*pool
	// sessions lets a new connection go on with the TLS session of one before.
	sessions tls.ClientSessionCache
}

// poolKey is what a whole pool has in common. What may differ from connection to connection is in a target.
type poolKey struct {
	http2       bool
	size        int
	idleTimeout time.Duration
}

// pool is one transport. Its fields are guarded by Transports.mu.
type pool struct {
	transport *http.Transport
	users     int
	lastUse   time.Time
	evicted   bool
}

// acquire returns the pool for the upstream's connections; release has to follow.
func (t *Transports) acquire(u *gateway.Upstream, http2 bool) *pool {
	key := poolKey{http2, u.KeepAlive.Size, u.KeepAlive.IdleTimeout}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.pools[key]
	if p == nil {
		if t.pools == nil {
			t.pools = map[poolKey]*pool{}
		}
		if len(t.pools) >= maxTransports {
			t.evictOldest()
		}
		p = &pool{transport: t.newTransport(key)}
		t.pools[key] = p
	}
	p.users++
	p.lastUse = time.Now()
	return p
}

func (t *Transports) release(p *pool) {
	t.mu.Lock()
	p.users--
	last := p.evicted && p.users == 0
	t.mu.Unlock()
	if last {
		p.transport.CloseIdleConnections()
	}
}

func (t *Transports) evictOldest() {
	var oldest poolKey
	var found *pool
	for key, p := range t.pools {
		if found == nil || p.lastUse.Before(found.lastUse) {
			oldest, found = key, p
		}
	}
	delete(t.pools, oldest)
	found.evicted = true
	found.transport.CloseIdleConnections()
}

// Close closes the idle connections. Requests under way go on, and close theirs when they are done.
func (t *Transports) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, p := range t.pools {
		delete(t.pools, key)
		p.evicted = true
		p.transport.CloseIdleConnections()
	}
}

func (t *Transports) newTransport(key poolKey) *http.Transport {
	protocols := new(http.Protocols)
	if key.http2 {
		protocols.SetHTTP2(true)
		protocols.SetUnencryptedHTTP2(true)
	} else {
		protocols.SetHTTP1(true)
	}
	return &http.Transport{
		Protocols:              protocols,
		DialContext:            t.dial,
		DialTLSContext:         t.dialTLS,
		DisableCompression:     true,
		DisableKeepAlives:      key.size <= 0 || key.idleTimeout <= 0,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    key.size,
		IdleConnTimeout:        key.idleTimeout,
		MaxResponseHeaderBytes: maxResponseHead,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
	}
}

// nodeConn is a connection to a node that counts what it carries.
type nodeConn struct {
	*net.TCPConn
	requests atomic.Int64
}

// nodeConnOf returns the counted connection under what the transport uses, or nil.
func nodeConnOf(conn net.Conn) *nodeConn {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	counted, _ := conn.(*nodeConn)
	return counted
}

// target is where one attempt connects to, and as whom. It reaches the dial functions through the context, because the
// transport only hands them a name; connections are shared between attempts whose names are the same.
type target struct {
	addr string
	// name is what the transport keeps connections under: the address, or for TLS a digest of all that the connection
	// stands for.
	name           string
	http2          bool
	secure         gateway.NodeTLS
	connectTimeout time.Duration
}

type targetKey struct{}

func newTarget(x *gateway.Exchange) target {
	node := x.Forward.Node
	scheme := x.ForwardScheme()
	t := target{
		addr: node.Addr, name: node.Addr, connectTimeout: x.Timeout().Connect,
		http2: scheme == "grpc" || scheme == "grpcs",
	}
	if scheme != "https" && scheme != "grpcs" {
		return t
	}
	t.secure = x.NodeTLS()
	t.name = t.secure.Digest(t.addr) + ":443"
	return t
}

func (t *Transports) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	to, _ := ctx.Value(targetKey{}).(*target)
	dialer := net.Dialer{Timeout: to.connectTimeout}
	conn, err := dialer.DialContext(ctx, network, to.addr)
	if err != nil {
		return nil, err
	}
	return &nodeConn{TCPConn: conn.(*net.TCPConn)}, nil
}

// dialTLS connects and shakes hands within the one time for connecting.
func (t *Transports) dialTLS(ctx context.Context, network, name string) (net.Conn, error) {
	to, _ := ctx.Value(targetKey{}).(*target)
	ctx, cancel := context.WithTimeout(ctx, to.connectTimeout)
	defer cancel()
	raw, err := t.dial(ctx, network, name)
	if err != nil {
		return nil, err
	}
	protocol := "http/1.1"
	if to.http2 {
		protocol = "h2"
	}
	conn := tls.Client(raw, to.secure.Config(to.addr, protocol, t.sessionCache()))
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("tls handshake with %s: %w", to.addr, err)
	}
	return conn, nil
}

func (t *Transports) sessionCache() tls.ClientSessionCache {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions == nil {
		t.sessions = tls.NewLRUClientSessionCache(maxSessions)
	}
	return t.sessions
}
