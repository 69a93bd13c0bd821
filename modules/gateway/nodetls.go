// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
)

// NodeTLS is what the TLS connections to one address must have in common to be interchangeable. Values are comparable.
type NodeTLS struct {
	// ServerName is what the node is called by, in lower case. Verify checks that its certificate says so too, and comes
	// from one of Roots, or of the system's when that is nil.
	ServerName string
	Verify     bool
	Roots      *x509.CertPool
	// Certificate is presented to the node; nil is none.
	Certificate *tls.Certificate
}

// NodeTLS returns how the current node wants to be spoken to under https and grpcs. ServerName is the host that is sent
// and may be a part of the request's text: clone what you keep.
func (x *Exchange) NodeTLS() NodeTLS {
	u := x.Forward.Upstream
	return NodeTLS{
		ServerName: hostName(x.ForwardHost()), Verify: u.TLSVerify, Roots: x.Settings.NodeRoots,
		Certificate: u.ClientCertificate,
	}
}

// hostName returns the text of a Host field without port, brackets and trailing dot, in lower case.
func hostName(text string) string {
	if i := strings.LastIndexByte(text, ':'); i >= 0 && strings.IndexByte(text[i:], ']') < 0 {
		text = text[:i]
	}
	text = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	return strings.ToLower(strings.TrimSuffix(text, "."))
}

// Digest returns a name for connections to the address: the same for those that are interchangeable, also when the
// certificate was parsed anew, and for no others.
func (n *NodeTLS) Digest(addr string) string {
	digest := sha256.New()
	fmt.Fprintf(digest, "%q %q %t %p", addr, n.ServerName, n.Verify, n.Roots)
	if n.Certificate != nil {
		for _, der := range n.Certificate.Certificate {
			_, _ = digest.Write(der)
		}
	}
	return hex.EncodeToString(digest.Sum(nil)[:16])
}

// Config returns the client's side of a handshake with the node at addr. A new connection goes on with a session that an
// interchangeable one left in sessions; crypto/tls by itself goes by the server's name alone.
func (n *NodeTLS) Config(addr, protocol string, sessions tls.ClientSessionCache) *tls.Config {
	config := &tls.Config{
		ServerName:         n.ServerName,
		InsecureSkipVerify: !n.Verify, // APISIX's tls.verify is false by default.
		RootCAs:            n.Roots,
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{protocol},
		ClientSessionCache: namedSessions{sessions, n.Digest(addr)},
	}
	if n.Certificate != nil {
		config.Certificates = []tls.Certificate{*n.Certificate}
	}
	return config
}

// namedSessions is the part of a session cache that interchangeable connections share.
type namedSessions struct {
	cache tls.ClientSessionCache
	name  string
}

func (s namedSessions) Get(string) (*tls.ClientSessionState, bool) { return s.cache.Get(s.name) }

func (s namedSessions) Put(_ string, state *tls.ClientSessionState) { s.cache.Put(s.name, state) }
