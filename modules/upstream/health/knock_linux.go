// SPDX-License-Identifier: Apache-2.0

package health

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// knocker makes connections and closes them, all on one goroutine and with no more system calls than that takes: probes by
// tcp cost what the kernel does for a connection, and little besides. Its methods are safe for concurrent use.
type knocker struct {
	// epoll watches the connections that the kernel is at. It is itself watched by Go's poller, so that no thread waits.
	epoll *os.File
	raw   syscall.RawConn
	fd    int

	mu     sync.Mutex
	queue  []*knock
	closed bool

	// The rest belongs to the goroutine. begun are of the batch at hand, and pending those that epoll watches, by their
	// descriptors. asked and events are for asking the kernel.
	begun   []*knock
	pending map[int]*knock
	asked   []unix.PollFd
	events  [128]unix.EpollEvent
}

// newKnocker returns nil where there cannot be one.
func newKnocker() *knocker {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil
	}
	k := &knocker{epoll: os.NewFile(uintptr(fd), "epoll"), fd: fd, pending: make(map[int]*knock)}
	k.raw, err = k.epoll.SyscallConn()
	if err != nil || k.epoll.SetReadDeadline(time.Time{}) != nil {
		k.epoll.Close()
		return nil
	}
	return k
}

// past is a deadline that wakes who waits.
var past = time.Unix(1, 0)

// add has a knock made. After close none is made, and nobody is told.
func (k *knocker) add(n *knock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.queue = append(k.queue, n); len(k.queue) == 1 {
		_ = k.epoll.SetReadDeadline(past)
	}
}

// close ends run, which gives up what is under way.
func (k *knocker) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	_ = k.epoll.SetReadDeadline(past)
}

// run makes the knocks until close.
func (k *knocker) run() {
	defer k.epoll.Close()
	for {
		batch, closed := k.take()
		if closed {
			for fd := range k.pending {
				hangUp(fd)
			}
			return
		}
		for _, n := range batch {
			k.begin(n)
		}
		k.settle()
		if len(batch) == 0 {
			_ = k.raw.Read(func(uintptr) bool { return k.poll() })
		}
		k.poll()
		k.expire(time.Now())
	}
}

// take returns what has been added. When that is nothing it arms the deadline by which something has to be done.
func (k *knocker) take() (batch []*knock, closed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	batch, k.queue = k.queue, nil
	if len(batch) > 0 || k.closed {
		return batch, k.closed
	}
	var first time.Time
	for _, n := range k.pending {
		if first.IsZero() || n.deadline.Before(first) {
			first = n.deadline
		}
	}
	_ = k.epoll.SetReadDeadline(first)
	return nil, false
}

// begin connects.
func (k *knocker) begin(n *knock) {
	var err error
	family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(n.to.Port()), Addr: n.to.Addr().As16()})
	if n.to.Addr().Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: int(n.to.Port()), Addr: n.to.Addr().As4()}
	}
	if n.fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP); err != nil {
		n.done(n.failed("socket", err))
		return
	}
	// Closing is a reset, see resetting.
	_ = unix.SetsockoptLinger(n.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	if err = unix.Connect(n.fd, to); errors.Is(err, unix.EINPROGRESS) {
		k.begun = append(k.begun, n)
		return
	}
	n.end(err)
}

// settle ends those of the batch that have an answer already, such as those on this machine, and has epoll watch the others.
func (k *knocker) settle() {
	if len(k.begun) == 0 {
		return
	}
	k.asked = k.asked[:0]
	for _, n := range k.begun {
		k.asked = append(k.asked, unix.PollFd{Fd: int32(n.fd), Events: unix.POLLOUT})
	}
	_, failed := unix.Poll(k.asked, 0)
	for i, n := range k.begun {
		if failed == nil && k.asked[i].Revents != 0 {
			n.answered(k.asked[i].Revents&(unix.POLLERR|unix.POLLHUP) != 0)
			continue
		}
		event := unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(n.fd)}
		if err := unix.EpollCtl(k.fd, unix.EPOLL_CTL_ADD, n.fd, &event); err != nil {
			n.end(err)
			continue
		}
		k.pending[n.fd] = n
	}
	clear(k.begun)
	k.begun = k.begun[:0]
}

// answered ends a knock to which the kernel has an answer.
func (n *knock) answered(failed bool) {
	if !failed {
		n.end(nil)
		return
	}
	code, err := unix.GetsockoptInt(n.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = syscall.Errno(code)
	}
	n.end(err)
}

// end closes the connection and tells how it went.
func (n *knock) end(err error) {
	if err == nil && n.doubt && n.itself() {
		err = unix.ECONNREFUSED
	}
	hangUp(n.fd)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		err = n.failed("connect", err)
	}
	n.done(err)
}

// itself reports whether the connection is one with itself: nobody listens, and the kernel has given it the very port that
// it was to connect to.
func (n *knock) itself() bool {
	name, err := unix.Getsockname(n.fd)
	if err != nil {
		return false
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		return name.Port == int(n.to.Port()) && n.to.Addr().Is4() && name.Addr == n.to.Addr().As4()
	case *unix.SockaddrInet6:
		return name.Port == int(n.to.Port()) && name.Addr == n.to.Addr().As16()
	}
	return false
}

func hangUp(fd int) { _ = unix.Close(fd) }

// poll ends the knocks that have an answer, and reports whether there were any.
func (k *knocker) poll() (some bool) {
	for len(k.pending) > 0 {
		count, err := unix.EpollWait(k.fd, k.events[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		for _, event := range k.events[:max(0, count)] {
			n := k.pending[int(event.Fd)]
			if n == nil {
				continue
			}
			some = true
			delete(k.pending, n.fd)
			n.answered(event.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0)
		}
		if count < len(k.events) {
			return some
		}
	}
	return some
}

// expire ends the knocks that had no answer in time.
func (k *knocker) expire(now time.Time) {
	for fd, n := range k.pending {
		if !n.deadline.After(now) {
			delete(k.pending, fd)
			n.end(os.ErrDeadlineExceeded)
		}
	}
}
