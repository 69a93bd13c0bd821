// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/andogate/ando/modules/gateway/gatewaytest/certtest"
)

// httpsSite is a site with automatic HTTPS for any host, whose certificates Caddy's internal CA issues.
type httpsSite struct {
	*site
	configAPI, storage string
	// tls is the TLS app; server are further fields of the server, app of the ando app.
	tls, server, app string
}

func newHTTPSSite(t *testing.T) *httpsSite {
	t.Helper()
	s := &httpsSite{site: newSite(t), configAPI: "127.0.0.1:" + freePort(t), storage: t.TempDir(), tls: `{"automation":{"policies":[{"issuers":[{"module":"internal"}]}]}}`}
	s.store = `{"module":"memory"}`
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	return s
}

func (s *httpsSite) config() []byte {
	return fmt.Appendf(nil, `{
		"admin": {"listen": %q, "config": {"persist": false}},
		"logging": {"logs": {"default": {"level": "PANIC"}}},
		"storage": {"module": "file_system", "root": %q},
		"apps": {
			"ando": {"admin": {"listen": "127.0.0.1:%s"}, "control": {"disabled": true}, "store": %s, "config_api": %q, "certificate_wait": "1m" %s},
			"pki": {"certificate_authorities": {"local": {"install_trust": false}}},
			"tls": %s,
			"http": {"https_port": %s, "servers": {"s": {"listen": ["ando/127.0.0.1:%[8]s"], "listener_wrappers": [{"wrapper": "ando"}],
				"automatic_https": {"disable_redirects": true} %s,
				"routes": [{"handle": [{"handler":"ando"}]}]}}}
		}}`, s.configAPI, s.storage, s.admin, s.store, s.configAPI, s.app, s.tls, s.port, s.server)
}

func (s *httpsSite) mustLoad() {
	s.t.Helper()
	if err := caddy.Load(s.config(), true); err != nil {
		s.t.Fatal(err)
	}
}

// write sends a write to the Admin API and returns what the answer says of certificates.
func (s *httpsSite) write(method, path, body string) string {
	s.t.Helper()
	r, err := http.NewRequest(method, "http://127.0.0.1:"+s.admin+"/apisix/admin/"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Close = true
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %v %d %s", method, path, err, res.StatusCode, answer)
	}
	return res.Header.Get("X-Ando-Certificates")
}

// cert returns the certificate that the server presents for a name, nil when the handshake fails.
func (s *httpsSite) cert(name string) *x509.Certificate {
	s.t.Helper()
	conn, err := tls.Dial("tcp", "127.0.0.1:"+s.port, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		return nil
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

func (s *httpsSite) expectCert(name string, want bool) {
	s.t.Helper()
	cert := s.cert(name)
	if (cert != nil) != want || cert != nil && !slices.Contains(cert.DNSNames, name) {
		s.t.Errorf("%s: got the certificate %+v, want one: %v", name, cert != nil, want)
	}
}

// automated returns what Caddy's config says is managed.
func (s *httpsSite) automated() string {
	s.t.Helper()
	res, err := http.Get("http://" + s.configAPI + "/config/apps/tls/certificates/automate")
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	var names []string
	if res.StatusCode == http.StatusOK {
		if err := json.NewDecoder(res.Body).Decode(&names); err != nil {
			s.t.Fatal(err)
		}
	}
	return strings.Join(names, " ")
}

func TestAutomaticHTTPSForRoutes(t *testing.T) {
	s := newHTTPSSite(t)
	s.mustLoad()
	s.expectCert("a.test", false)

	// The answer comes when the certificate is there.
	if got := s.write("PUT", "routes/1", `{"uri":"/","host":"a.test","upstream":{"nodes":{"127.0.0.1:1":1}}}`); got != "a.test=issued" {
		t.Errorf("got %q", got)
	}
	s.expectCert("a.test", true)
	if got := s.automated(); got != "a.test" {
		t.Errorf("Caddy's config has %q", got)
	}
	// The hosts of a service, and of a route that is changed in part.
	s.write("PUT", "services/s", `{"hosts":["s.test","*.s.test"]}`)
	s.expectCert("s.test", false)
	if got := s.write("PUT", "routes/2", `{"uri":"/","service_id":"s"}`); got != "s.test=issued" {
		t.Errorf("got %q", got)
	}
	if got := s.write("PATCH", "services/s", `{"hosts":["s.test","t.test"]}`); got != "s.test=issued, t.test=issued" {
		t.Errorf("got %q", got)
	}
	s.expectCert("t.test", true)

	// Another write means nothing to Caddy.
	reloads := started.newest().running.certifier.reloader.Status().Reloads
	s.write("PUT", "routes/3", `{"uri":"/3","host":"a.test","plugins":{}}`)
	if got := started.newest().running.certifier.reloader.Status().Reloads; got != reloads {
		t.Errorf("a route for a host that is known made %d reloads", got-reloads)
	}

	// Who has a certificate of their own needs none.
	pair := certtest.New(t, "ca").Issue(t, "own.test")
	s.write("PUT", "ssls/1", fmt.Sprintf(`{"sni":"own.test","cert":%s,"key":%s}`, jsonText(pair.Cert), jsonText(pair.Key)))
	if got := s.write("PUT", "routes/4", `{"uri":"/4","host":"own.test","plugins":{}}`); got != "" {
		t.Errorf("got %q", got)
	}

	s.write("DELETE", "routes/1", "")
	s.expectCert("a.test", true)
	s.write("DELETE", "routes/3", "")
	s.expectCert("a.test", false)
	if got := s.automated(); got != "s.test t.test" {
		t.Errorf("Caddy's config has %q", got)
	}
	if status := started.newest().running.certifier.reloader.Status(); status.Err != nil || status.Failures > 0 {
		t.Errorf("got %+v", status)
	}
}

// A config that is loaded as a whole does not have the names. No handshake may fail meanwhile.
func TestAutomaticHTTPSOutlivesConfigs(t *testing.T) {
	for name, tlsApp := range map[string]string{
		"a policy for all names": `{"automation":{"policies":[{"issuers":[{"module":"internal"}]}]}}`,
		"Caddy's own policies":   `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newHTTPSSite(t)
			s.tls = tlsApp
			s.mustLoad()
			// A name for which there is no public CA.
			if got := s.write("PUT", "routes/1", `{"uri":"/","host":"a.localhost","plugins":{}}`); got != "a.localhost=issued" {
				t.Fatalf("got %q", got)
			}
			first := s.cert("a.localhost")
			done, failed := make(chan struct{}), make(chan int)
			go func() {
				failures := 0
				for {
					select {
					case <-done:
						failed <- failures
						return
					default:
					}
					if s.cert("a.localhost") == nil {
						failures++
					}
				}
			}()
			for i := range 5 {
				s.app = fmt.Sprintf(`, "fallback_sni": "generation-%d"`, i)
				s.mustLoad()
				reloader := started.newest().running.certifier.reloader
				if err := reloader.Wait(t.Context(), reloader.Ask()); err != nil {
					t.Fatal(err)
				}
				if got := s.automated(); got != "a.localhost" {
					t.Errorf("Caddy's config has %q", got)
				}
			}
			close(done)
			if n := <-failed; n > 0 {
				t.Errorf("%d handshakes failed", n)
			}
			if last := s.cert("a.localhost"); last == nil || first == nil || !last.Equal(first) {
				t.Error("the certificate is another one")
			}
			// The site is gone, and with it what was managed for it.
			s.server, s.app = `, "strict_sni_host": false`, ""
			raw := strings.Replace(string(s.config()), `"disable_redirects": true`, `"disable_redirects": true, "disable_certificates": true`, 1)
			if err := caddy.Load([]byte(raw), true); err != nil {
				t.Fatal(err)
			}
			reloader := started.newest().running.certifier.reloader
			if err := reloader.Wait(t.Context(), reloader.Ask()); err != nil {
				t.Fatal(err)
			}
			if got := s.automated(); got != "" {
				t.Errorf("Caddy's config has %q", got)
			}
		})
	}
}

// Without Caddy's admin endpoint writes go on; what could not be done is said.
func TestAutomaticHTTPSWithoutConfigAPI(t *testing.T) {
	s := newHTTPSSite(t)
	s.mustLoad()
	s.app = ""
	off := strings.Replace(string(s.config()), fmt.Sprintf(`"config_api": %q`, s.configAPI), `"config_api": "off"`, 1)
	if err := caddy.Load([]byte(off), true); err != nil {
		t.Fatal(err)
	}
	if got := s.write("PUT", "routes/1", `{"uri":"/","host":"a.test","plugins":{}}`); got != "a.test=failed" {
		t.Errorf("got %q", got)
	}
	if got := configBehind(); len(got) != 1 || !strings.Contains(got[0], "admin endpoint is off") {
		t.Errorf("the status says %q", got)
	}
	if got := gather(t, reloadMetrics{started.newest()}); !slices.Contains(got, 1) {
		t.Errorf("the metrics are %v", got)
	}
	s.mustLoad()
	if got := s.write("PUT", "routes/2", `{"uri":"/2","host":"a.test","plugins":{}}`); got != "a.test=issued" {
		t.Errorf("got %q", got)
	}
	if got := configBehind(); len(got) != 0 {
		t.Errorf("the status says %q", got)
	}
}

func TestOnDemand(t *testing.T) {
	s := newHTTPSSite(t)
	s.tls = `{"automation":{"policies":[{"issuers":[{"module":"internal"}],"on_demand":true}],"on_demand":{"permission":{"module":"ando"}}}}`
	s.mustLoad()
	s.expectCert("a.test", false)
	if got := s.write("PUT", "routes/1", `{"uri":"/","hosts":["a.test","*.wild.test"],"plugins":{}}`); got != "" {
		t.Errorf("got %q", got)
	}
	s.expectCert("a.test", true)
	s.expectCert("x.wild.test", false)
	s.expectCert("b.test", false)
	if got := s.automated(); got != "" {
		t.Errorf("Caddy's config has %q", got)
	}
	s.tls = strings.Replace(s.tls, `"module":"ando"`, `"module":"ando","wildcards":true`, 1)
	s.mustLoad()
	s.expectCert("x.wild.test", true)
}

func TestCertificateEvents(t *testing.T) {
	events := certificateEvents{failed: map[string]uint64{}, news: make(chan struct{})}
	since := events.mark()
	fail := func(name string) {
		event, err := caddy.NewEvent(caddy.Context{}, "cert_failed", map[string]any{"identifier": name})
		if err != nil {
			t.Fatal(err)
		}
		if err := events.Handle(t.Context(), event); err != nil {
			t.Fatal(err)
		}
	}
	fail("x.test")
	if events.failed["x.test"] <= since || events.mark() == since {
		t.Error("a failure is not remembered")
	}
	for i := range maxFailures + 1 {
		fail(fmt.Sprint(i))
	}
	if len(events.failed) > maxFailures {
		t.Errorf("%d failures are remembered", len(events.failed))
	}
}
