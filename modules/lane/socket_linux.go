// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"net"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// HandOver makes a net.Conn of a loop's socket and gives it, with what was read from it, to a goroutine, which first
// sends what the loop had not sent yet.
func HandOver(fd int, read, unsent []byte, to func(net.Conn)) {
	file := os.NewFile(uintptr(fd), "")
	conn, err := net.FileConn(file)
	file.Close()
	switch {
	case err != nil:
	case to == nil:
		conn.Close()
	default:
		read, unsent = slices.Clone(read), slices.Clone(unsent)
		go func() {
			if _, err := conn.Write(unsent); err != nil {
				conn.Close()
				return
			}
			to(&prefixConn{Conn: conn, prefix: read})
		}()
	}
}

// Give moves a plain TCP connection into a loop. It reports false, and leaves the connection as it is, when it is none.
func Give(conn net.Conn, loop Loop, site *Site) bool {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	fd := -1
	if err := raw.Control(func(f uintptr) { fd, _ = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || fd < 0 {
		return false
	}
	remote, local := tcp.RemoteAddr().(*net.TCPAddr).AddrPort(), tcp.LocalAddr().(*net.TCPAddr).AddrPort()
	// The copy keeps the connection; Go's poller must not watch it as well.
	_ = tcp.Close()
	loop.Accept(fd, remote, local, site)
	return true
}

// CloseSocket closes a connection's socket, as the connection's Reset says.
func CloseSocket(c *Conn) {
	if c.Reset {
		_ = unix.SetsockoptLinger(c.FD, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	_ = unix.Close(c.FD)
}

// Sockaddr returns an address as the socket calls want it.
func Sockaddr(addr netip.AddrPort) (domain int, _ unix.Sockaddr) {
	if ip := addr.Addr().Unmap(); ip.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: ip.As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
}
