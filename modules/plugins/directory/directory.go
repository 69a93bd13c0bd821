// SPDX-License-Identifier: Apache-2.0

// Package directory asks LDAP servers (RFC 4511) who somebody is, for the plugins that know users by one.
package directory

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// Security is how a connection is protected.
type Security uint8

const (
	// Plain sends passwords as they are.
	Plain Security = iota
	// LDAPS begins with TLS.
	LDAPS
	// StartTLS goes over to TLS before anything else is said (RFC 4511 section 4.14).
	StartTLS
)

// Server says where a directory is and how to talk to it. It is comparable: equal ones share their idle connections, so
// that a config that is compiled again goes on with those it had.
type Server struct {
	// Addr is host:port.
	Addr     string
	Security Security
	// SkipVerify accepts any certificate.
	SkipVerify bool
	// Timeout bounds dialling, and each answer.
	Timeout time.Duration
	// Idle is how many connections are kept, and IdleTimeout for how long; 0 keeps none.
	Idle        int
	IdleTimeout time.Duration
	// Pool sets connections apart that would be shared otherwise.
	Pool string
}

var (
	// ErrCredentials says that there is no such user, or that the password is another one.
	ErrCredentials = errors.New("wrong name or password")
	// ErrAmbiguous says that several entries are the user's.
	ErrAmbiguous = errors.New("several entries match")
)

// Address returns text as host:port. It may lack the port, for which the usual one is taken, and may begin with ldap:// or
// ldaps://.
func Address(text string, security Security) (string, error) {
	host := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(text, "ldap://"), "ldaps://"), "/")
	if strings.ContainsAny(host, "/ ") {
		return "", fmt.Errorf("%q is not a host with a port", text)
	}
	if name, port, err := net.SplitHostPort(host); err == nil && name != "" && port != "" {
		return host, nil
	}
	port := "389"
	if security == LDAPS {
		port = "636"
	}
	host = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(host, ":"), "["), "]")
	if host == "" {
		return "", fmt.Errorf("%q is not a host with a port", text)
	}
	return net.JoinHostPort(host, port), nil
}

// Search says how the entry of a user is found.
type Search struct {
	// BindDN and Password are who searches; without a BindDN it is nobody in particular.
	BindDN, Password string
	BaseDN           string
	// Attribute is what a user's name is a value of.
	Attribute            string
	SizeLimit, TimeLimit int
}

// Login makes sure that the password is that of the entry dn. The error is ErrCredentials when it is not.
func (s Server) Login(ctx context.Context, dn, password string) error {
	return s.do(ctx, func(c *ldap.Conn) error { return login(c, dn, password) })
}

// Find searches for the one entry of a user, makes sure that the password is the entry's, and returns its name. The error
// is ErrCredentials or ErrAmbiguous when it is the user's fault.
func (s Server) Find(ctx context.Context, search Search, user, password string) (dn string, err error) {
	if user == "" || password == "" {
		return "", ErrCredentials
	}
	err = s.do(ctx, func(c *ldap.Conn) error {
		if dn, err = search.run(c, user); err != nil {
			return err
		}
		return login(c, dn, password)
	})
	return dn, err
}

// login binds. A bind without a password says nothing about who somebody is, and servers answer it with success
// (RFC 4513 section 5.1.2).
func login(c *ldap.Conn, dn, password string) error {
	if dn == "" || password == "" {
		return ErrCredentials
	}
	err := c.Bind(dn, password)
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultNoSuchObject,
		ldap.LDAPResultInvalidDNSyntax, ldap.LDAPResultInappropriateAuthentication) {
		return ErrCredentials
	}
	return err
}

func (s *Search) run(c *ldap.Conn, user string) (string, error) {
	// The connection may be bound as the user of an earlier request.
	bind := func() error { return c.UnauthenticatedBind("") }
	if s.BindDN != "" {
		bind = func() error { return c.Bind(s.BindDN, s.Password) }
	}
	if err := bind(); err != nil {
		return "", fmt.Errorf("bind to search: %w", err)
	}
	result, err := c.Search(ldap.NewSearchRequest(
		s.BaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, s.SizeLimit, s.TimeLimit, false,
		"("+s.Attribute+"="+ldap.EscapeFilter(user)+")", []string{"1.1"}, nil,
	))
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
		return "", ErrAmbiguous
	case err != nil:
		return "", fmt.Errorf("search: %w", err)
	case len(result.Entries) == 0:
		return "", ErrCredentials
	case len(result.Entries) > 1:
		return "", ErrAmbiguous
	}
	return result.Entries[0].DN, nil
}

// NormalDN returns a name in one of its spellings, so that names can be compared: attribute types in lower case, no white
// space around separators. What is no name (RFC 4514) stays as it is.
func NormalDN(dn string) string {
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return dn
	}
	return parsed.String()
}

// UserDN returns the name of the entry below base whose attribute is the user's name, whatever characters that has.
func UserDN(attribute, user, base string) string {
	return attribute + "=" + ldap.EscapeDN(user) + "," + base
}

// do runs f on a connection, an idle one if there is, and once more on a fresh one if the idle one was dead.
func (s Server) do(ctx context.Context, f func(*ldap.Conn) error) error {
	p := s.pool()
	for {
		c := p.take()
		reused := c != nil
		if !reused {
			var err error
			if c, err = s.dial(); err != nil {
				return fmt.Errorf("ldap server %s: %w", s.Addr, err)
			}
		}
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		err := f(c)
		usable := stop() && (err == nil || errors.Is(err, ErrCredentials) || errors.Is(err, ErrAmbiguous))
		if usable && p.put(c) {
			return err
		}
		_ = c.Close()
		if usable || !reused || !ldap.IsErrorWithCode(err, ldap.ErrorNetwork) || ctx.Err() != nil {
			if err != nil && !usable {
				return fmt.Errorf("ldap server %s: %w", s.Addr, errors.Join(err, ctx.Err()))
			}
			return err
		}
	}
}

func (s Server) dial() (*ldap.Conn, error) {
	host, _, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return nil, err
	}
	// #nosec G402 -- the config says so.
	config := &tls.Config{ServerName: host, InsecureSkipVerify: s.SkipVerify, MinVersion: tls.VersionTLS12}
	scheme := "ldap://"
	if s.Security == LDAPS {
		scheme = "ldaps://"
	}
	c, err := ldap.DialURL(scheme+s.Addr, ldap.DialWithDialer(&net.Dialer{Timeout: s.Timeout}), ldap.DialWithTLSConfig(config))
	if err != nil {
		return nil, err
	}
	c.SetTimeout(s.Timeout)
	if s.Security == StartTLS {
		if err := c.StartTLS(config); err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	return c, nil
}

// pools maps Server to *pool. It grows with the number of different servers in use.
var pools sync.Map

func (s Server) pool() *pool {
	if p, ok := pools.Load(s); ok {
		return p.(*pool)
	}
	p, _ := pools.LoadOrStore(s, &pool{size: s.Idle, timeout: s.IdleTimeout})
	return p.(*pool)
}

// pool keeps idle connections, the one used last on top. It is safe for concurrent use.
type pool struct {
	size    int
	timeout time.Duration

	mu   sync.Mutex
	idle []idleConn // guarded by mu
}

type idleConn struct {
	conn  *ldap.Conn
	timer *time.Timer
}

// take returns an idle connection, or nil.
func (p *pool) take() *ldap.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := len(p.idle); n > 0; n-- {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		c.timer.Stop()
		if !c.conn.IsClosing() {
			return c.conn
		}
	}
	return nil
}

// put keeps a connection and reports whether it did.
func (p *pool) put(c *ldap.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= p.size || c.IsClosing() {
		return false
	}
	p.idle = append(p.idle, idleConn{c, time.AfterFunc(p.timeout, func() { p.expire(c) })})
	return true
}

func (p *pool) expire(c *ldap.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.idle {
		if p.idle[i].conn == c {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			_ = c.Close()
			return
		}
	}
}
