// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest/certtest"
)

// clientHello returns what a client sends first.
func clientHello(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(client, config).Handshake()
	}()
	b, n := make([]byte, 64<<10), 0
	for size := 1; n < size; {
		got, err := server.Read(b[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += got
		if size, err = helloSize(b[:n]); err != nil {
			t.Fatal(err)
		}
	}
	_ = server.Close()
	<-done
	return b[:n]
}

// inRecords puts a handshake message of one record into records of that size.
func inRecords(hello []byte, size int) (out []byte) {
	for body := hello[recordHeader:]; len(body) > 0; {
		n := min(size, len(body))
		out = append(append(out, hello[0], hello[1], hello[2], byte(n>>8), byte(n)), body[:n]...)
		body = body[n:]
	}
	return out
}

// trickle is a stream whose client sends bytes one by one, and then nothing.
type trickle struct{ sent, given []byte }

func (s *trickle) Preread(n int) ([]byte, error) {
	if n > len(s.sent) {
		return s.given, io.ErrUnexpectedEOF
	}
	s.given = s.sent[:max(n, len(s.given))]
	return s.given, nil
}

func TestServerName(t *testing.T) {
	long := &tls.Config{ServerName: "a.test", NextProtos: make([]string, 200)}
	for i := range long.NextProtos {
		long.NextProtos[i] = strings.Repeat("p", 200)
	}
	plain := clientHello(t, &tls.Config{ServerName: "a.test"})
	for _, c := range []struct {
		what string
		sent []byte
		want string
		// fails: not enough comes to tell.
		fails bool
	}{
		{"TLS 1.3", plain, "a.test", false},
		{"TLS 1.2", clientHello(t, &tls.Config{ServerName: "b.test", MaxVersion: tls.VersionTLS12}), "b.test", false},
		{"no name", clientHello(t, &tls.Config{InsecureSkipVerify: true}), "", false},
		{"many records", inRecords(plain, 7), "a.test", false},
		{"records of one byte", inRecords(plain, 1), "a.test", false},
		{"a long one", clientHello(t, long), "a.test", false},
		{"what follows", append(bytes.Clone(plain), "more"...), "a.test", false},
		{"half of it", plain[:len(plain)/2], "", true},
		{"nothing", nil, "", true},
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), "", false},
		{"one byte of another protocol", []byte{0}, "", false},
		{"an alert", []byte{21, 3, 1, 0, 2, 2, 40}, "", false},
		{"an empty record", []byte{22, 3, 1, 0, 0, 22, 3, 1, 0, 0}, "", false},
		{"a ServerHello", []byte{22, 3, 1, 0, 4, 2, 0, 0, 0}, "", false},
		{"a message without end", []byte{22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff}, "", false},
		{"rubbish in a ClientHello", []byte{22, 3, 1, 0, 6, 1, 0, 0, 2, 9, 9}, "", false},
	} {
		s := &trickle{sent: c.sent}
		if got, err := readServerName(s); got != c.want || err != nil != c.fails {
			t.Errorf("%s: got %q, %v; want %q, failure: %v", c.what, got, err, c.want, c.fails)
		}
		if size, err := helloSize(c.sent); err == nil && !c.fails && len(s.given) > size {
			t.Errorf("%s: %d bytes were waited for, of %d", c.what, len(s.given), size)
		}
	}
}

// FuzzServerName: whatever comes, no more is asked for than a ClientHello may have.
func FuzzServerName(f *testing.F) {
	hello := clientHello(f, &tls.Config{ServerName: "a.test"})
	f.Add(hello)
	f.Add(inRecords(hello, 5))
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0, 1, 0})
	f.Fuzz(func(t *testing.T, sent []byte) {
		for b := sent; ; b = append(b, make([]byte, 4096)...) {
			size, err := helloSize(b)
			if err != nil {
				return
			}
			if size > 6*(maxClientHello+recordHeader) || size < 0 {
				t.Fatalf("%d bytes are asked for", size)
			}
			if size <= len(b) {
				helloServerName(b[:size])
				return
			}
		}
	})
}

func BenchmarkServerName(b *testing.B) {
	s := &trickle{sent: clientHello(b, &tls.Config{ServerName: "a.test"})}
	b.ReportAllocs()
	for b.Loop() {
		if name, _ := readServerName(s); name != "a.test" {
			b.Fatal(name)
		}
	}
}

// TestPassthrough: TLS passes as it is, by the name in it.
func TestPassthrough(t *testing.T) {
	ca := certtest.New(t, "ca")
	route := func(sni, addr string) string {
		return strings.Replace(to("", addr), "{", `{"sni":"`+sni+`",`, 1)
	}
	node := func(name string) string {
		pair := ca.Issue(t, name)
		return serve(t, &tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}}, echoing(name)).addr
	}
	r := newRig(t, nil, route("a.test", node("a.test")), route("*.b.test", node("x.b.test")), to("", echo(t, "plain").addr))
	for _, name := range []string{"a.test", "x.b.test"} {
		conn := tls.Client(r.dial(), &tls.Config{ServerName: name, RootCAs: ca.Pool()})
		says(t, conn, "x", name+" x")
	}
	says(t, r.dial(), "x", "plain x")
	// Without a route for any name, who names another is not served.
	r.submit(gateway.Change{Object: streamRoute("r2", ""), Delete: true})
	if err := tls.Client(r.dial(), &tls.Config{ServerName: "c.test", RootCAs: ca.Pool()}).Handshake(); err == nil {
		t.Error("c.test is served")
	}
}

// TestTLS: TLS ends at the proxy, and begins again for the node, with the client's name and the upstream's certificate.
func TestTLS(t *testing.T) {
	ca := certtest.New(t, "ca")
	pair, inner, mine := ca.Issue(t, "a.test"), ca.Issue(t, "a.test"), ca.Issue(t, "gateway")
	shaken := make(chan tls.ConnectionState, 1)
	node := serve(t, &tls.Config{
		Certificates: []tls.Certificate{inner.TLS(t)}, ClientAuth: tls.RequireAnyClientCert, ClientCAs: ca.Pool(),
	}, func(conn net.Conn) {
		if err := conn.(*tls.Conn).Handshake(); err != nil {
			return
		}
		shaken <- conn.(*tls.Conn).ConnectionState()
		echoing("n")(conn)
	})
	quote := func(text string) string { return `"` + strings.ReplaceAll(text, "\n", `\n`) + `"` }
	more := `,"scheme":"tls","tls":{"client_cert":` + quote(mine.Cert) + `,"client_key":` + quote(mine.Key) + `}`
	r := newRig(t, &tls.Config{Certificates: []tls.Certificate{pair.TLS(t)}}, to(more, node.addr))
	conn := tls.Client(r.dial(), &tls.Config{ServerName: "a.test", RootCAs: ca.Pool()})
	says(t, conn, "x", "n x")
	// Lines of an echo may be as long as a bufio.Scanner takes.
	large := strings.Repeat("x", 60_000)
	says(t, conn, large, "n "+large)
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	isClosed(t, conn)
	eventually(t, "the end of the connection", func() bool { return r.proxy.Open() == 0 })
	if state := <-shaken; state.ServerName != "a.test" || len(state.PeerCertificates) != 1 {
		t.Errorf("the node was called %q and shown %d certificates", state.ServerName, len(state.PeerCertificates))
	}
	// A node whose certificate does not hold is not spoken to, when it is to be verified.
	r.put("r0", to(strings.Replace(more, `"tls":{`, `"tls":{"verify":true,`, 1), node.addr))
	conn = tls.Client(r.dial(), &tls.Config{ServerName: "a.test", RootCAs: ca.Pool()})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	isClosed(t, conn)
}
