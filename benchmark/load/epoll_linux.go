// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// epoll is the wire for kernels without io_uring: a call for each read and write, and one wake-up for all that is ready.
type epoll struct {
	engine   *engine
	fd       int
	listener int
	conns    map[int32]*conn
	buffer   []byte
	events   []unix.EpollEvent
}

func newEpoll(e *engine) (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &epoll{
		engine: e, fd: fd, listener: -1, conns: map[int32]*conn{}, buffer: make([]byte, 256<<10),
		events: make([]unix.EpollEvent, 1024),
	}, nil
}

func (p *epoll) name() string { return "epoll" }

func (p *epoll) listen(fd int) error {
	p.listener = fd
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (p *epoll) add(c *conn) {
	p.conns[int32(c.fd)] = c
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff, Fd: int32(c.fd)}
	_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, c.fd, &event)
}

func (p *epoll) send(c *conn, b []byte) {
	c.wire.unsent = b
	p.flush(c)
}

// flush sends what the socket takes. An error shows when the socket is read.
func (p *epoll) flush(c *conn) {
	for len(c.wire.unsent) > 0 {
		n, err := unix.SendmsgN(c.fd, c.wire.unsent, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		c.wire.unsent = c.wire.unsent[n:]
		if len(c.wire.unsent) == 0 {
			p.engine.sent(c)
		}
	}
}

func (p *epoll) drop(c *conn) {
	if c.dropped {
		return
	}
	c.dropped = true
	delete(p.conns, int32(c.fd))
	unix.Close(c.fd)
}

func (p *epoll) wait() error {
	n, err := unix.EpollWait(p.fd, p.events, 50)
	if err != nil && err != unix.EINTR {
		return os.NewSyscallError("epoll_wait", err)
	}
	p.engine.tick()
	for _, event := range p.events[:max(n, 0)] {
		if int(event.Fd) == p.listener {
			p.accept()
			continue
		}
		// A descriptor that was closed and is used again within one round gets one look too many, which does no harm.
		c := p.conns[event.Fd]
		if c == nil {
			continue
		}
		if event.Events&unix.EPOLLOUT != 0 {
			p.flush(c)
		}
		if event.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			p.read(c)
		}
	}
	return nil
}

func (p *epoll) accept() {
	for {
		fd, _, err := unix.Accept4(p.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		p.engine.accepted(fd)
	}
}

func (p *epoll) read(c *conn) {
	for !c.dropped {
		n, err := unix.Read(c.fd, p.buffer)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return
		case err != nil || n == 0:
			p.engine.closed(c)
			return
		default:
			p.engine.received(c, p.buffer[:n])
		}
	}
}

func (p *epoll) close() {
	for _, c := range p.conns {
		unix.Close(c.fd)
	}
	if p.listener >= 0 {
		unix.Close(p.listener)
	}
	unix.Close(p.fd)
}
