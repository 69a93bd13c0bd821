// SPDX-License-Identifier: Apache-2.0

// Package poll drives lane engines with epoll: one loop per core, each a goroutine locked to its thread with its own
// connections.
package poll

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/andogate/ando/modules/lane"
)

// Loop is one event loop. Accept, Post and Close may be called from any goroutine; everything else is the loop's.
type Loop struct {
	engine *lane.Engine
	epoll  int
	wake   int

	// conns is indexed by file descriptor; a conn's generation tells events of a closed one from its successor's.
	conns      []*lane.Conn
	generation uint32
	dirty      []*lane.Conn
	buffer     []byte
	listening  []*listening

	inbox  lane.Inbox
	closed bool
	done   chan struct{}
}

// state is what the loop keeps in lane.Conn.Driver.
type state struct {
	generation uint32
	events     uint32
	// read is how much the next read takes.
	read       int
	dirty      bool
	connecting bool
	// ended: the peer has closed its side. failed: nothing can be sent any more; what the peer sent before it broke the
	// connection is still to be read.
	ended, failed bool
}

// driver is the loop as its engine sees it.
type driver struct{ *Loop }

// One read takes readSize. A full read leaves the rest for the next round, so that no connection starves the others. A
// connection that fills its reads while its peer takes everything gets larger ones, up to bulkSize, until the peer does not:
// how much a slow peer makes the loop keep is one read.
const (
	readSize = 64 << 10
	bulkSize = 256 << 10
)

// NewLoop starts a loop.
func NewLoop(config lane.Config) (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("eventfd", err), unix.Close(epoll))
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, wake, &event); err != nil {
		return nil, errors.Join(os.NewSyscallError("epoll_ctl", err), unix.Close(wake), unix.Close(epoll))
	}
	l := &Loop{epoll: epoll, wake: wake, buffer: make([]byte, bulkSize), done: make(chan struct{})}
	l.inbox.Wake = l.ring
	l.engine = lane.NewEngine(driver{l}, config)
	go l.run()
	return l, nil
}

// Accept takes over a client's socket, which is non-blocking and the loop's from here on.
func (l *Loop) Accept(client *lane.Client) {
	l.Post(func() {
		if l.closed {
			unix.Close(client.FD)
			return
		}
		// Small answers must not wait for the acknowledgement of the one before.
		_ = unix.SetsockoptInt(client.FD, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		l.begin(client)
	})
}

// begin takes a client's connection in.
func (l *Loop) begin(client *lane.Client) {
	c := &lane.Conn{FD: client.FD}
	if !l.watch(c, unix.EPOLLIN|unix.EPOLLRDHUP, false) {
		unix.Close(client.FD)
		return
	}
	l.engine.Accept(c, client)
}

// Conns returns how many connections the loop has, of clients and to nodes.
func (l *Loop) Conns() int {
	result := make(chan int, 1)
	l.Post(func() { result <- l.engine.Conns() })
	select {
	case n := <-result:
		return n
	case <-l.done:
		return 0
	}
}

// Post runs f on the loop, after what it is doing.
func (l *Loop) Post(f func()) { l.inbox.Post(f) }

func (l *Loop) ring() {
	// It can only fail when the counter is full, and then the loop wakes anyway.
	_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// Close ends the loop: connections finish their present exchange within grace, then everything is closed.
func (l *Loop) Close(grace time.Duration) {
	deadline := time.Now().Add(grace)
	l.Post(l.engine.Drain)
	for l.Conns() > 0 && time.Now().Before(deadline) {
		select {
		case <-l.done:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	l.Post(func() { l.closed = true })
	<-l.done
}

func (l *Loop) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(l.done)
	events := make([]unix.EpollEvent, 256)
	for !l.closed {
		n := l.wait(events)
		l.engine.Tick(time.Now())
		for i := range events[:n] {
			l.event(&events[i])
		}
		l.inbox.Run()
		l.engine.Sweep()
		l.flush()
		l.listenAgain()
	}
	l.engine.Close()
	for len(l.listening) > 0 {
		l.unlisten(l.listening[0])
	}
	l.inbox.End()
	unix.Close(l.wake)
	unix.Close(l.epoll)
}

// wait returns what is ready. It asks without giving up the processor first, which is cheap and under load nearly always
// enough; only then does it sleep, at most until the engine's clock is due.
func (l *Loop) wait(events []unix.EpollEvent) int {
	if n := pollNow(l.epoll, events); n > 0 {
		return n
	}
	defer l.inbox.Rise()
	timeout := 1000
	if !l.inbox.Doze() {
		timeout = 0
	}
	n, err := unix.EpollWait(l.epoll, events, timeout)
	if err != nil {
		return 0
	}
	return n
}

func (l *Loop) event(event *unix.EpollEvent) {
	fd := int(event.Fd)
	if event.Pad == listeningMark {
		l.acceptFrom(fd)
		return
	}
	if fd == l.wake {
		var counter [8]byte
		_, _ = unix.Read(l.wake, counter[:])
		return
	}
	c := l.conns[fd]
	if c == nil || c.Driver.(*state).generation != uint32(event.Pad) {
		return
	}
	s := c.Driver.(*state)
	if s.connecting {
		l.connected(c, s)
		return
	}
	if event.Events&unix.EPOLLOUT != 0 {
		l.send(c, s)
	}
	if l.conns[fd] != c {
		return
	}
	failed := event.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0
	switch {
	case failed && s.ended:
		l.engine.Broken(c)
	case failed || s.events&unix.EPOLLIN != 0 && event.Events&(unix.EPOLLIN|unix.EPOLLRDHUP) != 0:
		l.receive(c, s)
	}
}

func (l *Loop) receive(c *lane.Conn, s *state) {
	n, errno := read(c.FD, l.buffer[:s.read])
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
	case errno != 0:
		l.engine.Broken(c)
	case n == 0 && s.failed:
		l.engine.Broken(c)
	case n == 0:
		// The end stays readable for ever, and an end is all it can be: nothing more to watch for but room to write.
		s.ended = true
		l.mask(c, s.events&^uint32(unix.EPOLLIN|unix.EPOLLRDHUP))
		l.engine.EOF(c)
	default:
		if n == s.read && n < bulkSize {
			s.read *= 2
		}
		l.engine.Data(c, l.buffer[:n])
	}
}

func (l *Loop) connected(c *lane.Conn, s *state) {
	s.connecting = false
	code, err := unix.GetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	if err != nil {
		l.engine.Connected(c, os.NewSyscallError("connect", err))
		return
	}
	l.mask(c, unix.EPOLLIN|unix.EPOLLRDHUP)
	l.engine.Connected(c, nil)
}

// watch registers a connection with epoll.
func (l *Loop) watch(c *lane.Conn, events uint32, connecting bool) bool {
	l.generation++
	s := &state{generation: l.generation, events: events, read: readSize, connecting: connecting}
	event := unix.EpollEvent{Events: events, Fd: int32(c.FD), Pad: int32(s.generation)}
	if unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, c.FD, &event) != nil {
		return false
	}
	c.Driver = s
	for len(l.conns) <= c.FD {
		l.conns = append(l.conns, nil)
	}
	l.conns[c.FD] = c
	return true
}

func (l *Loop) mask(c *lane.Conn, events uint32) {
	s := c.Driver.(*state)
	if s.events == events || l.conns[c.FD] != c {
		return
	}
	s.events = events
	event := unix.EpollEvent{Events: events, Fd: int32(c.FD), Pad: int32(s.generation)}
	_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, c.FD, &event)
}

// Dial implements lane.Driver.
func (d driver) Dial(c *lane.Conn, addr netip.AddrPort) error {
	domain, sockaddr := lane.Sockaddr(addr)
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := unix.Connect(fd, sockaddr); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return errors.Join(os.NewSyscallError("connect", err), unix.Close(fd))
	}
	c.FD = fd
	if !d.watch(c, unix.EPOLLOUT, true) {
		return errors.Join(errors.New("epoll refuses the connection"), unix.Close(fd))
	}
	return nil
}

// Flush implements lane.Driver.
func (d driver) Flush(c *lane.Conn) {
	s, ok := c.Driver.(*state)
	if !ok || s.dirty || s.connecting {
		return
	}
	s.dirty = true
	d.dirty = append(d.dirty, c)
}

func (l *Loop) flush() {
	for i := 0; i < len(l.dirty); i++ {
		c := l.dirty[i]
		s := c.Driver.(*state)
		s.dirty = false
		if l.conns[c.FD] == c {
			l.send(c, s)
		}
	}
	clear(l.dirty)
	l.dirty = l.dirty[:0]
}

func (l *Loop) send(c *lane.Conn, s *state) {
	pending := c.Pending()
	if len(pending) == 0 || s.failed {
		l.mask(c, s.events&^uint32(unix.EPOLLOUT))
		return
	}
	n, errno := write(c.FD, pending)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		l.mask(c, s.events|unix.EPOLLOUT)
	case (errno == unix.ECONNRESET || errno == unix.EPIPE) && s.events&unix.EPOLLIN != 0:
		// A node may have answered, and closed, before it read everything. Reading comes to the break all the same.
		s.failed = true
		l.mask(c, s.events&^uint32(unix.EPOLLOUT))
	case errno != 0:
		l.engine.Broken(c)
	default:
		if n < len(pending) {
			l.mask(c, s.events|unix.EPOLLOUT)
		} else {
			l.mask(c, s.events&^uint32(unix.EPOLLOUT))
		}
		l.engine.Sent(c, n)
	}
}

// Borrow implements lane.Driver: what the socket has room for goes at once.
func (d driver) Borrow(c *lane.Conn, b []byte) int {
	s, ok := c.Driver.(*state)
	if !ok || s.connecting || s.failed || s.events&unix.EPOLLOUT != 0 {
		return 0
	}
	pending := c.Pending()
	n, errno := writeBoth(c.FD, pending, b)
	if errno != 0 {
		// Whatever it is, the next send meets it again.
		return 0
	}
	if n < len(pending) {
		d.engine.Sent(c, n)
		return 0
	}
	taken := n - len(pending)
	if len(pending) > 0 {
		d.engine.Sent(c, len(pending))
	}
	return taken
}

// Pause implements lane.Driver.
func (d driver) Pause(c *lane.Conn) {
	s := c.Driver.(*state)
	s.read = readSize
	d.mask(c, s.events&^uint32(unix.EPOLLIN|unix.EPOLLRDHUP))
}

// Resume implements lane.Driver.
func (d driver) Resume(c *lane.Conn) {
	if s := c.Driver.(*state); !s.ended {
		d.mask(c, s.events|unix.EPOLLIN|unix.EPOLLRDHUP)
	}
}

// CloseWrite implements lane.Driver.
func (d driver) CloseWrite(c *lane.Conn) { _ = unix.Shutdown(c.FD, unix.SHUT_WR) }

// Close implements lane.Driver.
func (d driver) Close(c *lane.Conn) {
	d.conns[c.FD] = nil
	lane.CloseSocket(c)
}

// HandOver implements lane.Driver.
func (d driver) HandOver(c *lane.Conn, read []byte) {
	d.conns[c.FD] = nil
	_ = unix.EpollCtl(d.epoll, unix.EPOLL_CTL_DEL, c.FD, nil)
	lane.HandOver(c, nil, read, nil)
}

var _ lane.Driver = driver{}
