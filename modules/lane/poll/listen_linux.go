// SPDX-License-Identifier: Apache-2.0

package poll

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/andogate/ando/modules/lane"
)

// listening is a socket that the loop accepts from.
type listening struct {
	*lane.Listener
	// rests is until when it does not; zero is not at all.
	rests time.Time
}

const (
	// listeningMark is in the place of a connection's generation in the events of listening sockets.
	listeningMark = -1
	// acceptsPerTurn bounds how many connections a listener may bring before the others are looked at again.
	acceptsPerTurn = 32
)

// Load implements lane.Loop.
func (l *Loop) Load() int { return l.engine.Clients() }

// Listen implements lane.Loop.
func (l *Loop) Listen(listener *lane.Listener) (stop func()) {
	s := &listening{Listener: listener}
	l.Post(func() {
		if l.closed {
			return
		}
		l.listening = append(l.listening, s)
		l.attend(s)
	})
	return func() {
		gone := make(chan struct{})
		l.Post(func() {
			l.unlisten(s)
			close(gone)
		})
		<-gone
	}
}

// attend waits for connections. Of the loops that share the socket one is woken for each.
func (l *Loop) attend(s *listening) {
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLEXCLUSIVE, Fd: int32(s.FD), Pad: listeningMark}
	if unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, s.FD, &event) != nil {
		s.rests = time.Now().Add(lane.AcceptRest)
	}
}

func (l *Loop) unlisten(s *listening) {
	if i := slices.Index(l.listening, s); i >= 0 {
		l.listening = slices.Delete(l.listening, i, i+1)
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, s.FD, nil)
	}
}

// listenAgain goes on with listeners that have rested.
func (l *Loop) listenAgain() {
	for _, s := range l.listening {
		if !s.rests.IsZero() && time.Now().After(s.rests) {
			s.rests = time.Time{}
			l.attend(s)
		}
	}
}

// acceptFrom takes what waits in the queue of a listener.
func (l *Loop) acceptFrom(fd int) {
	i := slices.IndexFunc(l.listening, func(s *listening) bool { return s.FD == fd })
	if i < 0 {
		return
	}
	s := l.listening[i]
	for range acceptsPerTurn {
		var remote unix.RawSockaddrInet6
		conn, errno := accept(fd, &remote)
		switch {
		case errno == 0:
		case errno == unix.EAGAIN:
			return
		case lane.AcceptGoesOn(errno):
			continue
		default:
			_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil)
			s.rests = time.Now().Add(lane.AcceptRest)
			return
		}
		client := s.Client(conn, &remote)
		if other := s.Elsewhere(l); other != nil && other != lane.Loop(l) {
			moved := client
			other.Accept(&moved)
			continue
		}
		l.begin(&client)
	}
}
