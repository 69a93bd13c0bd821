// SPDX-License-Identifier: Apache-2.0

// Package ring drives lane engines with io_uring: one loop per core, each a goroutine locked to its thread with its own
// ring and connections. One system call submits and reaps everything that a round of requests needs.
package ring

import (
	"os"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/andogate/ando/modules/lane"
)

// Loop is one event loop; see lane.Loop.
type Loop struct {
	engine *lane.Engine
	ring   *uring
	wake   int
	signal []byte

	slots []*state
	free  []uint32
	dirty []*state

	// holders counts, for each provided buffer, who still needs it: the engine while it processes it, and pieces to be
	// sent. current is the one being processed, borrowed how many pieces hold.
	holders  [bufferCount]uint16
	current  int32
	borrowed int

	listening []*listening
	accepts   []*acceptance

	inbox  lane.Inbox
	closed bool
	done   chan struct{}
}

// state is what the loop keeps for one connection. A slot is used again only when nothing of its operations is left in
// the ring.
type state struct {
	c    *lane.Conn
	slot uint32
	// pending counts operations whose last completion has not come.
	pending int
	// queue is what is to be sent; the first inFlight pieces of it are being sent, of which sent bytes went.
	queue    []piece
	inFlight int
	sent     int
	vector   [maxPieces]unix.Iovec
	message  unix.Msghdr
	sockaddr unix.RawSockaddrAny

	receiving, stopping, paused, connecting, ended, watching, dirty, released bool
	// bulk: more comes than one buffer holds, or than the engine had room for. Such a connection is given one buffer a
	// turn: a multishot receive goes on until its cancellation is seen, with buffers that others need.
	bulk bool
	// borrowed counts the pieces of queue that are in provided buffers.
	borrowed int
	// failed: nothing can be sent any more; what the peer sent before it broke the connection is still to be read.
	failed bool
	// dead: closed by the engine. handing: given to net/http, once the ring has let go of it. read is what the engine had
	// not used, late what arrives until then.
	dead, handing bool
	// closing: the ring closes the socket, whose number may be another's by now.
	closing    bool
	read, late []byte
}

// piece is something to send: a buffer of the engine, or a part of a provided buffer, whose number is then not
// engineBuffer.
type piece struct {
	b      []byte
	buffer int32
}

const (
	engineBuffer = -1
	// maxPieces is how many pieces one send takes.
	maxPieces = 16
	// maxBorrowed is how many provided buffers may wait to be sent; the others have to be there for receiving.
	maxBorrowed = bufferCount * 3 / 4
	// maxShare is how many of them may wait for one peer, which may be slow.
	maxShare = bufferCount / 16
	// bulkEnds is how little a receive has to bring for its connection not to be in bulk any more.
	bulkEnds = 4 << 10
)

// What an operation was, in the upper half of its user data; the slot is in the lower.
const (
	didReceive = iota << 32
	didSend
	didConnect
	didCancel
	didWake
	didWatch
	didAccept
	didStop
	didClose
)

// queueSize is how many operations may wait for submission.
const queueSize = 4096

// NewLoop starts a loop, or says why this system has no ring for it.
func NewLoop(config lane.Config) (*Loop, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	l := &Loop{current: engineBuffer, wake: wake, signal: make([]byte, 8), done: make(chan struct{})}
	l.inbox.Wake = l.interrupt
	l.engine = lane.NewEngine(driver{l}, config)
	started := make(chan error)
	go l.run(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return l, nil
}

// Accept takes over a client's socket.
func (l *Loop) Accept(client *lane.Client) {
	l.inbox.Post(func() {
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
	s := l.take(c)
	l.engine.Accept(c, client)
	l.settle(s)
}

// Conns returns how many connections the loop has, of clients and to nodes.
func (l *Loop) Conns() int {
	result := make(chan int, 1)
	l.inbox.Post(func() { result <- l.engine.Conns() })
	select {
	case n := <-result:
		return n
	case <-l.done:
		return 0
	}
}

// Close ends the loop: connections finish their present exchange within grace, then everything is closed.
func (l *Loop) Close(grace time.Duration) {
	deadline := time.Now().Add(grace)
	l.inbox.Post(l.engine.Drain)
	for l.Conns() > 0 && time.Now().Before(deadline) {
		select {
		case <-l.done:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	l.inbox.Post(func() { l.closed = true })
	<-l.done
}

func (l *Loop) interrupt() {
	// It can only fail when the counter is full, and then the loop wakes anyway.
	_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

func (l *Loop) run(started chan<- error) {
	// A ring belongs to its thread; when the goroutine ends the thread, which nobody else should get, ends too.
	runtime.LockOSThread()
	defer close(l.done)
	var err error
	l.ring, err = newUring(queueSize)
	started <- err
	if err != nil {
		unix.Close(l.wake)
		return
	}
	l.listen()
	reap := l.completed
	for !l.closed {
		if l.inbox.Doze() {
			l.ring.submitAndWait()
		} else {
			l.ring.submit()
		}
		l.inbox.Rise()
		l.engine.Tick(time.Now())
		l.ring.completed(reap)
		l.ring.publish()
		l.inbox.Run()
		l.engine.Sweep()
		l.flush()
		l.listenAgain()
	}
	for _, s := range slices.Clone(l.listening) {
		l.unlisten(s)
	}
	l.engine.Close()
	for end := time.Now().Add(endPatience); (len(l.free) < len(l.slots) || len(l.listening) > 0) && time.Now().Before(end); {
		l.ring.submitAndWait()
		l.ring.completed(reap)
	}
	l.inbox.End()
	for _, s := range l.slots {
		if s != nil && !s.closing {
			unix.Close(s.c.FD)
		}
	}
	// Closing the ring ends what is in flight before its memory goes.
	_ = l.ring.close()
	unix.Close(l.wake)
}

// endPatience bounds the wait for the kernel to let go of connections when a loop ends.
const endPatience = time.Second

// listen waits for the next signal of post.
func (l *Loop) listen() {
	e := l.ring.next()
	e.op, e.fd, e.data = opRead, int32(l.wake), didWake
	e.addr, e.length = uint64(uintptr(unsafe.Pointer(&l.signal[0]))), uint32(len(l.signal))
}

// take gives a connection a slot.
func (l *Loop) take(c *lane.Conn) *state {
	s := &state{c: c}
	c.Driver = s
	if n := len(l.free); n > 0 {
		s.slot = l.free[n-1]
		l.free = l.free[:n-1]
		l.slots[s.slot] = s
		return s
	}
	s.slot = uint32(len(l.slots))
	l.slots = append(l.slots, s)
	return s
}

// receive arms a multishot receive: the kernel delivers what comes until it is cancelled, out of buffers, or at the end,
// up to 32 buffers at a time. In bulk it arms a receive of one buffer.
func (l *Loop) receive(s *state) {
	s.receiving = true
	s.pending++
	e := l.ring.next()
	e.op, e.fd, e.data = opRecv, int32(s.c.FD), didReceive|uint64(s.slot)
	e.flags = sqeBufferSelect
	if !s.bulk {
		e.ioprio = recvMultishot | recvPollFirst
	}
}

// stop cancels the receive.
func (l *Loop) stop(s *state) {
	if !s.receiving || s.stopping {
		return
	}
	s.stopping = true
	s.pending++
	e := l.ring.next()
	e.op, e.fd, e.data, e.addr = opAsyncCancel, -1, didCancel|uint64(s.slot), didReceive|uint64(s.slot)
}

// watch waits for a connection to break that has nothing more to receive: a client that has sent all it will may still
// leave. The end itself completes it at once, which is why it goes on.
func (l *Loop) watch(s *state) {
	s.watching = true
	s.pending++
	e := l.ring.next()
	e.op, e.fd, e.data, e.length = opPollAdd, int32(s.c.FD), didWatch|uint64(s.slot), pollMulti
}

func (l *Loop) watched(s *state, done *completion) {
	if done.flags&cqeMore == 0 {
		s.pending--
	}
	if done.res > 0 && done.res&(unix.POLLERR|unix.POLLHUP) != 0 && !s.dead && !s.handing {
		l.engine.Broken(s.c)
	}
}

func (l *Loop) completed(done *completion) {
	switch done.data &^ 0xffffffff {
	case didWake:
		l.listen()
		return
	case didAccept:
		l.accepted(l.accepts[uint32(done.data)], done.res)
		return
	case didStop:
		return
	}
	s := l.slots[uint32(done.data)]
	switch done.data &^ 0xffffffff {
	case didReceive:
		l.received(s, done)
	case didWatch:
		l.watched(s, done)
	case didSend:
		s.pending--
		l.sent(s, int(done.res))
	case didConnect:
		s.pending--
		l.connected(s, done.res)
	case didClose:
		s.pending--
	case didCancel:
		s.pending--
		s.stopping = false
	}
	l.settle(s)
}

// received takes one completion of a receive. Its bytes are the engine's only until it returns.
func (l *Loop) received(s *state, done *completion) {
	more := done.flags&cqeMore != 0
	if !more {
		s.receiving = false
		s.pending--
	}
	if done.flags&cqeBuffer != 0 {
		id := uint16(done.flags >> 16)
		data := l.ring.buffer(id, int(max(done.res, 0)))
		switch {
		case s.dead:
		case s.handing:
			s.late = append(s.late, data...)
		default:
			l.holders[id]++
			l.current = int32(id)
			l.engine.Data(s.c, data)
			l.current = engineBuffer
			l.letGo(int32(id))
			l.pace(s, int(done.res))
			return
		}
		l.ring.recycle(id)
		return
	}
	if more || s.dead || s.handing {
		return
	}
	switch errno := unix.Errno(-done.res); {
	case done.res == 0 && s.failed:
		s.ended = true
		l.engine.Broken(s.c)
	case done.res == 0:
		s.ended = true
		l.engine.EOF(s.c)
	case errno == unix.ENOBUFS || errno == unix.ECANCELED || errno == unix.EINTR:
		// settle arms it again, if it still should be.
	default:
		s.ended = true
		l.engine.Broken(s.c)
	}
}

// pace chooses the kind of the next receive by what this one brought.
func (l *Loop) pace(s *state, n int) {
	switch {
	case n < bulkEnds:
		s.bulk = false
	case n == bufferSize && !s.bulk:
		s.bulk = true
		if !s.dead && !s.handing {
			l.stop(s)
		}
	}
}

// letGo gives a provided buffer back to the kernel when nobody needs it any more.
func (l *Loop) letGo(buffer int32) {
	l.holders[buffer]--
	if l.holders[buffer] == 0 {
		l.ring.recycle(uint16(buffer))
	}
}

func (l *Loop) flush() {
	for i := 0; i < len(l.dirty); i++ {
		l.dirty[i].dirty = false
		l.push(l.dirty[i])
	}
	clear(l.dirty)
	l.dirty = l.dirty[:0]
}

func (l *Loop) connected(s *state, res int32) {
	s.connecting = false
	if s.dead {
		return
	}
	if res < 0 {
		l.engine.Connected(s.c, os.NewSyscallError("connect", unix.Errno(-res)))
		return
	}
	l.engine.Connected(s.c, nil)
}

// settle follows every completion: it lets go of a connection that the engine is done with once the ring is, too, and
// keeps the others receiving.
func (l *Loop) settle(s *state) {
	switch {
	case s.released:
	case !s.dead && !s.handing:
		switch {
		case s.ended && !s.watching:
			l.watch(s)
		case !s.receiving && !s.stopping && !s.paused && !s.connecting && !s.ended:
			l.receive(s)
		}
	case s.pending > 0:
	case s.dead:
		l.drop(s)
		l.release(s)
		if !s.closing {
			lane.CloseSocket(s.c)
		}
	default:
		l.release(s)
		lane.HandOver(s.c, l.unsent(s), s.read, s.late)
	}
}

func (l *Loop) release(s *state) {
	s.released = true
	l.slots[s.slot] = nil
	l.free = append(l.free, s.slot)
}
