// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// session is what is remembered of one browser. It belongs to one exchange. Times are in seconds since 1970.
type session struct {
	// created, renewed and used are what the three timeouts count from.
	created, renewed, used int64
	// authenticated says that somebody has logged in; what follows is theirs.
	authenticated bool
	// loggedIn is when they did, last.
	loggedIn      int64
	accessExpires int64
	accessToken   string
	refreshToken  string
	idToken       string
	// user is what the userinfo endpoint said, as JSON.
	user string
	// nonce is the provider's for the next proof of possession.
	nonce string
	// logins have been begun and may come back.
	logins []login
	// resume is where the last of them was to lead, and restarts how often a stranger came back instead.
	resume   string
	restarts int64

	// id is where the session is stored, nil when it is in the cookies themselves or nowhere yet.
	id []byte
}

// login is an authorization request whose answer is awaited.
type login struct {
	state, nonce, verifier string
	// target is the path that the browser asked for.
	target string
	began  int64
	// silent says that the provider was to ask nobody anything.
	silent bool
}

const (
	// loginLife is how long an answer is awaited, in seconds.
	loginLife = 300
	// maxLogins and maxLoginBytes bound what is awaited at once: a page may ask for many things.
	maxLogins     = 10
	maxLoginBytes = 3000
)

func newSession(now time.Time) *session {
	seconds := now.Unix()
	return &session{created: seconds, renewed: seconds, used: seconds}
}

// begin remembers a login, and forgets those that are too old or too many.
func (s *session) begin(l login) {
	s.logins = append(slices.DeleteFunc(s.logins, func(old login) bool { return old.began+loginLife < l.began }), l)
	s.resume = l.target
	size := func() (n int) {
		for i := range s.logins {
			n += len(s.logins[i].state) + len(s.logins[i].nonce) + len(s.logins[i].verifier) + len(s.logins[i].target)
		}
		return n
	}
	for len(s.logins) > 1 && (len(s.logins) > maxLogins || size() > maxLoginBytes) {
		s.logins = slices.Delete(s.logins, 0, 1)
	}
}

// end takes the login of that state, once.
func (s *session) end(state string, now time.Time) (login, bool) {
	i := slices.IndexFunc(s.logins, func(l login) bool { return l.state == state && l.began+loginLife >= now.Unix() })
	if i < 0 || state == "" {
		return login{}, false
	}
	l := s.logins[i]
	s.logins = slices.Delete(s.logins, i, i+1)
	return l, true
}

// codecVersion is the first byte of an encoded session: one that was written by another version is none.
const codecVersion = 1

// encode returns the session as bytes: numbers as varints, texts with their lengths in front.
func (s *session) encode() []byte {
	e := encoder{make([]byte, 1, 256+len(s.accessToken)+len(s.refreshToken)+len(s.idToken)+len(s.user))}
	e.b[0] = codecVersion
	e.numbers(s.created, s.renewed, s.used, flag(s.authenticated), s.loggedIn, s.accessExpires, s.restarts)
	e.texts(s.accessToken, s.refreshToken, s.idToken, s.user, s.nonce, s.resume)
	e.numbers(int64(len(s.logins)))
	for i := range s.logins {
		l := &s.logins[i]
		e.texts(l.state, l.nonce, l.verifier, l.target)
		e.numbers(l.began, flag(l.silent))
	}
	return e.b
}

func flag(set bool) int64 {
	if set {
		return 1
	}
	return 0
}

type encoder struct{ b []byte }

func (e *encoder) numbers(numbers ...int64) {
	for _, n := range numbers {
		e.b = binary.AppendVarint(e.b, n)
	}
}

func (e *encoder) texts(texts ...string) {
	for _, text := range texts {
		e.b = append(binary.AppendUvarint(e.b, uint64(len(text))), text...)
	}
}

var errSession = errors.New("not a session")

// decodeSession is the reverse of encode.
func decodeSession(b []byte) (*session, error) {
	if len(b) == 0 || b[0] != codecVersion {
		return nil, errSession
	}
	s := new(session)
	d := decoder{b: b, text: string(b), at: 1}
	var authenticated, logins int64
	d.numbers(&s.created, &s.renewed, &s.used, &authenticated, &s.loggedIn, &s.accessExpires, &s.restarts)
	d.texts(&s.accessToken, &s.refreshToken, &s.idToken, &s.user, &s.nonce, &s.resume)
	d.numbers(&logins)
	s.authenticated = authenticated == 1
	for ; logins > 0 && !d.broken; logins-- {
		var l login
		var silent int64
		d.texts(&l.state, &l.nonce, &l.verifier, &l.target)
		d.numbers(&l.began, &silent)
		l.silent = silent == 1
		s.logins = append(s.logins, l)
	}
	if d.broken || d.at != len(b) || logins < 0 {
		return nil, errSession
	}
	return s, nil
}

// decoder reads b; texts are parts of text, which is the same.
type decoder struct {
	b      []byte
	text   string
	at     int
	broken bool
}

func (d *decoder) numbers(numbers ...*int64) {
	for _, number := range numbers {
		n, size := binary.Varint(d.b[d.at:])
		if size <= 0 {
			d.broken = true
			return
		}
		*number, d.at = n, d.at+size
	}
}

func (d *decoder) texts(texts ...*string) {
	for _, text := range texts {
		length, size := binary.Uvarint(d.b[d.at:])
		if size <= 0 || length > uint64(len(d.b)-d.at-size) {
			d.broken = true
			return
		}
		begin := d.at + size
		d.at = begin + int(length)
		*text = d.text[begin:d.at]
	}
}
