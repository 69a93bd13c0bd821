// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"net"
	"net/netip"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// Config says what a loop serves and how.
type Config struct {
	Gateway  *gateway.Gateway
	Limits   *Limits
	Timeouts *Timeouts
	// HandOver receives connections that a lane cannot serve, with what was read from them, on a goroutine of its own. nil
	// closes them.
	HandOver func(conn net.Conn)
}

// Loop is one event loop with its connections. Its methods may be called from any goroutine.
type Loop interface {
	// Accept takes over a client's socket, which is non-blocking and the loop's from here on.
	Accept(fd int, remote, local netip.AddrPort)
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
