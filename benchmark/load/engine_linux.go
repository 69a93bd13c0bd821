// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// wire moves bytes. It belongs to the engine's goroutine, and reports to the engine from wait alone: accepted, received,
// sent and closed.
type wire interface {
	name() string
	// listen makes connections to the socket known to the engine. The socket is the wire's from here on.
	listen(fd int) error
	// add begins to receive on a new connection.
	add(c *conn)
	// send sends b, which does not change until the engine hears that it was sent.
	send(c *conn, b []byte)
	// drop closes a connection, of which the engine hears no more.
	drop(c *conn)
	// wait handles what has happened, and waits for something at most for a while.
	wait() error
	close()
}

// conn is one connection, of a client or to the node.
type conn struct {
	fd     int
	reader reader
	// number counts the clients; -1 is the node's side.
	number  int
	request []byte
	// started is when the client sent its request or, when it has the answer, got that.
	started time.Duration
	// asked: the client waits for an answer.
	asked bool
	// owed are answers that the node has not sent yet; sending is the node's.
	owed    int
	sending bool
	dropped bool
	wire    wireState
}

// wireState is the wire's own.
type wireState struct {
	slot   int
	ops    int
	unsent []byte
}

type engine struct {
	config
	to      unix.SockaddrInet4
	wire    wire
	clients []*conn
	// broken are the numbers of clients that could not connect.
	broken []int
	answer []byte

	requestHeads, responseHeads heads

	began time.Time
	// now is the time since began when the present wake-up began.
	now      time.Duration
	latency  histogram
	requests int64
	// errors are counted by their kinds; failed is how many there are.
	errors map[string]int64
	failed int64
}

// run sends requests until the time is over.
func run(c config) (*result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	e := &engine{config: c, answer: c.answer(), errors: map[string]int64{}, requestHeads: heads{}, responseHeads: heads{}}
	if c.connections > 0 {
		address, err := netip.ParseAddrPort(c.target)
		if err != nil || !address.Addr().Is4() {
			return nil, fmt.Errorf("target %q is not an IPv4 address with a port", c.target)
		}
		e.to = unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}
	}
	var err error
	if e.wire, err = newWire(e, c.wire); err != nil {
		return nil, err
	}
	defer e.wire.close()
	if c.node != "" {
		fd, err := listen(c.node)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", c.node, err)
		}
		if err := e.wire.listen(fd); err != nil {
			return nil, fmt.Errorf("node %s: %w", c.node, err)
		}
	}
	e.clients = make([]*conn, c.connections)
	before := cpuTime()
	e.began = time.Now()
	for number := range e.clients {
		e.connect(number)
	}
	for !e.over() {
		if err := e.wire.wait(); err != nil {
			return nil, err
		}
	}
	return e.result(cpuTime() - before), nil
}

func newWire(e *engine, name string) (wire, error) {
	var errs []error
	if name != "epoll" {
		w, err := newUring(e)
		if err == nil {
			return w, nil
		}
		errs = append(errs, err)
	}
	if name != "uring" {
		w, err := newEpoll(e)
		if err == nil {
			return w, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// tick is called at the start of each wake-up.
func (e *engine) tick() {
	e.now = time.Since(e.began)
	broken := e.broken
	e.broken = nil
	for _, number := range broken {
		e.connect(number)
	}
}

// over: nothing more is begun or counted.
func (e *engine) over() bool {
	if e.duration == 0 || e.now < e.duration {
		return false
	}
	return e.requests+e.failed >= e.least || e.now > e.duration+time.Minute
}

// connect makes a client's connection and sends its first request.
func (e *engine) connect(number int) {
	c := &conn{number: number, started: e.now, request: e.config.request(number)}
	if before := e.clients[number]; before != nil {
		c.request = before.request
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		e.fail("connect")
		e.broken = append(e.broken, number)
		return
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	// It bounds connect, which on loopback does not wait while the listener's queue has room.
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 1})
	if err := unix.Connect(fd, &e.to); err != nil {
		unix.Close(fd)
		e.fail("connect")
		e.broken = append(e.broken, number)
		return
	}
	_ = unix.SetNonblock(fd, true)
	c.fd = fd
	e.clients[number] = c
	e.wire.add(c)
	c.asked = true
	e.wire.send(c, c.request)
}

func (e *engine) fail(kind string) {
	if !e.over() {
		e.errors[kind]++
		e.failed++
	}
}

// accepted is a new connection to the node.
func (e *engine) accepted(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	e.wire.add(&conn{fd: fd, number: -1, reader: reader{request: true}})
}

func (e *engine) received(c *conn, b []byte) {
	known := e.responseHeads
	if c.number < 0 {
		known = e.requestHeads
	}
	for len(b) > 0 && !c.dropped {
		if c.number >= 0 && !c.asked {
			// Nobody asked for this.
			e.restart(c, "surplus")
			return
		}
		rest, done, err := c.reader.feed(b, known)
		if err != nil {
			e.restart(c, "malformed")
			return
		}
		b = rest
		if !done {
			continue
		}
		if c.number < 0 {
			c.owed++
			e.reply(c)
			c.reader.reset()
			continue
		}
		e.complete(c)
	}
}

// reply sends the node's next answer.
func (e *engine) reply(c *conn) {
	if c.owed == 0 || c.sending {
		return
	}
	c.owed--
	c.sending = true
	e.wire.send(c, e.answer)
}

// sent is called when everything that send was given has been sent.
func (e *engine) sent(c *conn) {
	if c.number < 0 {
		c.sending = false
		e.reply(c)
	}
}

// complete counts an answer and sends the next request.
func (e *engine) complete(c *conn) {
	c.asked = false
	if e.over() {
		return
	}
	e.requests++
	e.latency.add(e.now - c.started)
	c.started = e.now
	h := c.reader.head
	if h.status != e.status {
		e.fail("status")
	} else if c.reader.got != int64(e.body) {
		e.fail("length")
	}
	closes := h.closes || e.fresh
	c.reader.reset()
	if closes {
		// The server closes first, or this side runs out of ports.
		return
	}
	c.asked = true
	e.wire.send(c, c.request)
}

// closed is called when the peer has closed or broken the connection.
func (e *engine) closed(c *conn) {
	if c.number < 0 {
		e.wire.drop(c)
		return
	}
	if c.asked && c.reader.head != nil && c.reader.head.length == untilClose {
		e.complete(c)
	}
	if c.asked {
		e.restart(c, "closed")
		return
	}
	e.restart(c, "")
}

// restart drops a connection and gives its client a new one. kind is what went wrong, if anything did.
func (e *engine) restart(c *conn, kind string) {
	if kind != "" && c.number >= 0 {
		e.fail(kind)
	}
	e.wire.drop(c)
	if c.number < 0 || e.over() {
		return
	}
	if kind != "" {
		// Not at once: a server that is away would be asked without a pause.
		e.broken = append(e.broken, c.number)
		return
	}
	e.connect(c.number)
}

func (e *engine) result(cpu time.Duration) *result {
	took := time.Since(e.began)
	for _, c := range e.clients {
		// Each of them waits for an answer, or for the end that comes after it.
		if c != nil && !c.dropped && took-c.started > e.patience {
			e.errors["timeout"]++
			e.failed++
		}
	}
	return &result{
		Generator: "load", Wire: e.wire.name(), Connections: e.connections, Seconds: took.Seconds(), Requests: e.requests,
		RPS: float64(e.requests) / took.Seconds(), P50: microseconds(e.latency.quantile(0.5)),
		P99: microseconds(e.latency.quantile(0.99)), Errors: e.failed, Kinds: e.errors,
		CPU: cpu.Seconds(),
	}
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// cpuTime is what the process has used so far.
func cpuTime() time.Duration {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// listen opens the node's socket.
func listen(address string) (fd int, err error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return 0, err
	}
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	if err == nil {
		err = unix.Listen(fd, 4096)
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}
