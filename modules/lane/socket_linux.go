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

// Sockaddr returns an address as the socket calls want it.
func Sockaddr(addr netip.AddrPort) (domain int, _ unix.Sockaddr) {
	if ip := addr.Addr().Unmap(); ip.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: ip.As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
}
