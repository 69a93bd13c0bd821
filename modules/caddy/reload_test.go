// SPDX-License-Identifier: Apache-2.0

package andocaddy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	andocaddy "github.com/andogate/ando/modules/caddy"
)

// freePort returns a port that nobody has at the moment, and never the same twice.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := ln.Addr().(*net.TCPAddr).Port
		ln.Close()
		if _, given := givenPorts.LoadOrStore(port, true); !given {
			return port
		}
	}
}

var givenPorts sync.Map

// gatewayConfig is a config with one plain and one TLS site in front of a node. mark makes it differ from others.
func gatewayConfig(t *testing.T, lane, node string, plain, secure int, mark string) []byte {
	t.Helper()
	value, err := json.Marshal(map[string]any{
		"uri": "/*", "upstream": map[string]any{"type": "roundrobin", "nodes": map[string]int{node: 1}},
		"labels": map[string]string{"mark": mark},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := func(port int, more string) string {
		return fmt.Sprintf(`{"listen": ["ando/127.0.0.1:%d"], "protocols": ["h1", "h2"], "listener_wrappers": [{"wrapper": "ando"}],
			"routes": [{"handle": [{"handler": "ando"}]}]%s}`, port, more)
	}
	return fmt.Appendf(nil, `{
		"admin": {"disabled": true, "config": {"persist": false}},
		"logging": {"logs": {"default": {"level": "ERROR"}}},
		"apps": {
			"ando": {"lane": %q, "store": {"module": "memory"}, "admin": {"disabled": true},
				"objects": [{"kind": "routes", "id": "r", "value": %s}]},
			"tls": {"automation": {"policies": [{"issuers": [{"module": "internal"}]}]}, "certificates": {"automate": ["localhost"]}},
			"pki": {"certificate_authorities": {"local": {"install_trust": false}}},
			"http": {"http_port": 1, "servers": {
				"plain": %s,
				"secure": %s}}}}`,
		lane, value, server(plain, ""),
		server(secure, `, "tls_connection_policies": [{}], "automatic_https": {"disable": true}`))
}

// waitForCertificate waits until the internal CA, which works in the background, has issued the site's certificate.
func waitForCertificate(t *testing.T, port int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestReload reloads under load: whatever a connection is and whoever serves it, no request fails and none is closed.
func TestReload(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	defer node.Close()
	nodeAddr := strings.TrimPrefix(node.URL, "http://")
	for _, lane := range []string{"auto", "poll", "off"} {
		t.Run(lane, func(t *testing.T) {
			plain, secure := freePort(t), freePort(t)
			load := func(mark string) {
				t.Helper()
				if err := caddy.Load(gatewayConfig(t, lane, nodeAddr, plain, secure, mark), true); err != nil {
					t.Fatal(err)
				}
			}
			load("0")
			defer caddy.Stop()

			waitForCertificate(t, secure)
			idle, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", plain))
			if err != nil {
				t.Fatal(err)
			}
			defer idle.Close()
			idleAnswers := bufio.NewReader(idle)
			ask := func() error {
				if _, err := io.WriteString(idle, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
					return err
				}
				res, err := http.ReadResponse(idleAnswers, nil)
				if err != nil {
					return err
				}
				_, err = io.Copy(io.Discard, res.Body)
				return err
			}
			if err := ask(); err != nil {
				t.Fatal(err)
			}

			var stop atomic.Bool
			var served, dials atomic.Int64
			var failures sync.Map
			var clients sync.WaitGroup
			client := func(scheme string, port int, transport *http.Transport) {
				clients.Add(1)
				dialer := new(net.Dialer)
				transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
				counted := !transport.DisableKeepAlives
				transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
					if counted {
						dials.Add(1)
					}
					return dialer.DialContext(ctx, network, addr)
				}
				go func() {
					defer clients.Done()
					defer transport.CloseIdleConnections()
					c := &http.Client{Transport: transport}
					for !stop.Load() {
						// POST, so that the client does not quietly repeat what failed.
						res, err := c.Post(fmt.Sprintf("%s://localhost:%d/", scheme, port), "text/plain", strings.NewReader("x"))
						if err == nil {
							var body []byte
							body, err = io.ReadAll(res.Body)
							res.Body.Close()
							if err == nil && (res.StatusCode != 200 || string(body) != "hello") {
								err = fmt.Errorf("%d %q", res.StatusCode, body)
							}
						}
						if err != nil {
							failures.Store(scheme+" "+err.Error(), true)
							continue
						}
						served.Add(1)
					}
				}()
			}
			const kept = 8 + 2 + 2
			for range 8 {
				client("http", plain, &http.Transport{})
			}
			for range 2 {
				client("https", secure, &http.Transport{})
				client("https", secure, &http.Transport{ForceAttemptHTTP2: true})
			}
			for range 3 {
				client("http", plain, &http.Transport{DisableKeepAlives: true})
			}
			for i := range 30 {
				before := served.Load()
				load(fmt.Sprint(i + 1))
				for served.Load() < before+50 && !t.Failed() {
					// Requests go on between reloads.
					if err := ask(); err != nil {
						t.Fatalf("the connection that was idle over reload %d: %v", i, err)
					}
				}
			}
			stop.Store(true)
			clients.Wait()
			failures.Range(func(failure, _ any) bool {
				t.Errorf("failed: %s", failure)
				return true
			})
			if n := dials.Load(); n != kept {
				t.Errorf("%d keep-alive clients made %d connections: reloads closed some", kept, n)
			}
			t.Logf("%d requests over 30 reloads", served.Load())
		})
	}
}

var _ caddy.ListenerWrapper = (*andocaddy.ListenerWrapper)(nil)
