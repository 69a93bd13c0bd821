// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// sent takes the completion of a send.
func (l *Loop) sent(s *state, n int) {
	switch {
	case s.handing:
		// What has not been sent goes with the connection.
		s.sent += max(n, 0)
		s.inFlight = 0
		return
	case s.dead || n < 0:
		l.drop(s)
		if !s.dead {
			l.sendFailed(s, unix.Errno(-n))
		}
		return
	}
	s.sent += n
	whole := 0
	for whole < s.inFlight && s.sent >= len(s.queue[whole].b) {
		s.sent -= len(s.queue[whole].b)
		l.giveBack(s, s.queue[whole])
		whole++
	}
	s.queue = append(s.queue[:0], s.queue[whole:]...)
	s.inFlight -= whole
	l.engine.Sent(s.c, n)
	switch {
	case s.dead || s.handing:
	case s.inFlight > 0:
		l.send(s, recvPollFirst)
	default:
		l.push(s)
	}
}

// sendFailed: a node may have answered, and closed, before it read everything; reading comes to the break all the same.
func (l *Loop) sendFailed(s *state, errno unix.Errno) {
	if (errno == unix.ECONNRESET || errno == unix.EPIPE) && s.receiving && !s.stopping {
		s.failed = true
		return
	}
	l.engine.Broken(s.c)
}

// unsent returns a copy of what is queued, and gives its memory back. Nothing is in flight.
func (l *Loop) unsent(s *state) (b []byte) {
	for _, p := range s.queue {
		b = append(b, p.b...)
	}
	b = b[s.sent:]
	l.drop(s)
	return b
}

// giveBack gives back the memory of a piece.
func (l *Loop) giveBack(s *state, p piece) {
	if p.buffer == engineBuffer {
		l.engine.Keep(p.b)
		return
	}
	l.borrowed--
	s.borrowed--
	l.letGo(p.buffer)
}

// drop gives back the memory of everything that will not be sent. Nothing is in flight.
func (l *Loop) drop(s *state) {
	for _, p := range s.queue {
		l.giveBack(s, p)
	}
	s.queue, s.inFlight, s.sent = nil, 0, 0
}

// send submits what is left of the pieces in flight.
func (l *Loop) send(s *state, ioprio uint16) {
	n, skip := 0, s.sent
	for _, p := range s.queue[:s.inFlight] {
		if skip >= len(p.b) {
			skip -= len(p.b)
			continue
		}
		rest := p.b[skip:]
		skip = 0
		s.vector[n].Base = unsafe.SliceData(rest)
		s.vector[n].SetLen(len(rest))
		n++
	}
	s.pending++
	e := l.ring.next()
	e.fd, e.data = int32(s.c.FD), didSend|uint64(s.slot)
	e.ioprio, e.opFlags = ioprio, unix.MSG_NOSIGNAL
	if n == 1 {
		e.op, e.addr, e.length = opSend, uint64(uintptr(unsafe.Pointer(s.vector[0].Base))), uint32(s.vector[0].Len)
		return
	}
	s.message.Iov = &s.vector[0]
	s.message.SetIovlen(n)
	e.op, e.addr, e.length = opSendMsg, uint64(uintptr(unsafe.Pointer(&s.message))), 1
}

// push sends what is pending, unless something is in flight already.
func (l *Loop) push(s *state) {
	if s.dead || s.handing || s.connecting || s.failed || s.inFlight > 0 {
		return
	}
	s.gather()
	if s.inFlight = min(len(s.queue), maxPieces); s.inFlight > 0 {
		l.send(s, 0)
	}
}

// gather moves what the engine has written into the queue.
func (s *state) gather() {
	if len(s.c.Pending()) > 0 {
		s.queue = append(s.queue, piece{s.c.TakePending(), engineBuffer})
	}
}
