// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"time"
	"weak"
)

// SecureTable is implemented by tables that say how TLS is done for server names: those with APISIX's ssl objects.
type SecureTable interface {
	Table
	// SSL finds the object for a server name, in any case and with or without a trailing dot; nil is none. Exact names come
	// before wildcards, and of objects with one name the first in key order.
	SSL(serverName string) *SSL
	// SSLs yields every compiled object of the type server in key order, also those that are switched off.
	SSLs() iter.Seq[*SSL]
	// AsksClients reports that some object wants certificates from clients.
	AsksClients() bool
}

// SSL is how TLS is done for some server names: a compiled ssl object. It is immutable.
type SSL struct {
	// Object is the stored object; its private keys are encrypted.
	Object Object
	// Names are the server names in lower case; "*" and a leading "*." are wildcards.
	Names []string
	// Off says that the object's status is 0.
	Off bool
	// Certificates are what can be presented, each with its Leaf; those with the smaller signatures come first.
	Certificates []tls.Certificate
	// Versions are the versions of TLS that may be used, ascending; none leaves that to the server.
	Versions []uint16
	// Client is set when clients have to show a certificate.
	Client *ClientAuth
	// Fault is why the names are not served: without a certificate that can be used a handshake fails.
	Fault error
}

// Certificate chooses a certificate that the client can verify, or any when there is none.
func (s *SSL) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.Fault != nil {
		return nil, fmt.Errorf("ssl %s: %w", s.Object.ID, s.Fault)
	}
	if len(s.Certificates) > 1 {
		for i := range s.Certificates {
			if hello.SupportsCertificate(&s.Certificates[i]) == nil {
				return &s.Certificates[i], nil
			}
		}
	}
	return &s.Certificates[0], nil
}

// ClientAuth is what an ssl object asks of clients: APISIX's `client`. It is immutable but for what it remembers of
// connections, and safe for concurrent use.
type ClientAuth struct {
	// CAs are the certificates that clients' certificates lead to.
	CAs *x509.CertPool
	// Depth is how many certificates there may be between a client's and the CA's.
	Depth int
	// Skip reports that a path may be requested without a certificate; nil is none. Then the handshake succeeds without
	// one, and requests are refused one by one.
	Skip func(path string) bool

	// verdicts maps connections, by where they keep what the client has sent, to verdicts.
	verdicts sync.Map
}

// verdict is what was found out about the certificates of one connection.
type verdict struct {
	err error
	// until is when the first certificate of the chain expires.
	until time.Time
}

var errNoClientCertificate = errors.New("the client sent no certificate")

// Verify checks the certificates that a client has sent in a handshake, its own first. What it finds is remembered until
// the connection has gone or a certificate expires: certs is the connection's own slice, as tls.ConnectionState has it.
func (c *ClientAuth) Verify(certs []*x509.Certificate) error {
	if len(certs) == 0 {
		return errNoClientCertificate
	}
	now := time.Now()
	connection := weak.Make(&certs[0])
	known, ok := c.verdicts.Load(connection)
	if ok && (known.(verdict).err != nil || now.Before(known.(verdict).until)) {
		return known.(verdict).err
	}
	v := c.verify(certs, now)
	if c.verdicts.Store(connection, v); !ok {
		runtime.AddCleanup(&certs[0], func(connection weak.Pointer[*x509.Certificate]) { c.verdicts.Delete(connection) }, connection)
	}
	return v.err
}

func (c *ClientAuth) verify(certs []*x509.Certificate, now time.Time) verdict {
	options := x509.VerifyOptions{
		Roots: c.CAs, Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, cert := range certs[1:] {
		options.Intermediates.AddCert(cert)
	}
	chains, err := certs[0].Verify(options)
	if err != nil {
		return verdict{err: err}
	}
	best := verdict{err: fmt.Errorf("the certificate chain is longer than depth %d allows", c.Depth)}
	for _, chain := range chains {
		if len(chain) > c.Depth+2 {
			continue
		}
		until := chain[0].NotAfter
		for _, cert := range chain[1:] {
			if cert.NotAfter.Before(until) {
				until = cert.NotAfter
			}
		}
		if best.err != nil || until.After(best.until) {
			best = verdict{until: until}
		}
	}
	return best
}

// clientFault returns the status that refuses the request for what its TLS connection lacks, or 0. A certificate is good
// for the name for which it was asked: a host with an object that wants one is only served on connections made for it.
func (x *Exchange) clientFault() int {
	if x.Request.TLS == nil {
		return 0
	}
	t, ok := x.Table.(SecureTable)
	if !ok || !t.AsksClients() {
		return 0
	}
	name, host := x.Request.TLS.ServerName, x.Request.Host
	if name == "" {
		name = x.Settings.FallbackSNI
	}
	ssl := t.SSL(name)
	asked := ssl != nil && ssl.Client != nil
	if !sameServer(name, host) {
		other := t.SSL(host)
		switch {
		case asked:
			return 400
		case other == nil || other.Client == nil:
			return 0
		case x.Request.ProtoMajor >= 2:
			// RFC 9110 section 15.5.20: the client shares a connection among hosts, and is to open one for this host.
			return 421
		}
		return 400
	}
	if !asked || ssl.Client.Verify(x.Request.TLS.PeerCertificates) == nil ||
		ssl.Client.Skip != nil && ssl.Client.Skip(x.Request.Path) {
		return 0
	}
	return 400
}

// sameServer compares a server name as the client sent it with a request's host.
func sameServer(name, host string) bool {
	if n := len(name); n > 0 && name[n-1] == '.' {
		name = name[:n-1]
	}
	return EqualFold(name, host)
}
