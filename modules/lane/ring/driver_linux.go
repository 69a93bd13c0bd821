// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/andogate/ando/modules/lane"
)

// driver is the loop as its engine sees it.
type driver struct{ *Loop }

// Post implements lane.Driver.
func (d driver) Post(f func()) { d.inbox.Post(f) }

// Dial implements lane.Driver.
func (d driver) Dial(c *lane.Conn, addr netip.AddrPort) error {
	domain, _ := lane.Sockaddr(addr)
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	c.FD = fd
	s := d.take(c)
	s.connecting = true
	s.pending++
	e := d.ring.next()
	e.op, e.fd, e.data = opConnect, int32(fd), didConnect|uint64(s.slot)
	e.addr, e.off = uint64(uintptr(unsafe.Pointer(&s.sockaddr))), uint64(s.setSockaddr(addr))
	return nil
}

// setSockaddr keeps an address where the kernel can read it later, and returns its size.
func (s *state) setSockaddr(addr netip.AddrPort) int {
	port := addr.Port()<<8 | addr.Port()>>8
	if ip := addr.Addr().Unmap(); ip.Is4() {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&s.sockaddr)) = unix.RawSockaddrInet4{
			Family: unix.AF_INET, Port: port, Addr: ip.As4(),
		}
		return unix.SizeofSockaddrInet4
	}
	*(*unix.RawSockaddrInet6)(unsafe.Pointer(&s.sockaddr)) = unix.RawSockaddrInet6{
		Family: unix.AF_INET6, Port: port, Addr: addr.Addr().As16(),
	}
	return unix.SizeofSockaddrInet6
}

// Flush implements lane.Driver.
func (d driver) Flush(c *lane.Conn) {
	s, ok := c.Driver.(*state)
	if !ok || s.dirty || s.connecting || s.inFlight > 0 {
		return
	}
	s.dirty = true
	d.dirty = append(d.dirty, s)
}

// Borrow implements lane.Driver: the provided buffer is the kernel's again when it has been sent.
func (d driver) Borrow(c *lane.Conn, b []byte) int {
	s, ok := c.Driver.(*state)
	if !ok || s.dead || s.handing || s.failed || d.current == engineBuffer ||
		d.borrowed >= maxBorrowed || s.borrowed >= maxShare {
		return 0
	}
	s.gather()
	s.queue = append(s.queue, piece{b, d.current})
	d.holders[d.current]++
	d.borrowed++
	s.borrowed++
	c.Took(len(b))
	d.Flush(c)
	return len(b)
}

// Pause implements lane.Driver.
func (d driver) Pause(c *lane.Conn) {
	s := c.Driver.(*state)
	s.paused = true
	if !s.bulk {
		s.bulk = true
		d.stop(s)
	}
}

// Resume implements lane.Driver.
func (d driver) Resume(c *lane.Conn) {
	s := c.Driver.(*state)
	s.paused = false
	d.settle(s)
}

// CloseWrite implements lane.Driver.
func (d driver) CloseWrite(c *lane.Conn) { _ = unix.Shutdown(c.FD, unix.SHUT_WR) }

// Close implements lane.Driver.
func (d driver) Close(c *lane.Conn) {
	s, ok := c.Driver.(*state)
	if !ok {
		return
	}
	s.dead = true
	if s.pending > 0 && !s.closing {
		d.cancel(s)
		d.close(s)
	}
	d.settle(s)
}

// close has the ring close the socket, after what is to be done with it before.
func (l *Loop) close(s *state) {
	lane.SetReset(s.c)
	s.closing = true
	s.pending++
	e := l.ring.next()
	e.op, e.fd, e.data = opClose, int32(s.c.FD), didClose|uint64(s.slot)
}

// cancel ends everything that is in flight on a connection.
func (l *Loop) cancel(s *state) {
	if s.pending == 0 {
		return
	}
	s.pending++
	e := l.ring.next()
	e.op, e.fd, e.data = opAsyncCancel, int32(s.c.FD), didCancel|uint64(s.slot)
	e.opFlags = cancelAll | cancelFD
}

// HandOver implements lane.Driver.
func (d driver) HandOver(c *lane.Conn, read []byte) {
	s := c.Driver.(*state)
	s.handing = true
	s.read = append([]byte(nil), read...)
	d.cancel(s)
	d.settle(s)
}

var (
	_ lane.Driver = driver{}
	_ lane.Loop   = (*Loop)(nil)
)
