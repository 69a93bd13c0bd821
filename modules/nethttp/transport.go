// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"strings"
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
	// maxResponseHead bounds the head of a node's response.
	maxResponseHead = 1 << 20
	// maxSessions bounds the TLS sessions that are remembered.
	maxSessions = 1024
	// A connection of HTTP/2 on which nothing has come for pingAfter is asked whether it is alive, and closed when it does
	// not answer within pingTimeout: unlike one of HTTP/1.1 it is used again although a request before got no answer.
	pingAfter, pingTimeout = 30 * time.Second, 15 * time.Second
)

// Transports are the pools of connections to nodes. The zero value is ready, and safe for concurrent use. Pools depend
// on what an upstream says and not on the upstream, so they survive every change that leaves that alone.
type Transports struct {
	// RootCAs are what nodes' certificates are checked against; nil is the system's. It is set before first use.
	RootCAs *x509.CertPool

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
	serverName     string
	verify, http2  bool
	certificate    *tls.Certificate
	connectTimeout time.Duration
}

type targetKey struct{}

func newTarget(x *gateway.Exchange) target {
	node, u := x.Forward.Node, x.Forward.Upstream
	scheme := x.ForwardScheme()
	t := target{
		addr: node.Addr, name: node.Addr, connectTimeout: x.Timeout().Connect,
		http2: scheme == "grpc" || scheme == "grpcs",
	}
	if scheme != "https" && scheme != "grpcs" {
		return t
	}
	t.serverName = hostOf(x.ForwardHost())
	t.verify, t.certificate = u.TLSVerify, u.ClientCertificate
	digest := sha256.New()
	fmt.Fprintf(digest, "%q %q %t", t.addr, t.serverName, t.verify)
	if t.certificate != nil {
		for _, der := range t.certificate.Certificate {
			_, _ = digest.Write(der)
		}
	}
	t.name = hex.EncodeToString(digest.Sum(nil)[:16]) + ":443"
	return t
}

// hostOf returns the text of a Host field without port, brackets and trailing dot, in lower case.
func hostOf(text string) string {
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(text, "[]"), "."))
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
	config := &tls.Config{
		ServerName:         to.serverName,
		InsecureSkipVerify: !to.verify, // APISIX's tls.verify is false by default.
		RootCAs:            t.RootCAs,
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
		ClientSessionCache: namedSessions{t.sessionCache(), to.name},
	}
	if to.http2 {
		config.NextProtos = []string{"h2"}
	}
	if to.certificate != nil {
		config.Certificates = []tls.Certificate{*to.certificate}
	}
	conn := tls.Client(raw, config)
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

// namedSessions is a part of a session cache: that of connections which stand for the same. crypto/tls by itself goes by
// the server's name alone, and would take the session of one certificate for another's.
type namedSessions struct {
	cache tls.ClientSessionCache
	name  string
}

func (s namedSessions) Get(string) (*tls.ClientSessionState, bool) { return s.cache.Get(s.name) }

func (s namedSessions) Put(_ string, state *tls.ClientSessionState) { s.cache.Put(s.name, state) }
