// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// controlSize is room for what tellLocal asks for.
const controlSize = 128

// tellLocal has a socket say of each datagram to which address it was sent (IP_PKTINFO and IPV6_RECVPKTINFO).
func tellLocal(socket *net.UDPConn) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		// One of them is not for sockets of the other kind.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	})
}

// toldLocal reads what the socket says; the zero address is nothing.
func toldLocal(control []byte) (local netip.Addr) {
	for len(control) > 0 {
		header, body, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return local
		}
		control = rest
		switch {
		case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(body) >= 16:
			// A socket for both kinds says it in both ways, and this one is the one that it takes back.
			return netip.AddrFrom16([16]byte(body[:16]))
		case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && len(body) >= unix.SizeofInet4Pktinfo:
			local = netip.AddrFrom4([4]byte(body[8:12]))
		}
	}
	return local
}

// answerFrom makes datagrams leave from an address of a socket that has many.
func answerFrom(d *Datagrams, local netip.Addr) []byte {
	switch {
	case !d.local.Addr().IsUnspecified() || !local.IsValid() || local.IsUnspecified():
		return nil
	case local.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: local.As4()})
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: local.As16()})
}

// datagramReader reads what a node sends. While there is nothing it has no buffer.
type datagramReader struct {
	raw    syscall.RawConn
	buffer *[maxDatagram]byte
	n      int
	err    error
}

func newDatagramReader(conn *net.UDPConn) (*datagramReader, error) {
	raw, err := conn.SyscallConn()
	return &datagramReader{raw: raw}, err
}

// read waits for a datagram and calls use with it.
func (r *datagramReader) read(use func(b []byte)) error {
	if err := r.raw.Read(r.take); err != nil {
		return err
	}
	defer datagrams.Put(r.buffer)
	if r.err == nil {
		use(r.buffer[:r.n])
	}
	return r.err
}

func (r *datagramReader) take(fd uintptr) bool {
	r.buffer = datagrams.Get().(*[maxDatagram]byte)
	for {
		r.n, r.err = unix.Read(int(fd), r.buffer[:])
		switch {
		case errors.Is(r.err, unix.EINTR):
		case errors.Is(r.err, unix.EAGAIN):
			datagrams.Put(r.buffer)
			return false
		default:
			return true
		}
	}
}
