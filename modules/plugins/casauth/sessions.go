// SPDX-License-Identifier: Apache-2.0

package casauth

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lifetime is how long a session lasts after its last request: APISIX's figure.
	lifetime = time.Hour
	// maxSessions is how many there are at most: beyond, those that were used least recently make way.
	maxSessions = 1 << 16
	// sweepEvery is how often those are looked for that have run out.
	sweepEvery = 5 * time.Minute
)

// sessionID is what a client has in its cookie, written in hexadecimal. It is random and not the ticket: that stands in the
// client's history and in logs.
type sessionID [16]byte

// session is one login. It is immutable but for when it was used.
type session struct {
	id     sessionID
	ticket ticketKey
	// used is when it was used last, in seconds since 1970.
	used atomic.Int64
}

// ticketKey is the ticket that a session was begun with, at the server and the callback that trust stands for.
type ticketKey struct{ trust, ticket string }

// store has the sessions of all configs: they outlive changes and reloads. It is safe for concurrent use.
type store struct {
	mu sync.RWMutex
	// The following is guarded by mu.
	sessions map[sessionID]*session
	tickets  map[ticketKey]*session
	swept    time.Time
	max      int
}

func newStore(most int) *store {
	return &store{sessions: make(map[sessionID]*session), tickets: make(map[ticketKey]*session), max: most}
}

var sessions = newStore(maxSessions)

// parseID is the inverse of writing an id in hexadecimal. It allocates nothing.
func parseID(text string) (id sessionID, ok bool) {
	if len(text) != hex.EncodedLen(len(id)) {
		return id, false
	}
	for i := range id {
		high, low := unhex(text[2*i]), unhex(text[2*i+1])
		if high > 15 || low > 15 {
			return id, false
		}
		id[i] = high<<4 | low
	}
	return id, true
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

func (s *session) expired(now time.Time) bool {
	return now.Unix()-s.used.Load() >= int64(lifetime/time.Second)
}

func (s *store) find(text, trust string) *session {
	id, ok := parseID(text)
	if !ok {
		return nil
	}
	s.mu.RLock()
	found := s.sessions[id]
	s.mu.RUnlock()
	if found == nil || found.ticket.trust != trust {
		return nil
	}
	return found
}

// use reports whether a cookie stands for a session of that trust, which then lasts from now on.
func (s *store) use(text, trust string, now time.Time) bool {
	found := s.find(text, trust)
	if found == nil || found.expired(now) {
		return false
	}
	if found.used.Load() != now.Unix() {
		found.used.Store(now.Unix())
	}
	return true
}

// begin makes a session and returns what its cookie says. A ticket begins one session and no second.
func (s *store) begin(ticket, trust string, now time.Time) (cookie string, ok bool) {
	made := &session{ticket: ticketKey{trust, ticket}}
	_, _ = rand.Read(made.id[:])
	made.used.Store(now.Unix())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tickets[made.ticket] != nil {
		return "", false
	}
	if now.Sub(s.swept) >= sweepEvery || len(s.sessions) >= s.max {
		s.sweep(now)
	}
	s.sessions[made.id], s.tickets[made.ticket] = made, made
	return hex.EncodeToString(made.id[:]), true
}

// sweep removes sessions that have run out and, when there is still no room for another one, a part of those that were used
// least recently. mu is held.
func (s *store) sweep(now time.Time) {
	s.swept = now
	for _, one := range s.sessions {
		if one.expired(now) {
			s.remove(one)
		}
	}
	if len(s.sessions) < s.max {
		return
	}
	used := make([]int64, 0, len(s.sessions))
	for _, one := range s.sessions {
		used = append(used, one.used.Load())
	}
	slices.Sort(used)
	surplus := len(s.sessions) - s.max + 1 + s.max/16
	oldest := used[min(surplus, len(used))-1]
	for _, one := range s.sessions {
		if surplus > 0 && one.used.Load() <= oldest {
			s.remove(one)
			surplus--
		}
	}
}

// remove forgets a session. mu is held.
func (s *store) remove(one *session) {
	delete(s.sessions, one.id)
	delete(s.tickets, one.ticket)
}

// end ends the session that a cookie stands for, if there is one.
func (s *store) end(text, trust string) {
	if found := s.find(text, trust); found != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.remove(found)
	}
}

// endTicket ends the session that was begun with a ticket, if there is one.
func (s *store) endTicket(ticket, trust string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.tickets[ticketKey{trust, ticket}]; found != nil {
		s.remove(found)
	}
}
