// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// conn is one TCP connection of a client on its way to a node, and then between the two. Until relay it belongs to one
// goroutine.
type conn struct {
	proxy *Proxy
	// x is nil before the connection is looked at, and again when nothing of it is needed any more.
	x *gateway.Exchange
	// counted is a node for which the connection counts, when x does not do that any more.
	counted *gateway.Node

	// client is the client's connection: a *net.TCPConn, or a *tls.Conn on one. node is the node's, nil before there is one.
	client, node halfCloser
	// early is what the client has sent and nobody has forwarded.
	early []byte

	// life ends with the connection; nil until somebody asks for it.
	life   context.Context
	cancel context.CancelFunc

	// idle bounds how long nothing may move; moved is when something did, by the clock of sinceStart.
	idle  time.Duration
	moved atomic.Int64
	watch *time.Timer

	// ways counts the directions that have not ended.
	ways atomic.Int32

	// mu guards ended, and node while it may be closed from elsewhere.
	mu    sync.Mutex
	ended bool
}

// halfCloser is a connection of which one direction can end before the other.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// Serve proxies a connection and closes it; it returns at once. With secure TLS ends here; without it what comes is passed on
// as it is, TLS included.
func (p *Proxy) Serve(client *net.TCPConn, secure *tls.Config) {
	c := &conn{proxy: p, client: client}
	if !p.enter(c) {
		_ = client.Close()
		return
	}
	go func() {
		if secure != nil {
			c.client = tls.Server(client, secure)
		}
		if !c.connect() {
			c.close()
			return
		}
		c.relay()
	}()
}

// connect finds route and node. When it reports false the connection is to be closed.
func (c *conn) connect() bool {
	name, err := "", error(nil)
	secure, terminated := c.client.(*tls.Conn)
	if terminated {
		ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
		err = secure.HandshakeContext(ctx)
		cancel()
		if err != nil {
			return false
		}
	}
	c.x = c.proxy.begin(c.client.LocalAddr(), c.client.RemoteAddr(), c)
	table, ok := c.x.Table.(gateway.StreamTable)
	if !ok {
		return false
	}
	local, client := c.x.Request.Local, c.x.Request.Client
	switch {
	case terminated:
		state := secure.ConnectionState()
		name, c.x.Request.TLS = state.ServerName, &state
	case table.StreamsByName(local, client):
		if name, err = readServerName(c); err != nil {
			c.x.Blame(gateway.ByClient, gateway.PhaseHead, "it did not say what it wants")
			return false
		}
		if name != "" {
			c.x.SetVar("ssl_preread_server_name", name)
		}
	}
	c.x.Route = table.Stream(local, client, name)
	return c.x.Admit() && c.dial(name) && c.forwardEarly()
}

// forwardEarly sends the node what the client has sent already.
func (c *conn) forwardEarly() bool {
	if len(c.early) == 0 {
		return true
	}
	_ = c.node.SetWriteDeadline(time.Now().Add(c.idle))
	_, err := c.node.Write(c.early)
	_ = c.node.SetWriteDeadline(time.Time{})
	c.early = nil
	if err != nil {
		c.x.Blame(gateway.ByUpstream, gateway.PhaseSend, gateway.FailedBroken.String())
	}
	return err == nil
}

var errPrereadTooLong = errors.New("more is to be looked at than a client may send in advance")

// Preread implements gateway.Prereader.
func (c *conn) Preread(n int) ([]byte, error) {
	if n > prereadSize {
		return nil, errPrereadTooLong
	}
	if len(c.early) >= n {
		return c.early, nil
	}
	if c.early == nil {
		c.early = make([]byte, 0, max(n, 1<<10))
	}
	_ = c.client.SetReadDeadline(time.Now().Add(prereadTime))
	for len(c.early) < n {
		if cap(c.early) < n {
			c.early = append(make([]byte, 0, 2*n), c.early...)
		}
		got, err := c.client.Read(c.early[len(c.early):cap(c.early)])
		c.early = c.early[:len(c.early)+got]
		if err != nil && len(c.early) < n {
			return c.early, err
		}
	}
	return c.early, c.client.SetReadDeadline(time.Time{})
}

// Context implements gateway.Wire. Nobody listens to the client meanwhile: only the end of the proxy ends it.
func (c *conn) Context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life == nil {
		c.life, c.cancel = context.WithCancel(context.Background())
		if c.ended {
			c.cancel()
		}
	}
	return c.life
}

// ReadBody implements gateway.Wire.
func (c *conn) ReadBody(int64) ([]byte, error) { return nil, gateway.ErrNoPreread }

// relay carries bytes both ways. Each way has a goroutine of its own, since the one that connected has needed a larger stack
// than one that waits.
func (c *conn) relay() {
	if c.counted = c.x.Release(); c.counted != nil {
		recycle(c.x)
		c.x = nil
	}
	c.ways.Store(2)
	c.touch()
	c.watch = newWatch(c.checkIdle)
	c.watch.Reset(c.idle)
	go c.carry(c.node, c.client)
	go c.carry(c.client, c.node)
}

// carry is one way.
func (c *conn) carry(to, from halfCloser) {
	err := c.copy(to, from)
	if err == nil {
		err = to.CloseWrite()
	}
	if err != nil {
		c.end()
	}
	if c.ways.Add(-1) == 0 {
		c.watch.Stop()
		c.close()
	}
}

// touch notes that something has moved.
func (c *conn) touch() { c.moved.Store(int64(sinceStart())) }

var processStart = time.Now()

func sinceStart() time.Duration { return time.Since(processStart) }

// newWatch returns a timer that is not set, so that who sets it already has it.
func newWatch(check func()) *time.Timer { return time.AfterFunc(math.MaxInt64, check) }

// checkIdle ends the connection when nothing has moved for too long, and looks again later otherwise.
func (c *conn) checkIdle() {
	if left := c.idle - (sinceStart() - time.Duration(c.moved.Load())); left > 0 {
		c.watch.Reset(left)
		return
	}
	c.end()
}

// end closes both ends, from whatever goroutine: whoever reads or writes finds out.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
	closeSocket(c.client)
	if c.node != nil {
		closeSocket(c.node)
	}
}

// closeSocket closes a connection without waiting for the other end, as TLS otherwise does.
func closeSocket(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close()
}

// attach makes conn the node's. It reports false, and closes it, when the connection has ended meanwhile.
func (c *conn) attach(conn halfCloser) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		closeSocket(conn)
		return false
	}
	c.node = conn
	return true
}

// close lets go of everything. It is called once, by the last goroutine that has the connection.
func (c *conn) close() {
	c.end()
	if c.x != nil {
		c.proxy.finish(c.x)
		c.x = nil
	}
	if c.counted != nil {
		c.counted.State.InFlight.Add(-1)
	}
	c.proxy.leave(c)
}

func addrPort(addr net.Addr) netip.AddrPort {
	switch addr := addr.(type) {
	case *net.TCPAddr:
		return unmapped(addr.AddrPort())
	case *net.UDPAddr:
		return unmapped(addr.AddrPort())
	}
	return netip.AddrPort{}
}

func unmapped(addr netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

var (
	_ gateway.Wire      = (*conn)(nil)
	_ gateway.Prereader = (*conn)(nil)
)
