// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/andogate/ando/modules/gateway"
)

// startTLS starts a node with httptest's certificate for example.com.
func startTLS(t testing.TB, clientAuth tls.ClientAuthType, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	node := httptest.NewUnstartedServer(handler)
	node.TLS = &tls.Config{ClientAuth: clientAuth}
	node.EnableHTTP2 = true
	node.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	node.StartTLS()
	t.Cleanup(node.Close)
	return node
}

func TestTLSToNodes(t *testing.T) {
	var state *tls.ConnectionState
	var proto int
	node := startTLS(t, tls.RequestClientCert, func(_ http.ResponseWriter, r *http.Request) { state, proto = r.TLS, r.ProtoMajor })
	roots := x509.NewCertPool()
	roots.AddCert(node.Certificate())
	certificate := node.TLS.Certificates[0]

	u := upstreamOf(t, node.Listener.Addr().String())
	u.Scheme = "https"
	settings := gateway.DefaultSettings()
	settings.NodeRoots = roots
	route := &gateway.Route{Upstream: u}
	s := serveTable(t, &table{match: func(*gateway.Exchange) *gateway.Route { return route }}, settings)
	for _, c := range []struct {
		name, host  string
		verify      bool
		certificate *tls.Certificate
		status      int
	}{
		{"unverified", "shop.test:81", false, nil, 200},
		{"verified", "example.com", true, nil, 200},
		{"verified under another name", "shop.test", true, nil, 502},
		{"after that still unverified", "shop.test", false, nil, 200},
		{"with a certificate", "example.com", true, &certificate, 200},
		{"and again without", "Example.com:8443", true, nil, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			state = nil
			u.TLSVerify, u.ClientCertificate = c.verify, c.certificate
			response, _ := do(t, "GET", s.URL, nil, "Host", c.host)
			wantStatus(t, response, c.status)
			if c.status != 200 {
				return
			}
			host, _, _ := strings.Cut(strings.ToLower(c.host), ":")
			if state.ServerName != host || proto != 1 {
				t.Errorf("node saw the name %q and HTTP/%d, want %q and HTTP/1", state.ServerName, proto, host)
			}
			if got, want := len(state.PeerCertificates), map[bool]int{true: 1}[c.certificate != nil]; got != want {
				t.Errorf("node saw %d certificates, want %d", got, want)
			}
		})
	}
}

func TestGRPC(t *testing.T) {
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" {
			t.Errorf("node got HTTP/%d, TE %q", r.ProtoMajor, r.Header.Get("Te"))
		}
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write(body)
		w.Header().Set("Grpc-Status", "0")
	}
	plain := httptest.NewUnstartedServer(http.HandlerFunc(handler))
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Start()
	t.Cleanup(plain.Close)
	secure := startTLS(t, tls.NoClientCert, handler)

	for scheme, node := range map[string]*httptest.Server{"grpc": plain, "grpcs": secure} {
		t.Run(scheme, func(t *testing.T) {
			u := upstreamOf(t, node.Listener.Addr().String())
			u.Scheme = scheme
			s := serveRoute(t, &gateway.Route{Upstream: u})
			for range 2 {
				request, err := http.NewRequest("POST", s.URL+"/pkg.Service/Method", io.MultiReader(strings.NewReader("message")))
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Te", "trailers")
				response, err := http.DefaultTransport.RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if string(body) != "message" || response.Trailer.Get("Grpc-Status") != "0" {
					t.Errorf("%d %q, trailers %v", response.StatusCode, body, response.Trailer)
				}
			}
		})
	}
	t.Run("trailers only", func(t *testing.T) {
		// The status is in the head, and nothing follows: a client that saw the head without the end would wait for trailers.
		u := upstreamOf(t, trailersOnly(t))
		u.Scheme = "grpc"
		front := httptest.NewUnstartedServer(serveRoute(t, &gateway.Route{Upstream: u}).Config.Handler)
		front.Config.Protocols = new(http.Protocols)
		front.Config.Protocols.SetUnencryptedHTTP2(true)
		front.Start()
		t.Cleanup(front.Close)
		transport := &http.Transport{Protocols: front.Config.Protocols}
		defer transport.CloseIdleConnections()
		request, err := http.NewRequest("POST", front.URL, strings.NewReader("message"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		// 0 is known before anything is read only when the head ended the stream.
		if response.Header.Get("Grpc-Status") != "12" || response.ContentLength != 0 {
			t.Errorf("got %v, a length of %d", response.Header, response.ContentLength)
		}
	})
	t.Run("a node that does not speak HTTP/2", func(t *testing.T) {
		u := upstreamOf(t, startNode(t, func(http.ResponseWriter, *http.Request) {}))
		u.Scheme = "grpc"
		s := serveRoute(t, &gateway.Route{Upstream: u})
		response, _ := do(t, "GET", s.URL, nil)
		wantStatus(t, response, 502)
	})
}

// trailersOnly is a node that answers its first request with a head that ends the stream and gives no length.
func trailersOnly(t testing.TB) string {
	return rawNode(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := io.ReadFull(r, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		framer := http2.NewFramer(c, r)
		_ = framer.WriteSettings()
		var head bytes.Buffer
		encoder := hpack.NewEncoder(&head)
		_ = encoder.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
		_ = encoder.WriteField(hpack.HeaderField{Name: "grpc-status", Value: "12"})
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := frame.(*http2.HeadersFrame); ok {
				_ = framer.WriteHeaders(http2.HeadersFrameParam{
					StreamID: h.StreamID, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true,
				})
			}
		}
	})
}

// TestHTTP2Clients: streams of one connection run at once, each on an exchange of its own.
func TestHTTP2Clients(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		_, _ = io.WriteString(w, r.URL.Path)
	})
	route := &gateway.Route{Upstream: upstreamOf(t, node)}
	g := openGateway(t, &table{match: func(x *gateway.Exchange) *gateway.Route {
		if x.Request.Scheme != "https" || x.Request.ProtoMajor != 2 || x.Request.TLS == nil {
			t.Errorf("request by %s and HTTP/%d", x.Request.Scheme, x.Request.ProtoMajor)
		}
		return route
	}}, nil)
	front := httptest.NewUnstartedServer(New(Config{Gateway: g}))
	front.Config.ConnContext = ConnContext
	front.EnableHTTP2 = true
	front.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	front.StartTLS()
	defer front.Close()
	answers := make(chan string)
	const n = 10
	for i := range n {
		path := "/" + string(rune('a'+i))
		go func() {
			response, err := front.Client().Get(front.URL + path)
			if err != nil {
				t.Error(err)
				answers <- ""
				return
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			if string(body) != path {
				t.Errorf("%s got %q", path, body)
			}
			answers <- string(body)
		}()
	}
	for range n {
		<-arrived
	}
	close(release)
	for range n {
		<-answers
	}
}
