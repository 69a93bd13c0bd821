// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Listen has loops accept what comes to ln until stop is called; when that has returned they do not touch the socket any
// more. Meanwhile nobody else should accept from it. Connections inherit what is set on the socket.
func Listen(ln *net.TCPListener, loops []Loop, site *Site, alive net.KeepAliveConfig) (stop func(), err error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, err
	}
	l := &Listener{FD: -1, Site: site, loops: loops}
	var dupErr error
	if err := raw.Control(func(fd uintptr) { l.FD, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("fcntl", dupErr)
	}
	setInherited(l.FD, alive)
	if addr := ln.Addr().(*net.TCPAddr).AddrPort(); !addr.Addr().IsUnspecified() {
		l.local = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	}
	var stops []func()
	for _, loop := range loops {
		stops = append(stops, loop.Listen(l))
	}
	return sync.OnceFunc(func() {
		for _, stop := range stops {
			stop()
		}
		unix.Close(l.FD)
	}), nil
}

// setInherited sets what Go sets on each connection that it accepts.
func setInherited(fd int, alive net.KeepAliveConfig) {
	// Small answers must not wait for the acknowledgement of the one before.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if !alive.Enable {
		return
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	for option, value := range map[int]int{
		unix.TCP_KEEPIDLE:  keepAliveSeconds(alive.Idle),
		unix.TCP_KEEPINTVL: keepAliveSeconds(alive.Interval),
		unix.TCP_KEEPCNT:   alive.Count,
	} {
		if value == 0 && option == unix.TCP_KEEPCNT {
			value = 9
		}
		if value > 0 {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, option, value)
		}
	}
}

// keepAliveSeconds is a time of net.KeepAliveConfig in seconds, at least one; 0 is 15 seconds there, and less leaves the
// system's.
func keepAliveSeconds(d time.Duration) int {
	switch {
	case d < 0:
		return -1
	case d == 0:
		return 15
	}
	return int((d + time.Second - 1) / time.Second)
}

// Client returns what has been accepted, with the address that accept4(2) gave.
func (l *Listener) Client(fd int, remote *unix.RawSockaddrInet6) Client {
	c := Client{FD: fd, Site: l.Site, Remote: addrPort(remote), Local: l.local}
	if !c.Local.IsValid() {
		var local unix.RawSockaddrInet6
		size := uint32(unix.SizeofSockaddrInet6)
		_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(&local)), uintptr(unsafe.Pointer(&size)))
		if errno == 0 {
			c.Local = addrPort(&local)
		}
	}
	return c
}

// AcceptRest is how long a loop leaves a listener alone after an error that is not of one connection: mostly because the
// system has no room for another.
const AcceptRest = 100 * time.Millisecond

// AcceptGoesOn reports whether an error of accept4(2) is that of one connection, which failed before it was accepted; the
// next may be good.
func AcceptGoesOn(errno unix.Errno) bool {
	switch errno {
	case unix.ECONNABORTED, unix.EINTR, unix.EAGAIN, unix.EPROTO, unix.EPERM, unix.ENETDOWN, unix.ENETUNREACH,
		unix.EHOSTDOWN, unix.EHOSTUNREACH, unix.ENONET:
		return true
	}
	return false
}

// Elsewhere returns the loop that should have the next connection instead of self, which accepted it, or nil. Loops that
// sleep are woken in the same order time and again, and connections may stay: without it one loop would get them all.
func (l *Listener) Elsewhere(self Loop) Loop {
	if len(l.loops) == 1 {
		return nil
	}
	least := slices.MinFunc(l.loops, func(a, b Loop) int { return a.Load() - b.Load() })
	if load := least.Load(); self.Load() > load+load/8+4 {
		return least
	}
	return nil
}

// addrPort reads an address that may be one of IPv4.
func addrPort(raw *unix.RawSockaddrInet6) netip.AddrPort {
	port := raw.Port<<8 | raw.Port>>8
	switch raw.Family {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(raw)).Addr), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(raw.Addr).Unmap(), port)
	}
	return netip.AddrPort{}
}

// Drain closes a listening socket without the loss of who has connected to it: it lets in nobody new, waits for handshakes
// that are under way, and returns those that nobody has accepted yet, whom closing would reset.
func Drain(ln *net.TCPListener) ([]*net.TCPConn, error) {
	var conns []*net.TCPConn
	raw, err := ln.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			refuse(int(fd))
			for end := time.Now().Add(handshakeTime); ; {
				conns = acceptAll(int(fd), conns)
				left := time.Until(end)
				if left <= 0 {
					return
				}
				// Whatever it says, the queue is looked at again.
				_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left/time.Millisecond)+1)
			}
		})
	}
	if err != nil {
		return conns, fmt.Errorf("draining %s: %w", ln.Addr(), err)
	}
	return conns, ln.Close()
}

// handshakeTime is how long TCP handshakes that had begun when a socket closes may take. It is the time that giving up an
// address takes.
const handshakeTime = 200 * time.Millisecond

// acceptAll accepts what is in the queue of a listening socket.
func acceptAll(fd int, conns []*net.TCPConn) []*net.TCPConn {
	for {
		client, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err == unix.EINTR || err == unix.ECONNABORTED {
			continue
		}
		if err != nil {
			return conns
		}
		file := os.NewFile(uintptr(client), "")
		if conn, err := net.FileConn(file); err == nil {
			conns = append(conns, conn.(*net.TCPConn))
		}
		file.Close()
	}
}

// refuse has the kernel drop what begins a connection (RFC 9293 section 3.1: SYN without ACK). Who sent it tries again,
// and meets the closed port. If the filter is refused, only the last instant before the close is not covered.
func refuse(fd int) {
	const flags, syn, ack = 13, 1 << 1, 1 << 4
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: syn | ack},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: syn, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1<<32 - 1},
	}
	_ = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{
		Len: uint16(len(program)), Filter: &program[0],
	})
}
