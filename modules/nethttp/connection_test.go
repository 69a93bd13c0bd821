// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// counting is a node that notes which of its connections each request came on, and what Connection said.
type counting struct {
	mu       sync.Mutex
	conns    []string
	requests []int
	said     []string
}

func (c *counting) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = append(c.said, r.Header.Get("Connection"))
	if i := slices.Index(c.conns, r.RemoteAddr); i >= 0 {
		c.requests[i]++
		return
	}
	c.conns, c.requests = append(c.conns, r.RemoteAddr), append(c.requests, 1)
}

// TestRequestsPerConnection: `keepalive_pool.requests` bounds what one connection carries, on HTTP/1.1 and on HTTP/2.
func TestRequestsPerConnection(t *testing.T) {
	for _, c := range []struct {
		name, scheme, method, body string
	}{
		{"http", "http", "GET", ""},
		{"http with a body", "http", "POST", "body"},
		{"https", "https", "GET", ""},
		{"grpc", "grpc", "POST", "body"},
		{"grpcs", "grpcs", "POST", "body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := new(counting)
			node := httptest.NewUnstartedServer(seen)
			node.Config.Protocols = new(http.Protocols)
			node.Config.Protocols.SetHTTP1(true)
			node.Config.Protocols.SetHTTP2(true)
			node.Config.Protocols.SetUnencryptedHTTP2(true)
			node.EnableHTTP2 = true
			if strings.HasSuffix(c.scheme, "s") {
				node.StartTLS()
			} else {
				node.Start()
			}
			t.Cleanup(node.Close)
			u := upstreamOf(t, node.Listener.Addr().String())
			u.Scheme, u.KeepAlive.Requests = c.scheme, 3
			s := serveRoute(t, &gateway.Route{Upstream: u})
			for range 7 {
				response, _ := do(t, c.method, s.URL, strings.NewReader(c.body))
				wantStatus(t, response, 200)
			}
			if !slices.Equal(seen.requests, []int{3, 3, 1}) {
				t.Errorf("connections carried %v requests, want [3 3 1]", seen.requests)
			}
			want := []string{"", "", "close", "", "", "close", ""}
			if strings.HasPrefix(c.scheme, "grpc") {
				want = make([]string, 7)
			}
			if !slices.Equal(seen.said, want) {
				t.Errorf("Connection said %q, want %q", seen.said, want)
			}
		})
	}
}

// TestTLSSessions: a connection goes on with the session of one before, but never with that of another identity.
func TestTLSSessions(t *testing.T) {
	var resumed []bool
	var certificates []int
	node := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		resumed = append(resumed, r.TLS.DidResume)
		certificates = append(certificates, len(r.TLS.PeerCertificates))
	}))
	node.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	node.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	node.StartTLS()
	t.Cleanup(node.Close)
	u := upstreamOf(t, node.Listener.Addr().String())
	u.Scheme, u.KeepAlive.Requests = "https", 1
	s := serveRoute(t, &gateway.Route{Upstream: u})
	for _, certificate := range []*tls.Certificate{nil, nil, &node.TLS.Certificates[0], &node.TLS.Certificates[0], nil} {
		u.ClientCertificate = certificate
		response, _ := do(t, "GET", s.URL, nil)
		wantStatus(t, response, 200)
	}
	if want := []bool{false, true, false, true, true}; !slices.Equal(resumed, want) {
		t.Errorf("sessions went on: %v, want %v", resumed, want)
	}
	if want := []int{0, 0, 1, 1, 0}; !slices.Equal(certificates, want) {
		t.Errorf("the node saw %v certificates, want %v", certificates, want)
	}
}

// TestHalfClosedTunnel: who has said everything still hears the other out, whichever side ends first.
func TestHalfClosedTunnel(t *testing.T) {
	const accepted = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	big := strings.Repeat("0123456789abcdef", 1<<16)
	for _, secure := range []bool{false, true} {
		name := map[bool]string{false: "plain", true: "tls"}[secure]
		t.Run(name, func(t *testing.T) {
			accept := func(t *testing.T, f func(c closeWriter)) *gateway.Upstream {
				node := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					c, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					_, _ = io.WriteString(c, accepted)
					f(c.(closeWriter))
				}))
				if secure {
					node.StartTLS()
				} else {
					node.Start()
				}
				t.Cleanup(node.Close)
				u := upstreamOf(t, node.Listener.Addr().String())
				if secure {
					u.Scheme = "https"
				}
				return u
			}
			t.Run("client first", func(t *testing.T) {
				s := serveRoute(t, &gateway.Route{Websocket: true, Upstream: accept(t, func(c closeWriter) {
					n, err := io.Copy(io.Discard, c)
					if err != nil || n != int64(len("early")+len(big)) {
						t.Errorf("node got %d bytes, %v", n, err)
					}
					_, _ = io.WriteString(c, big)
				})})
				c, r, response := dialUpgrade(t, s.Listener.Addr().String())
				wantStatus(t, response, 101)
				_, _ = io.WriteString(c, big)
				_ = c.(*net.TCPConn).CloseWrite()
				expect(t, r, big)
				if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
					t.Errorf("then %q, %v", rest, err)
				}
			})
			t.Run("node first", func(t *testing.T) {
				s := serveRoute(t, &gateway.Route{Websocket: true, Upstream: accept(t, func(c closeWriter) {
					_, _ = io.WriteString(c, "bye")
					_ = c.CloseWrite()
					if got, err := io.ReadAll(c); err != nil || string(got) != "early"+big {
						t.Errorf("node got %d bytes, %v", len(got), err)
					}
				})})
				c, r, response := dialUpgrade(t, s.Listener.Addr().String())
				wantStatus(t, response, 101)
				if got, err := io.ReadAll(r); err != nil || string(got) != "bye" {
					t.Errorf("client got %q, %v", got, err)
				}
				_, _ = io.WriteString(c, big)
				_ = c.Close()
			})
		})
	}
}

type closeWriter interface {
	net.Conn
	CloseWrite() error
}
