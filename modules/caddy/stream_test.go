// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddytls/standardstek"

	"github.com/andogate/ando/modules/gateway/gatewaytest/certtest"
)

// echoServer answers each line with its name and the line. secure may be nil.
func echoServer(t *testing.T, name string, secure *tls.Config) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if secure != nil {
					conn = tls.Server(conn, secure)
				}
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					if _, err := fmt.Fprintf(conn, "%s %s\n", name, lines.Text()); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// speak sends a line and returns the answer.
func speak(conn net.Conn, line string) (string, error) {
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return "", err
	}
	answer, one := "", make([]byte, 1)
	for {
		if _, err := io.ReadFull(conn, one); err != nil || one[0] == '\n' {
			return answer, err
		}
		answer += string(one)
	}
}

func (s *site) speaks(conn net.Conn, line, want string) {
	s.t.Helper()
	if got, err := speak(conn, line); err != nil || got != want {
		s.t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

func (s *site) connect(network, port string) net.Conn {
	s.t.Helper()
	conn, err := net.Dial(network, "127.0.0.1:"+port)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// loadStream loads a config with these stream listeners, given as JSON. mark makes it differ from others.
func (s *site) loadStream(stream, mark string) error {
	return s.load(gatewayHandler, fmt.Sprintf(`, "control": {"disabled": true}, "stream": %s, "fallback_sni": %q`, stream, mark), "")
}

func (s *site) putStream(id, value string) string {
	s.t.Helper()
	return s.do("PUT", s.admin, "/apisix/admin/stream_routes/"+id, value, "Content-Type", "application/json")
}

func (s *site) mustPutStream(id, value string) {
	s.t.Helper()
	if got := s.putStream(id, value); !strings.HasPrefix(got, "20") {
		s.t.Fatal(got)
	}
}

func routeTo(more string, nodes ...string) string {
	for i, node := range nodes {
		nodes[i] = fmt.Sprintf("%q:1", node)
	}
	return fmt.Sprintf(`{%s"upstream":{"nodes":{%s}}}`, more, strings.Join(nodes, ","))
}

// Streams are there when the config says so, come and go with it, and keep their connections.
func TestStreams(t *testing.T) {
	s := newSite(t)
	a, b := echoServer(t, "a", nil), echoServer(t, "b", nil)
	s.mustLoad(gatewayHandler, "")
	s.expect(s.putStream("1", routeTo("", a)), `400 {"error_msg":"stream mode is disabled, can not add stream routes"}`)

	first, second := freePort(t), freePort(t)
	listen := func(ports ...string) string {
		for i, port := range ports {
			ports[i] = fmt.Sprintf(`{"listen":"127.0.0.1:%s"}`, port)
		}
		return fmt.Sprintf(`{"tcp":[%s]}`, strings.Join(ports, ","))
	}
	if err := s.loadStream(listen(first), "1"); err != nil {
		t.Fatal(err)
	}
	s.mustPutStream("1", routeTo("", a))
	s.mustPutStream("2", routeTo(`"server_port":`+second+`,`, b))
	old := s.connect("tcp", first)
	s.speaks(old, "x", "a x")
	if conn, err := net.Dial("tcp", "127.0.0.1:"+second); err == nil {
		conn.Close()
		t.Error("it listens where it was not told to")
	}

	if err := s.loadStream(listen(first, second), "2"); err != nil {
		t.Fatal(err)
	}
	s.speaks(old, "y", "a y")
	s.speaks(s.connect("tcp", first), "x", "a x")
	// Route 1 is for every port and comes first.
	s.speaks(s.connect("tcp", second), "x", "a x")
	s.mustPutStream("1", routeTo(`"server_port":`+first+`,`, a))
	s.speaks(s.connect("tcp", second), "x", "b x")

	// A config that does not start changes nothing.
	if err := s.load(gatewayHandler, `, "stream": `+listen(second), `, "test_stumbling": {}`); err == nil {
		t.Fatal("it has started")
	}
	s.speaks(s.connect("tcp", first), "x", "a x")

	if err := s.loadStream(listen(second), "3"); err != nil {
		t.Fatal(err)
	}
	s.speaks(old, "z", "a z")
	s.speaks(s.connect("tcp", second), "x", "b x")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+first)
		if err != nil {
			break
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("it goes on listening")
		}
	}
}

// TestStreamsUnderReload: neither reloads nor writes fail a connection.
func TestStreamsUnderReload(t *testing.T) {
	s := newSite(t)
	s.store = `{"module":"memory"}`
	port := freePort(t)
	stream := fmt.Sprintf(`{"tcp":[{"listen":"127.0.0.1:%s"}],"udp":[{"listen":"127.0.0.1:%[1]s"}]}`, port)
	if err := s.loadStream(stream, "0"); err != nil {
		t.Fatal(err)
	}
	a, b := echoServer(t, "n", nil), echoServer(t, "n", nil)
	s.mustPutStream("1", routeTo("", a))
	kept := s.connect("tcp", port)
	s.speaks(kept, "x", "n x")
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := net.Dial("tcp", "127.0.0.1:"+port)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := speak(conn, "x")
				conn.Close()
				if err != nil || got != "n x" {
					t.Errorf("got %q, %v", got, err)
					return
				}
			}
		})
	}
	for i := range 10 {
		if err := s.loadStream(stream, fmt.Sprint(i+1)); err != nil {
			t.Error(err)
		}
		s.mustPutStream("1", routeTo("", []string{a, b}[i%2]))
		s.speaks(kept, "y", "n y")
	}
	close(stop)
	clients.Wait()
}

// A UDP session outlives a reload.
func TestStreamUDP(t *testing.T) {
	s := newSite(t)
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	go func() {
		for b := make([]byte, 2048); ; {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			// The node's view of its client is what tells sessions apart.
			_, _ = pc.WriteTo(fmt.Appendf(nil, "%s %s\n", from, strings.TrimSpace(string(b[:n]))), from)
		}
	}()
	port := freePort(t)
	stream := fmt.Sprintf(`{"udp":[{"listen":"127.0.0.1:%s"}]}`, port)
	if err := s.loadStream(stream, "1"); err != nil {
		t.Fatal(err)
	}
	s.mustPutStream("1", routeTo("", pc.LocalAddr().String()))
	conn := s.connect("udp", port)
	ask := func() string {
		t.Helper()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := fmt.Fprint(conn, "x"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 2048)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	before := ask()
	if err := s.loadStream(stream, "2"); err != nil {
		t.Fatal(err)
	}
	if after := ask(); after != before || !strings.HasSuffix(after, " x\n") {
		t.Errorf("got %q before and %q after a reload", before, after)
	}
}

// TLS ends here with the certificates of ssl objects, and routes go by its server name; elsewhere it passes.
func TestStreamTLS(t *testing.T) {
	s := newSite(t)
	ca, inner := certtest.New(t, "ca"), certtest.New(t, "inner")
	nodeConfig := &tls.Config{
		Certificates: []tls.Certificate{inner.Issue(t, "a.test", "plain.test").TLS(t)},
	}
	a, b, secure := echoServer(t, "a", nil), echoServer(t, "b", nil), echoServer(t, "secure", nodeConfig)
	ends, passes := freePort(t), freePort(t)
	err := s.loadStream(fmt.Sprintf(`{"tcp":[{"listen":"127.0.0.1:%s","tls":true},{"listen":"127.0.0.1:%s"}]}`, ends, passes), "")
	if err != nil {
		t.Fatal(err)
	}
	put := func(id string, fields map[string]any) {
		t.Helper()
		raw, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.do("PUT", s.admin, "/apisix/admin/ssls/"+id, string(raw), "Content-Type", "application/json"); !strings.HasPrefix(got, "201") {
			t.Fatal(got)
		}
	}
	for i, name := range []string{"a.test", "b.test", "mtls.test", "old.test"} {
		pair := ca.Issue(t, name)
		fields := map[string]any{"sni": name, "cert": pair.Cert, "key": pair.Key}
		switch name {
		case "mtls.test":
			fields["client"] = map[string]any{"ca": ca.Cert}
		case "old.test":
			fields["ssl_protocols"] = []string{"TLSv1.2"}
		}
		put(fmt.Sprint(i), fields)
	}
	s.mustPutStream("a", routeTo(`"sni":"a.test","server_port":`+ends+`,`, a))
	s.mustPutStream("b", routeTo(`"server_port":`+ends+`,`, b))
	s.mustPutStream("p", routeTo(`"sni":"*.test","server_port":`+passes+`,`, secure))
	s.mustPutStream("q", routeTo(`"server_port":`+passes+`,`, a))

	dial := func(port, name string, change func(c *tls.Config)) (*tls.Conn, error) {
		config := &tls.Config{ServerName: name, RootCAs: ca.Pool()}
		if change != nil {
			change(config)
		}
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 20 * time.Second}, "tcp", "127.0.0.1:"+port, config)
		if err == nil {
			t.Cleanup(func() { _ = conn.Close() })
		}
		return conn, err
	}
	for name, want := range map[string]string{"a.test": "a x", "b.test": "b x", "old.test": "b x"} {
		conn, err := dial(ends, name, func(c *tls.Config) { c.NextProtos = []string{"mqtt"} })
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s.speaks(conn, "x", want)
		if is := conn.ConnectionState().Version == tls.VersionTLS12; is != (name == "old.test") {
			t.Errorf("%s: TLS 1.2: %v", name, is)
		}
	}
	if _, err := dial(ends, "unknown.test", nil); err == nil {
		t.Error("a name without a certificate is served")
	}

	certificate := func(of *certtest.Authority) func(c *tls.Config) {
		pair := of.Issue(t, "client")
		return func(c *tls.Config) { c.Certificates = []tls.Certificate{pair.TLS(t)} }
	}
	conn, err := dial(ends, "mtls.test", certificate(ca))
	if err != nil {
		t.Fatal(err)
	}
	s.speaks(conn, "x", "b x")
	for what, change := range map[string]func(c *tls.Config){"no certificate": nil, "another's certificate": certificate(inner)} {
		// With TLS 1.3 the client learns of it after its handshake.
		conn, err := dial(ends, "mtls.test", change)
		if err == nil {
			_, err = speak(conn, "x")
		}
		if err == nil {
			t.Errorf("%s is enough", what)
		}
	}

	// Passed on as it is: the certificate is the node's.
	conn, err = dial(passes, "a.test", func(c *tls.Config) { c.RootCAs = inner.Pool() })
	if err != nil {
		t.Fatal(err)
	}
	s.speaks(conn, "x", "secure x")
	// What is no TLS goes to the route without a name.
	s.speaks(s.connect("tcp", passes), "x", "a x")

	// TLS to the node, from a plain connection and from one that ends here. Its name is the client's.
	s.mustPutStream("q", fmt.Sprintf(`{"server_port":%s,"upstream":{"scheme":"tls","nodes":{%q:1}}}`, passes, secure))
	s.speaks(s.connect("tcp", passes), "x", "secure x")
	s.mustPutStream("a", fmt.Sprintf(`{"server_port":%s,"sni":"a.test","upstream":{"scheme":"tls","nodes":{%q:1}}}`, ends, secure))
	if conn, err = dial(ends, "a.test", nil); err != nil {
		t.Fatal(err)
	}
	s.speaks(conn, "x", "secure x")
}

func TestStreamConfigs(t *testing.T) {
	newSite(t)
	for config, want := range map[string]string{
		`{"tcp":[{"listen":"localhost"}]}`:                                             `stream: tcp: one address with a port, such as :9100, is expected, not "localhost"`,
		`{"tcp":[{"listen":":1-3"}]}`:                                                  `stream: tcp: one address with a port, such as :9100, is expected, not ":1-3"`,
		`{"tcp":[{"listen":"udp/:1"}]}`:                                                `stream: tcp: one address with a port, such as :9100, is expected, not "udp/:1"`,
		`{"udp":[{"listen":":1","tls":true}]}`:                                         `stream: udp: :1: tls is for tcp alone`,
		`{"tcp":[{"listen":":1"},{"listen":":1"}]}`:                                    `stream: tcp: :1 is given twice`,
		`{"tcp":[{"listen":"localhost:9180"}]}`:                                        `stream: tcp: localhost:9180 is the address of one of the gateway's APIs`,
		`{"plugins":["key-auth"]}`:                                                     `stream: plugins: "key-auth" is not in this build`,
		`{"tcp":[{"listen":":1"},{"listen":":2","tls":true}],"udp":[{"listen":":1"}]}`: ``,
	} {
		var parsed caddy.Config
		if err := json.Unmarshal(fmt.Appendf(nil, `{"admin":{"disabled":true},"apps":{"ando":{"stream":%s}}}`, config), &parsed); err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := caddy.Validate(&parsed); err != nil {
			got = err.Error()
		}
		if !strings.HasSuffix(got, want) || want == "" && got != "" {
			t.Errorf("%s: got %q, want %q", config, got, want)
		}
	}
}
