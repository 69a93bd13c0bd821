// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// Config says how a loop works.
type Config struct {
	Limits   *Limits
	Timeouts *Timeouts
}

// Site is where a client's connection belongs: one listening address. It outlives configs; a reload only swaps what it
// points at, and every connection sees that at its next request. It is safe for concurrent use.
type Site struct {
	// HandOver receives connections that a lane cannot serve, with what was read from them, on a goroutine of its own. It
	// is set before the first connection and not changed.
	HandOver func(conn net.Conn)

	serving atomic.Pointer[Serving]
	closing atomic.Bool
}

// Serving is what a site points at. It is immutable, but for what it counts itself.
type Serving struct {
	Gateway *gateway.Gateway
	// Hosts are those whose requests the gateway answers, nil for all. Others are handed over.
	Hosts *Hosts
	// AltSvc is the Alt-Svc field of responses over TLS, empty for none.
	AltSvc string
	// Metrics counts the site's exchanges; nil for nobody.
	Metrics Metrics
	// Log writes the line of one exchange; nil for no log. It is called on a goroutine beside each loop, so by several at a
	// time, and may wait.
	Log func(*Record)

	// unwritten counts the records that wait for Log.
	unwritten atomic.Int64
}

// Serve settles who answers the site's requests from now on. With nil they are all handed over.
func (s *Site) Serve(serving *Serving) { s.serving.Store(serving) }

// Hosts is a set of host names as Caddy's host matcher knows them: names, and names whose first label is "*", which stands
// for any one label. It is immutable.
type Hosts struct {
	names, suffixes map[string]bool
}

// NewHosts makes a set.
func NewHosts(patterns []string) *Hosts {
	h := &Hosts{names: make(map[string]bool), suffixes: make(map[string]bool)}
	for _, pattern := range patterns {
		pattern = strings.ToLower(pattern)
		if suffix, ok := strings.CutPrefix(pattern, "*."); ok {
			h.suffixes[suffix] = true
		} else {
			h.names[pattern] = true
		}
	}
	return h
}

// Has reports whether a host, in lower case and without port, is in the set.
func (h *Hosts) Has(host string) bool {
	if h.names[host] {
		return true
	}
	_, rest, ok := strings.Cut(host, ".")
	return ok && h.suffixes[rest]
}

// SetClosing says whether connections are to end: each with its present exchange, idle ones soon.
func (s *Site) SetClosing(closing bool) { s.closing.Store(closing) }

// Client is a client's connection on its way into a loop.
type Client struct {
	// FD is a non-blocking socket, the loop's from here on.
	FD            int
	Remote, Local netip.AddrPort
	Site          *Site
	// TLS is the connection's TLS layer after the handshake, nil for none.
	TLS    *tls.Conn
	socket *Socket
}

// Listener is a listening socket that loops accept from, all from one queue: none of them can have connections waiting
// that another has time for, and ending one loses none. It is immutable.
type Listener struct {
	FD   int
	Site *Site

	// local is the address of every connection, invalid when the socket listens on several.
	local netip.AddrPort
	loops []Loop
}

// Loop is one event loop with its connections. Its methods may be called from any goroutine.
type Loop interface {
	// Accept takes over a client's connection.
	Accept(client *Client)
	// Listen has the loop accept connections itself until stop is called; when that has returned the loop does not touch
	// the socket any more.
	Listen(l *Listener) (stop func())
	// Load returns about how many connections the loop has of clients. It costs nothing.
	Load() int
	// Conns returns how many connections the loop has, of clients and to nodes.
	Conns() int
	// Close ends the loop: connections finish their present exchange within grace, then everything is closed.
	Close(grace time.Duration)
}

// prefixConn gives back what was read from a connection before the connection itself.
type prefixConn struct {
	net.Conn
	prefix []byte
}

func (c *prefixConn) Read(b []byte) (int, error) {
	if len(c.prefix) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.prefix)
	c.prefix = c.prefix[n:]
	return n, nil
}

// CloseWrite ends this side of the connection, which a tunnel does while the other still speaks.
func (c *prefixConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}
