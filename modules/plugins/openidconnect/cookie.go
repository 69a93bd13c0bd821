// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/andogate/ando/modules/gateway"
)

// sessionSettings are the `session` of a config.
type sessionSettings struct {
	Secret   string `json:"secret"`
	Name     string `json:"cookie_name"`
	Path     string `json:"cookie_path"`
	Domain   string `json:"cookie_domain"`
	Secure   *bool  `json:"cookie_secure"`
	HTTPOnly *bool  `json:"cookie_http_only"`
	SameSite string `json:"cookie_same_site"`
	// The timeouts are in seconds; 0 is none.
	Idling   *int64 `json:"idling_timeout"`
	Rolling  *int64 `json:"rolling_timeout"`
	Absolute *int64 `json:"absolute_timeout"`
	Cookie   struct {
		Lifetime *int64 `json:"lifetime"`
	} `json:"cookie"`
	Storage string        `json:"storage"`
	Redis   redisSettings `json:"redis"`
}

// What holds where a config says nothing, as in APISIX.
const (
	defaultCookieName = "session"
	defaultIdling     = 15 * 60
	defaultRolling    = 60 * 60
	defaultAbsolute   = 24 * 60 * 60
)

// sessions keeps sessions, sealed, in cookies or in Redis. It is immutable.
type sessions struct {
	name string
	// attributes follow the value in every cookie.
	attributes string
	// secure is nil where the scheme of the request decides.
	secure                    *bool
	idling, rolling, absolute int64
	aead                      cipher.AEAD
	// store is nil when sessions are in the cookies themselves.
	store *redisStore
}

func newSessions(s *settings) (sessions, error) {
	c := &s.Session
	ss := sessions{
		name: firstOf(c.Name, defaultCookieName), secure: c.Secure,
		idling: seconds(c.Idling, defaultIdling), rolling: seconds(c.Rolling, defaultRolling),
	}
	if c.Absolute == nil {
		c.Absolute = c.Cookie.Lifetime
	}
	ss.absolute = seconds(c.Absolute, defaultAbsolute)
	var err error
	if ss.attributes, err = c.attributes(); err != nil {
		return ss, err
	}
	// A session is for the client and the provider that it was made for, whoever else has the same secret.
	key, err := hkdf.Key(sha256.New, []byte(c.Secret), nil, "openid-connect session\x00"+s.ClientID+"\x00"+s.Discovery, 32)
	if err != nil {
		return ss, fmt.Errorf("session.secret: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return ss, fmt.Errorf("session.secret: %w", err)
	}
	if ss.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return ss, fmt.Errorf("session.secret: %w", err)
	}
	if c.Storage == "redis" {
		ss.store = newRedisStore(&c.Redis)
	}
	return ss, nil
}

func seconds(n *int64, otherwise int64) int64 {
	if n == nil {
		return otherwise
	}
	return max(0, *n)
}

// attributes returns what follows the value of a cookie (RFC 6265 section 4.1), apart from Secure.
func (c *sessionSettings) attributes() (string, error) {
	if c.Name != "" && !httpguts.ValidHeaderFieldName(c.Name) {
		return "", fmt.Errorf(`property "session.cookie_name" validation failed: %q is not a name for a cookie`, c.Name)
	}
	path := firstOf(c.Path, "/")
	for _, field := range []struct{ name, value string }{{"cookie_path", path}, {"cookie_domain", c.Domain}} {
		if strings.ContainsFunc(field.value, func(r rune) bool { return r < ' ' || r > '~' || r == ';' }) {
			return "", fmt.Errorf(`property "session.%s" validation failed: %q cannot be in a cookie`, field.name, field.value)
		}
	}
	text := "; Path=" + path
	if c.Domain != "" {
		text += "; Domain=" + c.Domain
	}
	switch c.SameSite {
	case "":
		text += "; SameSite=Lax"
	case "Default":
	default:
		text += "; SameSite=" + c.SameSite
	}
	if c.HTTPOnly == nil || *c.HTTPOnly {
		text += "; HttpOnly"
	}
	return text, nil
}

const (
	// maxCookies bounds the cookies of one session: heads have bounds too, in browsers and in gateways.
	maxCookies = 5
	// maxCookie is how long name and value of one may be together; browsers take 4096 bytes.
	maxCookie = 4000
)

var errTooLarge = errors.New("the session is too large for cookies: `session.storage` redis has room for it")

// What is sealed, for one kind not to be taken for another.
var (
	sealedSession = []byte("session")
	sealedID      = []byte("id")
)

// open returns the session of a request; nil when it has none that counts. An error says that it could not be looked for.
func (ss *sessions) open(x *gateway.Exchange, v *visit) (*session, error) {
	sealed := ss.read(x)
	if sealed == nil {
		return nil, nil
	}
	if ss.store == nil {
		return ss.unseal(sealed, sealedSession, x.Start), nil
	}
	id := ss.content(sealed, sealedID)
	if id == nil {
		return nil, nil
	}
	if v.ctx == nil {
		return nil, errWait
	}
	sealed, err := ss.store.load(v.ctx, id)
	if err != nil || sealed == nil {
		return nil, err
	}
	s := ss.unseal(sealed, id, x.Start)
	if s != nil {
		s.id = id
	}
	return s, nil
}

// content returns what has been sealed for a purpose, nil when it has not been. It uses sealed.
func (ss *sessions) content(sealed, purpose []byte) []byte {
	text, err := ss.aead.Open(sealed[:0], nil, sealed, purpose)
	if err != nil {
		return nil
	}
	return text
}

// unseal returns a session that has been sealed for a purpose; nil when it is not one, or its time is over. It uses sealed.
func (ss *sessions) unseal(sealed, purpose []byte, now time.Time) *session {
	s, err := decodeSession(ss.content(sealed, purpose))
	if err != nil || ss.isOver(s, now.Unix()) {
		return nil
	}
	return s
}

func (ss *sessions) isOver(s *session, now int64) bool {
	over := func(since, timeout int64) bool { return timeout > 0 && now >= since+timeout }
	return over(s.created, ss.absolute) || over(s.renewed, ss.rolling) || over(s.used, ss.idling)
}

// nameOf returns the name of the i-th cookie of a session, from 1 on.
func (ss *sessions) nameOf(i int) string {
	if i == 1 {
		return ss.name
	}
	return ss.name + strconv.Itoa(i)
}

// read returns what the cookies of a request hold, nil when that is nothing. The first character says how many there are.
func (ss *sessions) read(x *gateway.Exchange) []byte {
	first, _ := x.Request.Cookie(ss.name)
	if first == "" || first[0] < '1' || first[0] > '0'+maxCookies {
		return nil
	}
	text := first[1:]
	if n := int(first[0] - '0'); n > 1 {
		var all strings.Builder
		all.WriteString(text)
		for i := 2; i <= n; i++ {
			part, _ := x.Request.Cookie(ss.nameOf(i))
			all.WriteString(part)
		}
		text = all.String()
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return sealed
}

// save keeps a session and sends the browser what it needs to come back to it.
func (ss *sessions) save(x *gateway.Exchange, v *visit, s *session) error {
	if ss.store == nil {
		return ss.write(x, v, ss.aead.Seal(nil, nil, s.encode(), sealedSession))
	}
	if v.ctx == nil {
		return errWait
	}
	if s.id == nil {
		s.id = make([]byte, 32)
		_, _ = rand.Read(s.id) // it never fails
	}
	if err := ss.store.save(v.ctx, s.id, ss.aead.Seal(nil, nil, s.encode(), s.id), ss.left(s, x.Start.Unix())); err != nil {
		return err
	}
	return ss.write(x, v, ss.aead.Seal(nil, nil, s.id, sealedID))
}

// left is how long a stored session can count without being used. One that nobody has logged in to waits for a login.
func (ss *sessions) left(s *session, now int64) time.Duration {
	left := int64(defaultAbsolute)
	if ss.absolute > 0 {
		left = s.created + ss.absolute - now
	}
	if ss.rolling > 0 {
		left = min(left, s.renewed+ss.rolling-now)
	}
	if ss.idling > 0 {
		left = min(left, s.used+ss.idling-now)
	}
	if !s.authenticated {
		left = min(left, loginLife)
	}
	return time.Duration(max(1, left)) * time.Second
}

// write sets the cookies, in as many parts as it takes, and removes those that a longer session has left behind.
func (ss *sessions) write(x *gateway.Exchange, v *visit, sealed []byte) error {
	text := base64.RawURLEncoding.EncodeToString(sealed)
	size := maxCookie - len(ss.name) - 2
	n := (len(text) + size - 1) / size
	if n > maxCookies {
		return errTooLarge
	}
	v.setCookies = v.setCookies[:0]
	for i := range n {
		part := text[i*size : min(len(text), (i+1)*size)]
		if i == 0 {
			part = strconv.Itoa(n) + part
		}
		v.setCookies = append(v.setCookies, ss.line(x, i+1, part, ""))
	}
	ss.expire(x, v, n+1)
	return nil
}

// expire removes the cookies that a request has from the i-th on.
func (ss *sessions) expire(x *gateway.Exchange, v *visit, i int) {
	for ; i <= maxCookies; i++ {
		if _, found := x.Request.Cookie(ss.nameOf(i)); found {
			v.setCookies = append(v.setCookies, ss.line(x, i, "", "; Max-Age=0"))
		}
	}
}

func (ss *sessions) line(x *gateway.Exchange, i int, value, more string) string {
	line := ss.nameOf(i) + "=" + value + ss.attributes + more
	secure := x.Request.Header.Get("X-Forwarded-Proto") == "https"
	if ss.secure != nil {
		secure = *ss.secure
	}
	if secure {
		line += "; Secure"
	}
	return line
}

// touch notes that a session was used, when that has not been noted for a while, and saves it then. dirty says that it has
// to be saved anyway.
func (ss *sessions) touch(x *gateway.Exchange, v *visit, s *session, dirty bool) error {
	now := x.Start.Unix()
	if ss.rolling > 0 && now-s.renewed >= ss.rolling*3/4 {
		s.renewed, dirty = now, true
	}
	if ss.idling > 0 && now-s.used >= max(1, min(60, ss.idling/4)) {
		dirty = true
	}
	if !dirty {
		return nil
	}
	s.used = now
	return ss.save(x, v, s)
}

// drop ends a session.
func (ss *sessions) drop(x *gateway.Exchange, v *visit, s *session) error {
	v.setCookies = v.setCookies[:0]
	ss.expire(x, v, 1)
	if s == nil || s.id == nil {
		return nil
	}
	return ss.forget(v.ctx, s)
}

// forget removes a session from where it is stored, for it to be saved under another name or not at all.
func (ss *sessions) forget(ctx context.Context, s *session) error {
	id := s.id
	s.id = nil
	if id == nil {
		return nil
	}
	return ss.store.drop(ctx, id)
}

// hideAny keeps a session's cookies from the node when the request comes in without it.
func (ss *sessions) hideAny(x *gateway.Exchange) {
	purpose := sealedSession
	if ss.store != nil {
		purpose = sealedID
	}
	if sealed := ss.read(x); sealed != nil && ss.content(sealed, purpose) != nil {
		ss.hide(x)
	}
}

// hide keeps the cookies of a session from the node: who has them has the session. Another's of the same name stay.
func (ss *sessions) hide(x *gateway.Exchange) {
	for i := 1; i <= maxCookies; i++ {
		if _, found := x.Request.Cookie(ss.nameOf(i)); !found && i > 1 {
			return
		}
		x.Request.DelCookie(ss.nameOf(i))
	}
}

// noStore keeps answers that set cookies, or tell where to log in, out of caches.
func noStore(h *gateway.Header) { h.Set("Cache-Control", "no-cache, no-store, max-age=0") }

// redirect answers with an address. It must be one that a Location can have.
func redirect(x *gateway.Exchange, address string) gateway.Verdict {
	noStore(&x.Response.Header)
	x.Response.Header.Set("Location", address)
	return x.Exit(http.StatusFound, nil)
}
