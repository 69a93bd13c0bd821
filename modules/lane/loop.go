// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"net"
	"net/netip"
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

	gateway atomic.Pointer[gateway.Gateway]
	closing atomic.Bool
}

// Serve makes g answer the site's requests from now on. With nil they are all handed over.
func (s *Site) Serve(g *gateway.Gateway) { s.gateway.Store(g) }

// SetClosing says whether connections are to end: each with its present exchange, idle ones soon.
func (s *Site) SetClosing(closing bool) { s.closing.Store(closing) }

// Loop is one event loop with its connections. Its methods may be called from any goroutine.
type Loop interface {
	// Accept takes over a client's socket, which is non-blocking and the loop's from here on.
	Accept(fd int, remote, local netip.AddrPort, site *Site)
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
