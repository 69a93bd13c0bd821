// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest/certtest"
)

// onEachDriver runs a test on every driver, with plain clients.
func onEachDriver(t *testing.T, test func(t *testing.T, driver string)) {
	for name := range newLoops {
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

// secureNode is a net/http server with TLS, which counts its connections.
type secureNode struct {
	addr string
	mu   sync.Mutex
	seen map[net.Conn]bool
}

func (n *secureNode) conns() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.seen)
}

func newSecureNode(t testing.TB, config *tls.Config, handler http.HandlerFunc) *secureNode {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	n := &secureNode{addr: listener.Addr().String(), seen: make(map[net.Conn]bool)}
	server := &http.Server{Handler: handler, ConnState: func(c net.Conn, state http.ConnState) {
		if state == http.StateActive {
			n.mu.Lock()
			n.seen[c] = true
			n.mu.Unlock()
		}
	}}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return n
}

func secured(u *gateway.Upstream, _ *gateway.Settings) { u.Scheme = "https" }

func ask(t testing.TB, conn net.Conn, r *bufio.Reader, host, body string) (status int, answer string, saw http.Header) {
	t.Helper()
	fmt.Fprintf(conn, "PUT / HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", host, len(body), body)
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text), response.Header
}

// TestTLSToNodes: requests and responses of every size, on connections that are kept for the same name and never used for
// another.
func TestTLSToNodes(t *testing.T) {
	ca := certtest.New(t, "ca")
	node := func(t *testing.T) *secureNode {
		config := &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, "a.test", "b.test").TLS(t)}, ClientAuth: tls.RequestClientCert}
		return newSecureNode(t, config, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Name", r.TLS.ServerName)
			w.Header().Set("X-Certificates", fmt.Sprint(len(r.TLS.PeerCertificates)))
			w.Header().Set("X-Resumed", fmt.Sprint(r.TLS.DidResume))
			echo(w, r)
		})
	}
	onEachDriver(t, func(t *testing.T, driver string) {
		t.Run("bodies and names", func(t *testing.T) {
			n := node(t)
			g := launch(t, driver, plan{nodes: []string{n.addr}, tune: func(u *gateway.Upstream, s *gateway.Settings) {
				u.Scheme, u.TLSVerify, s.NodeRoots = "https", true, ca.Pool()
			}}, echo)
			conn := g.dial()
			r := bufio.NewReader(conn)
			for _, size := range []int{0, 10, 1 << 10, 100 << 10, 3 << 20} {
				body := strings.Repeat("0123456789abcdef", size/16) + strings.Repeat("x", size%16)
				for _, host := range []string{"a.test", "B.test:8080"} {
					status, answer, saw := ask(t, conn, r, host, body)
					if status != 200 || answer != body {
						t.Fatalf("%s, %d bytes: %d, %d bytes back", host, size, status, len(answer))
					}
					if want := strings.ToLower(host[:6]); saw.Get("X-Name") != want {
						t.Errorf("the node was called %q, want %q", saw.Get("X-Name"), want)
					}
				}
			}
			if got := n.conns(); got != 2 {
				t.Errorf("%d connections for two names", got)
			}
			if status, _, _ := ask(t, conn, r, "c.test", ""); status != 502 {
				t.Errorf("a certificate for another name: %d", status)
			}
			conn.Close()
			g.settles(2)
		})
		t.Run("unverified, with a certificate", func(t *testing.T) {
			n, own := node(t), ca.Issue(t, "gateway").TLS(t)
			g := launch(t, driver, plan{
				nodes: []string{n.addr}, keep: gateway.KeepAlive{Size: 10, IdleTimeout: time.Minute, Requests: 1},
				tune: func(u *gateway.Upstream, _ *gateway.Settings) { u.Scheme, u.ClientCertificate = "https", &own },
			}, echo)
			conn := g.dial()
			r := bufio.NewReader(conn)
			for i := range 3 {
				status, _, saw := ask(t, conn, r, "unknown.test", "x")
				if status != 200 || saw.Get("X-Certificates") != "1" || saw.Get("X-Resumed") != fmt.Sprint(i > 0) {
					t.Errorf("request %d: %d, %v", i, status, saw)
				}
			}
			if got := n.conns(); got != 3 {
				t.Errorf("%d connections, want one for each request", got)
			}
		})
		t.Run("many names", func(t *testing.T) {
			n := node(t)
			g := launch(t, driver, plan{
				nodes: []string{n.addr}, tune: secured,
				keep: gateway.KeepAlive{Size: 3, IdleTimeout: time.Minute, Requests: 1000},
			}, echo)
			conn := g.dial()
			r := bufio.NewReader(conn)
			for i := range 10 {
				ask(t, conn, r, fmt.Sprintf("n%d.test", i), "x")
			}
			// The client's, and three of the node's: the last ones.
			g.settles(4)
			before := n.conns()
			for i := 7; i < 10; i++ {
				ask(t, conn, r, fmt.Sprintf("n%d.test", i), "x")
			}
			if got := n.conns(); got != before {
				t.Errorf("the names of late took %d new connections", got-before)
			}
		})
	})
}

// TestTLSNodeMisdeeds: what goes wrong in a handshake is a failure to connect, and an end that was not announced is none.
func TestTLSNodeMisdeeds(t *testing.T) {
	cert, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	untilClose := func(end func(c *tls.Conn)) func(net.Conn, *bufio.Reader) {
		return func(conn net.Conn, _ *bufio.Reader) {
			c := tls.Server(conn, config)
			if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
				return
			}
			io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\nto the end")
			end(c)
		}
	}
	for _, m := range []struct {
		name  string
		serve func(net.Conn, *bufio.Reader)
		// status is 0 when the response must be seen to be incomplete.
		status int
	}{
		{"closes at once", func(net.Conn, *bufio.Reader) {}, 502},
		{"closes on the hello", func(_ net.Conn, r *bufio.Reader) { r.ReadByte() }, 502},
		{"speaks no TLS", func(c net.Conn, r *bufio.Reader) {
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			io.Copy(io.Discard, r)
		}, 502},
		{"says nothing", func(_ net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) }, 504},
		{"announces its end", untilClose(func(c *tls.Conn) { c.CloseWrite() }), 200},
		{"does not announce its end", untilClose(func(c *tls.Conn) {}), 0},
	} {
		t.Run(m.name, func(t *testing.T) {
			onEachDriver(t, func(t *testing.T, driver string) {
				g := launch(t, driver, plan{nodes: []string{rawNode(t, m.serve)}, timeout: time.Second, tune: secured}, echo)
				conn := g.dial()
				io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(response.Body)
				switch {
				case m.status == 0 && err == nil:
					t.Errorf("%d %q looks whole", response.StatusCode, body)
				case m.status != 0 && (err != nil || response.StatusCode != m.status):
					t.Errorf("%d, %v, want %d", response.StatusCode, err, m.status)
				}
				conn.Close()
				g.settles(0)
			})
		})
	}
}

// TestSchemeOfAPlugin: a plugin that changes the scheme is obeyed, and one that wants what a lane does not speak is not
// answered in plain text.
func TestSchemeOfAPlugin(t *testing.T) {
	cert, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	n := newSecureNode(t, &tls.Config{Certificates: []tls.Certificate{cert}}, echo)
	onEachDriver(t, func(t *testing.T, driver string) {
		for scheme, want := range map[string]int{"https": 200, "grpc": 502, "grpcs": 502} {
			chain := gateway.NewChain([]gateway.Entry{{
				Plugin: &gateway.Plugin{Name: "chooser"}, Instance: chooser(scheme),
			}})
			g := launch(t, driver, plan{nodes: []string{n.addr}, chain: chain}, echo)
			conn := g.dial()
			if status, _, _ := ask(t, conn, bufio.NewReader(conn), "h", "x"); status != want {
				t.Errorf("%s: %d, want %d", scheme, status, want)
			}
		}
	})
}

type chooser string

func (c chooser) Access(x *gateway.Exchange) gateway.Verdict {
	x.Forward.Scheme = string(c)
	return gateway.Continue
}
