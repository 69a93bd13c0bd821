// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// HandOver makes a net.Conn of a loop's connection again and gives it to its site on a goroutine, which first sends what
// the loop had not sent yet: queued, which the driver has taken, and what is pending. read is what the client sent and
// nobody has used, late what arrived on the socket since, which of a TLS connection is still encrypted.
func HandOver(c *Conn, queued, read, late []byte) {
	file := os.NewFile(uintptr(c.FD), "")
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		return
	}
	unsent := slices.Concat(queued, c.Pending())
	read = slices.Clone(read)
	var whole net.Conn
	if s := c.session; s != nil {
		s.giveBack(conn.(*net.TCPConn), late)
		whole = &prefixTLS{Conn: s.conn, prefix: read}
	} else {
		whole = &prefixConn{Conn: conn, prefix: append(read, late...)}
	}
	to, patience := c.site.HandOver, time.Duration(c.engine.timeouts.Write)*time.Second
	go func() {
		_ = conn.SetWriteDeadline(time.Now().Add(patience))
		if _, err := conn.Write(unsent); err != nil || to == nil || conn.SetWriteDeadline(time.Time{}) != nil {
			conn.Close()
			return
		}
		to(whole)
	}()
}

// Give moves a connection into a loop: plain TCP, or TLS on a Socket after its handshake. It reports false, and leaves
// the connection as it is, when it is neither.
func Give(conn net.Conn, loop Loop, site *Site) bool {
	client := &Client{Site: site}
	var tcp *net.TCPConn
	switch conn := conn.(type) {
	case *net.TCPConn:
		tcp = conn
	case *Socket:
		tcp = conn.TCPConn
	case *tls.Conn:
		socket, ok := conn.NetConn().(*Socket)
		if !ok {
			return false
		}
		// Deadlines of the handshake are over.
		if conn.SetDeadline(time.Time{}) != nil {
			return false
		}
		tcp, client.TLS, client.socket = socket.TCPConn, conn, socket
	default:
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	client.FD = -1
	err = raw.Control(func(f uintptr) { client.FD, _ = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil || client.FD < 0 {
		return false
	}
	client.Remote, client.Local = tcp.RemoteAddr().(*net.TCPAddr).AddrPort(), tcp.LocalAddr().(*net.TCPAddr).AddrPort()
	// The copy keeps the connection; Go's poller must not watch it as well.
	_ = tcp.Close()
	loop.Accept(client)
	return true
}

// CloseSocket closes a connection's socket, as the connection's Reset says.
func CloseSocket(c *Conn) {
	SetReset(c)
	_ = unix.Close(c.FD)
}

// SetReset has the close of a connection's socket do as the connection's Reset says.
func SetReset(c *Conn) {
	if c.Reset {
		_ = unix.SetsockoptLinger(c.FD, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
}

// Sockaddr returns an address as the socket calls want it.
func Sockaddr(addr netip.AddrPort) (domain int, _ unix.Sockaddr) {
	if ip := addr.Addr().Unmap(); ip.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: ip.As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
}
