// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddytls/standardstek"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/andogate/ando/modules/gateway/gatewaytest/certtest"
)

// secureSite is a site with TLS, whose route answers with what a node says.
type secureSite struct {
	*site
	// lane is the kind of event loops.
	lane string
	// server are further fields of the server; policies its TLS connection policies.
	server, policies string
	tlsApp           string
}

func newSecureSite(t *testing.T) *secureSite {
	t.Helper()
	s := &secureSite{site: newSite(t), lane: "auto", policies: `[{}]`, tlsApp: `{}`}
	s.store = `{"module":"memory"}`
	return s
}

func (s *secureSite) mustLoad() {
	s.t.Helper()
	err := caddy.Load(fmt.Appendf(nil, `{
		"admin": {"disabled": true, "config": {"persist": false}},
		"logging": {"logs": {"default": {"level": "PANIC"}}},
		"apps": {
			"ando": {"admin": {"listen": "127.0.0.1:%s"}, "control": {"disabled": true}, "store": %s, "lane": %q, "fallback_sni": "fallback.test"},
			"tls": %s,
			"http": {"servers": {"s": {"listen": ["ando/127.0.0.1:%s"], "listener_wrappers": [{"wrapper": "ando"}],
				"automatic_https": {"disable": true}, "tls_connection_policies": %s %s,
				"routes": [{"handle": [{"handler":"ando"}]}]}}}
		}}`, s.admin, s.store, s.lane, s.tlsApp, s.port, s.policies, s.server), true)
	if err != nil {
		s.t.Fatal(err)
	}
}

// put writes an object and fails the test when it is refused.
func (s *secureSite) put(path, value string) {
	s.t.Helper()
	if got := s.do("PUT", s.admin, "/apisix/admin/"+path, value); !strings.HasPrefix(got, "20") {
		s.t.Fatalf("%s: %s", path, got)
	}
}

// putSSL writes an ssl object; more are further members, each with a comma before.
func (s *secureSite) putSSL(id string, pair certtest.Pair, more string) {
	s.t.Helper()
	s.put("ssls/"+id, fmt.Sprintf(`{"cert":%s,"key":%s%s}`, jsonText(pair.Cert), jsonText(pair.Key), more))
}

func jsonText(text string) string {
	raw, _ := json.Marshal(text)
	return string(raw)
}

// shake makes a handshake and returns the certificate that the server presents.
func (s *secureSite) shake(config *tls.Config) (*x509.Certificate, error) {
	s.t.Helper()
	config.InsecureSkipVerify = true
	conn, err := tls.Dial("tcp", "127.0.0.1:"+s.port, config)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

func (s *secureSite) expectCert(name string, want certtest.Pair) {
	s.t.Helper()
	got, err := s.shake(&tls.Config{ServerName: name})
	switch {
	case err != nil:
		s.t.Errorf("%s: %v", name, err)
	case string(got.Raw) != string(want.TLS(s.t).Certificate[0]):
		s.t.Errorf("%s: got the certificate for %v, number %v", name, got.DNSNames, got.SerialNumber)
	}
}

func (s *secureSite) expectNoCert(name string) {
	s.t.Helper()
	if got, err := s.shake(&tls.Config{ServerName: name}); err == nil {
		s.t.Errorf("%s: got the certificate for %v", name, got.DNSNames)
	}
}

func TestSSLObjectsAreServed(t *testing.T) {
	s := newSecureSite(t)
	s.mustLoad()
	ca := certtest.New(t, "ca")
	s.expectNoCert("a.test")

	first, second, wild := ca.Issue(t, "a.test"), ca.Issue(t, "a.test"), ca.Issue(t, "*.test")
	s.putSSL("1", first, `,"snis":["a.test","fallback.test"]`)
	s.expectCert("a.test", first)
	s.expectCert("", first)
	s.expectNoCert("b.test")

	s.putSSL("2", wild, `,"sni":"*.test"`)
	s.expectCert("b.test", wild)
	s.expectCert("a.test", first)

	// The next handshake has the new certificate.
	s.putSSL("1", second, `,"sni":"a.test"`)
	s.expectCert("a.test", second)
	s.expectCert("", wild)

	s.do("PATCH", s.admin, "/apisix/admin/ssls/1", `{"status":0}`)
	s.expectCert("a.test", wild)
	s.do("DELETE", s.admin, "/apisix/admin/ssls/2", "")
	s.expectNoCert("a.test")

	// A reload keeps what was written.
	s.do("PATCH", s.admin, "/apisix/admin/ssls/1", `{"status":1}`)
	s.mustLoad()
	s.expectCert("a.test", second)
	if got := s.do("GET", s.admin, "/apisix/admin/ssls/1", ""); strings.Contains(got, `"key":"-----`) || strings.Contains(got, `"key":"`+strings.Fields(second.Key)[0]) {
		t.Errorf("the key is shown: %s", got)
	}
}

// A certificate that Caddy has is presented when no object is for the name, and only then.
func TestSSLObjectsBesideCaddysCertificates(t *testing.T) {
	s := newSecureSite(t)
	ca := certtest.New(t, "ca")
	own, object := ca.Issue(t, "own.test", "both.test"), ca.Issue(t, "both.test")
	s.tlsApp = fmt.Sprintf(`{"certificates":{"load_pem":[{"certificate":%s,"key":%s}]}}`, jsonText(own.Cert), jsonText(own.Key))
	s.mustLoad()
	s.putSSL("1", object, `,"sni":"both.test"`)
	s.expectCert("own.test", own)
	s.expectCert("both.test", object)
	s.do("DELETE", s.admin, "/apisix/admin/ssls/1", "")
	s.expectCert("both.test", own)
}

// Policies for certain names go on to say how TLS is done for them; the certificate is the object's there, too.
func TestSSLObjectsAndPolicies(t *testing.T) {
	s := newSecureSite(t)
	s.policies = `[{"match":{"sni":["old.test"]},"protocol_max":"tls1.2"},{}]`
	s.mustLoad()
	pair := certtest.New(t, "ca").Issue(t, "old.test", "new.test")
	s.putSSL("1", pair, `,"snis":["old.test","new.test"]`)
	s.expectCert("old.test", pair)
	s.expectCert("new.test", pair)
	if _, err := s.shake(&tls.Config{ServerName: "old.test", MinVersion: tls.VersionTLS13}); err == nil {
		t.Error("the policy does not count")
	}
	if _, err := s.shake(&tls.Config{ServerName: "new.test", MinVersion: tls.VersionTLS13}); err != nil {
		t.Error(err)
	}
}

func TestSSLProtocols(t *testing.T) {
	s := newSecureSite(t)
	s.mustLoad()
	pair := certtest.New(t, "ca").Issue(t, "a.test")
	offers := map[string][2]uint16{
		"1.1": {tls.VersionTLS11, tls.VersionTLS11}, "1.2": {tls.VersionTLS12, tls.VersionTLS12},
		"1.3": {tls.VersionTLS13, tls.VersionTLS13}, "1.1-1.2": {tls.VersionTLS11, tls.VersionTLS12},
	}
	for protocols, good := range map[string]string{
		``:                                                 "1.2 1.3 1.1-1.2",
		`,"ssl_protocols":["TLSv1.3"]`:                     "1.3",
		`,"ssl_protocols":["TLSv1.2"]`:                     "1.2 1.1-1.2",
		`,"ssl_protocols":["TLSv1.1"]`:                     "1.1 1.1-1.2",
		`,"ssl_protocols":["TLSv1.2","TLSv1.1"]`:           "1.1 1.2 1.1-1.2",
		`,"ssl_protocols":["TLSv1.3","TLSv1.1"]`:           "1.1 1.3 1.1-1.2",
		`,"ssl_protocols":["TLSv1.1","TLSv1.2","TLSv1.3"]`: "1.1 1.2 1.3 1.1-1.2",
	} {
		s.putSSL("1", pair, `,"sni":"a.test"`+protocols)
		for name, versions := range offers {
			_, err := s.shake(&tls.Config{ServerName: "a.test", MinVersion: versions[0], MaxVersion: versions[1]})
			if want := strings.Contains(" "+good+" ", " "+name+" "); (err == nil) != want {
				t.Errorf("%s: a client of %s: got %v", protocols, name, err)
			}
		}
	}
}

// client is one way to send requests, each on a connection of its own unless it is kept.
type client struct {
	name, lane string
	// new returns a client whose connections are not shared with others.
	new func(config *tls.Config) http.RoundTripper
}

func overTCP(protocols ...string) func(*tls.Config) http.RoundTripper {
	return func(config *tls.Config) http.RoundTripper {
		config.NextProtos = protocols
		return &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: protocols[0] == "h2"}
	}
}

var clients = []client{
	{"lane", "auto", overTCP("http/1.1")},
	{"h1", "off", overTCP("http/1.1")},
	{"h2", "auto", overTCP("h2")},
	{"h3", "auto", func(config *tls.Config) http.RoundTripper {
		return &http3.Transport{TLSClientConfig: config, Dial: dialQUIC}
	}},
}

// dialQUIC waits for the handshake, unlike what http3 does itself, which loses the error of one that fails.
func dialQUIC(ctx context.Context, addr string, tlsConfig *tls.Config, config *quic.Config) (*quic.Conn, error) {
	return quic.DialAddr(ctx, addr, tlsConfig, config)
}

// conversation is requests over one connection, or over several with one memory of TLS sessions.
type conversation struct {
	t      *testing.T
	port   string
	client client
	config *tls.Config
	wire   http.RoundTripper
}

func (s *secureSite) converse(t *testing.T, c client, sni string, certs ...tls.Certificate) *conversation {
	t.Helper()
	config := &tls.Config{
		ServerName: sni, Certificates: certs, InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(4),
	}
	conv := &conversation{t: t, port: s.port, client: c, config: config}
	t.Cleanup(conv.hangUp)
	return conv
}

// hangUp closes the connection; the next request opens another.
func (c *conversation) hangUp() {
	switch wire := c.wire.(type) {
	case *http.Transport:
		wire.CloseIdleConnections()
	case *http3.Transport:
		_ = wire.Close()
	}
	c.wire = nil
}

// get returns the status, or "refused" when there is no connection.
func (c *conversation) get(host, path string) string {
	c.t.Helper()
	if c.wire == nil {
		c.wire = c.client.new(c.config)
	}
	r, err := http.NewRequest("GET", "https://127.0.0.1:"+c.port+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Host = host
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	res, err := c.wire.RoundTrip(r.WithContext(ctx))
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			c.t.Fatal(err)
		}
		return "refused"
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		c.t.Fatal(err)
	}
	return fmt.Sprint(res.StatusCode)
}

func (c *conversation) expect(host, path, want string) {
	c.t.Helper()
	if got := c.get(host, path); got != want {
		c.t.Errorf("%s%s: got %s, want %s", host, path, got, want)
	}
}

func TestClientCertificates(t *testing.T) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) { testClientCertificates(t, c) })
	}
}

func testClientCertificates(t *testing.T, c client) {
	s := newSecureSite(t)
	s.lane = c.lane
	s.mustLoad()
	s.put("routes/1", fmt.Sprintf(`{"uri":"/*","upstream":{"nodes":{%q:1}}}`, node(t, "n")))
	ca, clients := certtest.New(t, "ca"), certtest.New(t, "clients")
	server := ca.Issue(t, "any")
	asking := fmt.Sprintf(`,"client":{"ca":%s`, jsonText(clients.Cert))
	s.putSSL("asks", server, `,"sni":"asks.test"`+asking+`}`)
	s.putSSL("skips", server, `,"sni":"skips.test"`+asking+`,"skip_mtls_uri_regex":["^/open/"]}`)
	s.putSSL("plain", server, `,"snis":["plain.test","later.test"]`)

	right, wrong := clients.Issue(t, "c").TLS(t), certtest.New(t, "clients").Issue(t, "c").TLS(t)
	expired := clients.IssueUntil(t, time.Now().Add(-time.Hour), "c").TLS(t)
	shared := "400"
	if c.name == "h2" || c.name == "h3" {
		shared = "421"
	}

	for name, certs := range map[string][]tls.Certificate{"no": nil, "wrong": {wrong}, "expired": {expired}} {
		t.Run(name+" certificate", func(t *testing.T) {
			s.converse(t, c, "asks.test", certs...).expect("asks.test", "/", "refused")
			skips := s.converse(t, c, "skips.test", certs...)
			skips.expect("skips.test", "/open/x", "200")
			skips.expect("skips.test", "/closed", "400")
			skips.expect("skips.test", "/x/open/", "400")
			skips.expect("skips.test", "/open/../closed", "400")
			skips.expect("skips.test", "/closed?/open/", "400")
		})
	}
	t.Run("right certificate", func(t *testing.T) {
		asks := s.converse(t, c, "asks.test", right)
		asks.expect("asks.test", "/", "200")
		asks.expect("asks.test", "/", "200")
		asks.expect("plain.test", "/", "400")
		skips := s.converse(t, c, "skips.test", right)
		skips.expect("skips.test", "/closed", "200")
	})
	t.Run("connection made for another name", func(t *testing.T) {
		plain := s.converse(t, c, "plain.test", right)
		plain.expect("plain.test", "/", "200")
		plain.expect("asks.test", "/", shared)
		plain.expect("skips.test", "/open/x", shared)
		plain.expect("plain.test", "/", "200")
	})
	t.Run("resumed session", func(t *testing.T) {
		// The session is one of the client's that came with the right certificate.
		asks := s.converse(t, c, "asks.test", right)
		asks.expect("asks.test", "/", "200")
		asks.hangUp()
		asks.expect("asks.test", "/", "200")
		asks.hangUp()
		// What is asked for changes: the session that began with the certificate does not count any more.
		other := certtest.New(t, "others")
		s.putSSL("asks", server, fmt.Sprintf(`,"sni":"asks.test","client":{"ca":%s}`, jsonText(other.Cert)))
		asks.expect("asks.test", "/", "refused")
		s.putSSL("asks", server, `,"sni":"asks.test"`+asking+`}`)

		// A session from before a certificate was asked for.
		for _, more := range []string{asking + `}`, asking + `,"skip_mtls_uri_regex":["^/open"]}`} {
			s.putSSL("later", server, `,"sni":"later.test"`)
			later := s.converse(t, c, "later.test")
			later.expect("later.test", "/", "200")
			later.hangUp()
			s.putSSL("later", server, `,"sni":"later.test"`+more)
			if got := later.get("later.test", "/"); got == "200" {
				t.Errorf("%s: got %s", more, got)
			}
			later.hangUp()
			later.config.Certificates = []tls.Certificate{right}
			later.expect("later.test", "/", "200")
			s.do("DELETE", s.admin, "/apisix/admin/ssls/later", "")
		}
	})
	t.Run("open connection", func(t *testing.T) {
		asks := s.converse(t, c, "asks.test", right)
		asks.expect("asks.test", "/", "200")
		s.putSSL("asks", server, fmt.Sprintf(`,"sni":"asks.test","client":{"ca":%s}`, jsonText(ca.Cert)))
		asks.expect("asks.test", "/", "400")
		s.putSSL("asks", server, `,"sni":"asks.test"`+asking+`}`)
		asks.expect("asks.test", "/", "200")
	})
}
