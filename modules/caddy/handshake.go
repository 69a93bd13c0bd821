// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/andogate/ando/modules/gateway"
)

// HandshakeMatcher matches TLS handshakes for server names that an ssl object of the gateway serves. Servers with an `ando`
// handler get connection policies with it by themselves.
type HandshakeMatcher struct {
	// Only objects that ask clients for a certificate in this way: no (they do not), request (requests without one are
	// refused one by one: APISIX's skip_mtls_uri_regex) or require. Default: all objects.
	Client string `json:"client,omitempty"`

	// Only objects with these ssl_protocols: a range such as tls1.2-tls1.3, or default for objects that leave it to the
	// server. Default: all objects.
	Protocols string `json:"protocols,omitempty"`

	// Match nothing. The policy that the gateway puts behind all others of a server has it.
	Never bool `json:"never,omitempty"`

	source sslSource
}

// CaddyModule returns the Caddy module information.
func (*HandshakeMatcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.handshake_match.ando", New: func() caddy.Module { return new(HandshakeMatcher) }}
}

// Provision finds the gateway of the config. The last of a server's policies finishes them: those before it have been
// provisioned then.
func (m *HandshakeMatcher) Provision(ctx caddy.Context) error {
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	m.source = app.ssls
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if m.Never && ok {
		app.finishPolicies(server)
	}
	return nil
}

// Match reports whether an object of the right kind serves the client's server name.
func (m *HandshakeMatcher) Match(hello *tls.ClientHelloInfo) bool {
	if m.Never || isChallenge(hello) {
		return false
	}
	ssl := m.source.find(hello.Context(), hello.ServerName)
	if ssl == nil || m.Client != "" && m.Client != clientMode(ssl) {
		return false
	}
	return m.Protocols == "" || m.Protocols == protocolRange(ssl.Versions, hello.SupportedVersions)
}

// isChallenge recognizes an ACME server that validates a name (RFC 8737): it wants no certificate but Caddy's.
func isChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == "acme-tls/1"
}

// The values of HandshakeMatcher.Client.
const (
	clientNo      = "no"
	clientRequest = "request"
	clientRequire = "require"
)

func clientMode(ssl *gateway.SSL) string {
	switch {
	case ssl.Client == nil:
		return clientNo
	case ssl.Client.Skip != nil:
		return clientRequest
	}
	return clientRequire
}

const protocolsDefault = "default"

var versionNames = map[uint16]string{tls.VersionTLS11: "tls1.1", tls.VersionTLS12: "tls1.2", tls.VersionTLS13: "tls1.3"}

// protocolRange names the range of versions of an object, which are ascending. Where versions are missing in the middle it
// is the best that the client offers as well, so that none between is taken.
func protocolRange(versions, offered []uint16) string {
	if len(versions) == 0 {
		return protocolsDefault
	}
	low, high := versionRange(versions, offered)
	return versionNames[low] + "-" + versionNames[high]
}

// versionRange returns the ends of the range that protocolRange names.
func versionRange(versions, offered []uint16) (low, high uint16) {
	low, high = versions[0], versions[len(versions)-1]
	switch {
	case int(high-low) == len(versions)-1:
		return low, high
	case slices.Contains(offered, high):
		return high, high
	}
	return low, low
}

// legacyCipherSuites are all that TLS 1.1 has.
var legacyCipherSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
}

// UnmarshalCaddyfile reads `ando`.
func (m *HandshakeMatcher) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() || d.NextBlock(d.Nesting()) {
		return d.ArgErr()
	}
	return nil
}

// sslSource finds ssl objects for handshakes.
type sslSource struct{ app *App }

// find returns nil when there is no object for the name, or no gateway. A client that names no server is taken to name the
// fallback.
func (s sslSource) find(ctx context.Context, name string) *gateway.SSL {
	running, err := s.app.serving(ctx)
	if err != nil {
		return nil
	}
	t, ok := running.gateway.Table().(gateway.SecureTable)
	if !ok {
		return nil
	}
	if name == "" {
		name = s.app.FallbackSNI
	}
	return t.SSL(name)
}

// certificate returns nil without an error when Caddy is to choose.
func (s sslSource) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if isChallenge(hello) {
		return nil, nil
	}
	ssl := s.find(hello.Context(), hello.ServerName)
	if ssl == nil {
		return nil, nil
	}
	return ssl.Certificate(hello)
}

// verify ends handshakes without a certificate that the object for the name accepts.
func (s sslSource) verify(state tls.ConnectionState) error {
	ssl := s.find(context.Background(), state.ServerName)
	if ssl == nil || ssl.Client == nil || ssl.Client.Skip != nil {
		// The object has changed since the handshake began; requests are checked by what it says now.
		return nil
	}
	return ssl.Client.Verify(state.PeerCertificates)
}

// sslPolicy is one of the connection policies that a server gets for ssl objects. A policy's TLS config is the same for all
// handshakes, so there is one for each kind of object.
type sslPolicy struct {
	policy    *caddytls.ConnectionPolicy
	client    string
	low, high uint16
}

// secure gives the server that is being provisioned its policies, once. They come after those that are for certain names
// or clients, which are what the config says about those, and before what is for all others. A policy that asks all
// clients for certificates is not bypassed.
func (a *App) secure(ctx caddy.Context) error {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || len(server.TLSConnPolicies) == 0 || a.policies[server] != nil {
		return nil
	}
	if auto := server.AutoHTTPS; auto != nil && !auto.Disabled && !auto.DisableCerts && !a.automates {
		a.automates = true
		if err := hearCertificates(ctx); err != nil {
			return err
		}
	}
	at := slices.IndexFunc(server.TLSConnPolicies, func(p *caddytls.ConnectionPolicy) bool { return len(p.MatchersRaw) == 0 })
	base := new(caddytls.ConnectionPolicy)
	if at < 0 {
		at = len(server.TLSConnPolicies)
	} else {
		base = server.TLSConnPolicies[at]
	}
	if base.Drop || base.ClientAuthentication != nil {
		at = len(server.TLSConnPolicies)
	}
	var added []*caddytls.ConnectionPolicy
	for _, client := range []string{clientNo, clientRequire, clientRequest} {
		for _, versions := range [][]uint16{
			nil,
			{tls.VersionTLS12, tls.VersionTLS13},
			{tls.VersionTLS13},
			{tls.VersionTLS12},
			{tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13},
			{tls.VersionTLS11, tls.VersionTLS12},
			{tls.VersionTLS11},
		} {
			p := sslPolicy{client: client}
			if len(versions) > 0 {
				p.low, p.high = versions[0], versions[len(versions)-1]
			}
			var err error
			matcher := HandshakeMatcher{Client: client, Protocols: protocolRange(versions, nil)}
			if p.policy, err = policyLike(base, matcher); err != nil {
				return err
			}
			a.policies[server] = append(a.policies[server], p)
			added = append(added, p.policy)
		}
	}
	last, err := policyLike(base, HandshakeMatcher{Never: true})
	if err != nil {
		return err
	}
	server.TLSConnPolicies = append(slices.Insert(server.TLSConnPolicies, at, added...), last)
	return nil
}

// policyLike returns a policy with the settings of another one, which has not been provisioned, and a matcher.
func policyLike(base *caddytls.ConnectionPolicy, matcher HandshakeMatcher) (*caddytls.ConnectionPolicy, error) {
	raw, err := json.Marshal(matcher)
	if err != nil {
		return nil, err
	}
	p := *base
	p.MatchersRaw = caddy.ModuleMap{"ando": raw}
	p.ClientAuthentication, p.Drop = nil, false
	// Caddy edits these in place.
	p.ALPN, p.CipherSuites, p.Curves = slices.Clone(p.ALPN), slices.Clone(p.CipherSuites), slices.Clone(p.Curves)
	return &p, nil
}

// finishPolicies completes the TLS configs of a server's policies. Those of the gateway do what the objects say; all of them
// present the objects' certificates before any that Caddy has.
func (a *App) finishPolicies(server *caddyhttp.Server) {
	for _, p := range a.policies[server] {
		a.finishPolicy(p)
	}
	for _, policy := range server.TLSConnPolicies {
		config := policy.TLSConfig
		if config == nil {
			continue // the last one
		}
		next := config.GetCertificate
		config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if cert, err := a.ssls.certificate(hello); cert != nil || err != nil {
				return cert, err
			}
			return next(hello)
		}
	}
}

func (a *App) finishPolicy(p sslPolicy) {
	config := p.policy.TLSConfig
	if p.low != 0 {
		config.MinVersion, config.MaxVersion = p.low, p.high
	}
	if p.low == tls.VersionTLS11 {
		config.CipherSuites = append(slices.Clip(config.CipherSuites), legacyCipherSuites...)
	}
	switch p.client {
	case clientRequire:
		// A session is only resumed with the certificate that it began with, and that is verified again.
		config.ClientAuth, config.VerifyConnection = tls.RequireAnyClientCert, a.ssls.verify
	case clientRequest:
		// A session from before the object asked would be resumed without the client's being asked.
		config.ClientAuth, config.SessionTicketsDisabled = tls.RequestClientCert, true
	}
}

// CertificateGetter is for automation policies of servers without an `ando` handler: it lets them present the certificates
// of the gateway's ssl objects for names for which Caddy has none. Servers with the handler need nothing: there the objects
// come first.
type CertificateGetter struct{}

// CaddyModule returns the Caddy module information.
func (*CertificateGetter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.get_certificate.ando", New: func() caddy.Module { return new(CertificateGetter) }}
}

// GetCertificate returns nil when no object serves the name. The gateway is the newest that runs: the TLS app, which has
// this module, may not depend on it.
func (*CertificateGetter) GetCertificate(_ context.Context, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	app := started.newest()
	if app == nil {
		return nil, nil
	}
	return app.ssls.certificate(hello)
}

// UnmarshalCaddyfile reads `ando`.
func (*CertificateGetter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() || d.NextBlock(d.Nesting()) {
		return d.ArgErr()
	}
	return nil
}

// Validate refuses values that match nothing.
func (m *HandshakeMatcher) Validate() error {
	if !slices.Contains([]string{"", clientNo, clientRequest, clientRequire}, m.Client) {
		return fmt.Errorf("client: %q is not one of no, request, require", m.Client)
	}
	if m.Never && (m.Client != "" || m.Protocols != "") {
		return errors.New("never stands alone")
	}
	return nil
}

var (
	_ caddy.Provisioner          = (*HandshakeMatcher)(nil)
	_ caddy.Validator            = (*HandshakeMatcher)(nil)
	_ caddytls.ConnectionMatcher = (*HandshakeMatcher)(nil)
	_ caddyfile.Unmarshaler      = (*HandshakeMatcher)(nil)
	_ caddyfile.Unmarshaler      = (*CertificateGetter)(nil)
)
