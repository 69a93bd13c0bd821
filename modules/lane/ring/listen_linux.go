// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/andogate/ando/modules/lane"
)

// listening is a socket that the loop accepts from.
type listening struct {
	*lane.Listener
	// pending counts accepts in flight.
	pending int
	stopped bool
	// gone is closed when it is stopped and nothing is in flight.
	gone chan struct{}
	// resting are accepts that wait until rests.
	resting []uint32
	rests   time.Time
}

// acceptance is one accept in flight. A multishot accept would not tell the peers' addresses.
type acceptance struct {
	listener *listening
	remote   unix.RawSockaddrInet6
	size     uint32
	slot     uint32
}

// acceptsAtOnce is how many accepts each listener has in flight.
const acceptsAtOnce = 16

// Load implements lane.Loop.
func (l *Loop) Load() int { return l.engine.Clients() }

// Listen implements lane.Loop.
func (l *Loop) Listen(listener *lane.Listener) (stop func()) {
	s := &listening{Listener: listener, gone: make(chan struct{})}
	l.inbox.Post(func() {
		if l.closed {
			s.stopped = true
			close(s.gone)
			return
		}
		l.listening = append(l.listening, s)
		for range acceptsAtOnce {
			a := &acceptance{listener: s}
			// Slots of listeners that are gone are used again.
			if i := slices.Index(l.accepts, nil); i >= 0 {
				a.slot = uint32(i)
				l.accepts[i] = a
			} else {
				a.slot = uint32(len(l.accepts))
				l.accepts = append(l.accepts, a)
			}
			l.accept(a)
		}
	})
	return func() {
		l.inbox.Post(func() { l.unlisten(s) })
		select {
		case <-s.gone:
		case <-l.done:
		}
	}
}

// accept arms an accept.
func (l *Loop) accept(a *acceptance) {
	a.listener.pending++
	a.size = unix.SizeofSockaddrInet6
	e := l.ring.next()
	e.op, e.fd, e.data = opAccept, int32(a.listener.FD), didAccept|uint64(a.slot)
	e.addr, e.off = uint64(uintptr(unsafe.Pointer(&a.remote))), uint64(uintptr(unsafe.Pointer(&a.size)))
	e.opFlags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
}

func (l *Loop) accepted(a *acceptance, res int32) {
	s := a.listener
	s.pending--
	var client lane.Client
	if res >= 0 {
		client = s.Client(int(res), &a.remote)
	}
	switch {
	case s.stopped:
		l.accepts[a.slot] = nil
		l.forget(s)
	case res >= 0 || lane.AcceptGoesOn(unix.Errno(-res)):
		l.accept(a)
	default:
		s.resting, s.rests = append(s.resting, a.slot), time.Now().Add(lane.AcceptRest)
	}
	if res < 0 {
		return
	}
	if other := s.Elsewhere(l); other != nil && other != lane.Loop(l) {
		moved := client
		other.Accept(&moved)
		return
	}
	l.begin(&client)
}

// listenAgain goes on with accepts that have rested.
func (l *Loop) listenAgain() {
	for _, s := range l.listening {
		if len(s.resting) == 0 || s.stopped || time.Now().Before(s.rests) {
			continue
		}
		for _, slot := range s.resting {
			l.accept(l.accepts[slot])
		}
		s.resting = s.resting[:0]
	}
}

// unlisten ends accepting. What is accepted until the kernel knows is served.
func (l *Loop) unlisten(s *listening) {
	if s.stopped {
		return
	}
	s.stopped = true
	for _, slot := range s.resting {
		l.accepts[slot] = nil
	}
	e := l.ring.next()
	e.op, e.fd, e.data = opAsyncCancel, int32(s.FD), didStop
	e.opFlags = cancelAll | cancelFD
	l.forget(s)
}

// forget lets go of a listener when nothing of it is in flight.
func (l *Loop) forget(s *listening) {
	if s.stopped && s.pending == 0 {
		l.listening = slices.DeleteFunc(l.listening, func(other *listening) bool { return other == s })
		close(s.gone)
	}
}
