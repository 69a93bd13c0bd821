// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// recorder is a node that keeps the header of the last request, and answers with fields of its own.
func recorder(t testing.TB, last *http.Header, answer ...string) string {
	return startNode(t, func(w http.ResponseWriter, r *http.Request) {
		*last = r.Header
		(*last)["Host"] = []string{r.Host}
		for i := 0; i+1 < len(answer); i += 2 {
			w.Header().Add(answer[i], answer[i+1])
		}
	})
}

var identitySpellings = []string{
	"X-Consumer-Username", "x-consumer-username", "X_Consumer_Username", "X-CONSUMER_USERNAME", "x_consumer-username",
	"X-Credential-Identifier", "x_credential_identifier", "X-Consumer-Custom-Id", "x_consumer_custom_id",
}

func TestIdentityFieldsAreTheGateways(t *testing.T) {
	var last http.Header
	node := recorder(t, &last)
	jack := &gateway.Consumer{Name: "jack", Labels: map[string]string{"custom_id": "c-7"}}
	chain := chainOf(&hooks{rewrite: func(x *gateway.Exchange) gateway.Verdict {
		if x.Request.Header.Get("Apikey") == "k" {
			x.AttachConsumer(jack, "cred")
		}
		return gateway.Continue
	}})
	s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node), Chain: chain})
	for _, spelling := range identitySpellings {
		for _, how := range []string{"plain", "nominated", "with a key"} {
			request := "GET / HTTP/1.1\r\nHost: a\r\n" + spelling + ": root\r\n"
			switch how {
			case "nominated":
				request += "Connection: close, " + spelling + "\r\n"
			case "with a key":
				request += "Connection: close, X-Consumer-Username, X-Credential-Identifier\r\nApikey: k\r\n"
			default:
				request += "Connection: close\r\n"
			}
			last = nil
			exchangeRaw(t, s.Listener.Addr().String(), request+"\r\n")
			if last == nil {
				t.Fatalf("%s %s: no request", how, spelling)
			}
			got := map[string]string{}
			for name, values := range last {
				name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
				if strings.HasPrefix(name, "x-consumer-") || strings.HasPrefix(name, "x-credential-") {
					got[name] += strings.Join(values, ",")
				}
			}
			want := map[string]string{}
			if how == "with a key" {
				want = map[string]string{
					"x-consumer-username": "jack", "x-credential-identifier": "cred", "x-consumer-custom-id": "c-7",
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s %s: node got %v, want %v", how, spelling, got, want)
			}
		}
	}
}

func TestConnectionFieldsStayOnTheirHop(t *testing.T) {
	var last http.Header
	node := rawNode(t, func(c net.Conn, r *bufio.Reader) {
		request, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		last = request.Header
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Node-Hop\r\nX-Node-Hop: 1\r\n"+
			"Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nX-End: 1\r\nContent-Length: 0\r\n\r\n")
	})
	s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node)})
	response, _ := do(t, "GET", s.URL, nil, "Connection", "X-Hop, Upgrade", "X-Hop", "1", "Keep-Alive", "x",
		"Proxy-Connection", "x", "Te", "trailers, gzip", "Upgrade", "websocket", "X-End", "1")
	for _, name := range []string{"X-Hop", "Keep-Alive", "Proxy-Connection", "Upgrade", "Connection"} {
		if got, ok := last[name]; ok {
			t.Errorf("node got %s: %q", name, got)
		}
	}
	if got := last["Te"]; len(got) != 1 || got[0] != "trailers" {
		t.Errorf("node got TE %q", got)
	}
	for _, name := range []string{"X-Node-Hop", "Keep-Alive", "Proxy-Connection", "Upgrade"} {
		if got, ok := response.Header[name]; ok {
			t.Errorf("client got %s: %q", name, got)
		}
	}
	if last.Get("X-End") != "1" || response.Header.Get("X-End") != "1" {
		t.Error("a field that concerns the other end was lost")
	}
}

func TestForwardedFields(t *testing.T) {
	var last http.Header
	node := recorder(t, &last)
	route := &gateway.Route{Upstream: upstreamOf(t, node)}
	for _, c := range []struct {
		name    string
		trusted string
		want    map[string]string
	}{
		{"nobody in particular trusted", "", map[string]string{
			"X-Forwarded-For": "1.2.3.4, 127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Proto": "http",
			"X-Forwarded-Host": "shop.example", "X-Forwarded-Port": "PORT", "Forwarded": "",
		}},
		{"others trusted", "10.0.0.0/8", map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Proto": "http",
			"X-Forwarded-Host": "shop.example", "X-Forwarded-Port": "PORT", "Forwarded": "",
		}},
		{"the peer trusted", "127.0.0.0/8", map[string]string{
			"X-Forwarded-For": "1.2.3.4, 127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Proto": "https",
			"X-Forwarded-Host": "evil.example", "X-Forwarded-Port": "1", "Forwarded": "for=1.2.3.4",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := gateway.DefaultSettings()
			if c.trusted != "" {
				settings.TrustedAddresses = []netip.Prefix{netip.MustParsePrefix(c.trusted)}
			}
			s := serveTable(t, &table{match: func(*gateway.Exchange) *gateway.Route { return route }}, settings)
			do(t, "GET", s.URL, nil, "Host", "shop.example", "X-Forwarded-For", "1.2.3.4", "X-Real-Ip", "6.6.6.6",
				"X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil.example", "X-Forwarded-Port", "1",
				"Forwarded", "for=1.2.3.4")
			_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
			for name, want := range c.want {
				if want == "PORT" {
					want = port
				}
				if got := strings.Join(last[name], "|"); got != want {
					t.Errorf("%s %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestForwardedHost(t *testing.T) {
	var last http.Header
	node := recorder(t, &last)
	u := upstreamOf(t, node)
	s := serveRoute(t, &gateway.Route{Upstream: u})
	for _, c := range []struct{ pass, want string }{
		{"pass", "Shop.example:81"}, {"node", node}, {"rewrite", "inner.example"},
	} {
		u.PassHost, u.UpstreamHost = c.pass, "inner.example"
		do(t, "GET", s.URL, nil, "Host", "Shop.example:81")
		if got := last.Get("Host"); got != c.want {
			t.Errorf("%s: Host %q, want %q", c.pass, got, c.want)
		}
	}
	u.PassHost = "pass"
	exchangeRaw(t, s.Listener.Addr().String(), "GET / HTTP/1.0\r\n\r\n")
	if got := last.Get("Host"); got != node {
		t.Errorf("no Host: Host %q, want the node's", got)
	}
}

// TestForwardedPathIsTheMatchedPath sends paths made of what canonicalisation is about, and compares what was matched
// with what the node was sent, to the byte.
func TestForwardedPathIsTheMatchedPath(t *testing.T) {
	var sent string
	node := rawNode(t, func(c net.Conn, r *bufio.Reader) {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			sent = strings.TrimSuffix(strings.TrimPrefix(line, "GET "), " HTTP/1.1\r\n")
			for line != "\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	route := &gateway.Route{Upstream: upstreamOf(t, node)}
	var matched, decoded string
	s := serveTable(t, &table{match: func(x *gateway.Exchange) *gateway.Route {
		matched, decoded = x.Request.RequestURI(), x.Request.Path
		return route
	}}, nil)
	parts := []string{
		"/", "/", "a", "b", ".", "..", "%2e", "%2E", "%2f", "%2F", "%5c", "%61", "%7E", "%20", "%25", "%3f", "%23", ";x=1",
		"{", "}", "|", "^", "\"", "<", "`", "%00", "%zz", "\\", "é", "%C3%A9", "+", ":", "@", "!", "*", "?q=%2e&x=|",
	}
	forwarded := 0
	for range 3000 {
		target := "/"
		for range rand.IntN(8) {
			target += parts[rand.IntN(len(parts))]
		}
		sent, matched, decoded = "", "", ""
		answer := exchangeRaw(t, s.Listener.Addr().String(), "GET "+target+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if strings.HasPrefix(answer, "HTTP/1.1 400 ") {
			if sent != "" {
				t.Fatalf("%q was refused and sent as %q", target, sent)
			}
			continue
		}
		if !strings.HasPrefix(answer, "HTTP/1.1 204 ") {
			t.Fatalf("%q: %q", target, answer)
		}
		forwarded++
		if sent != matched {
			t.Fatalf("%q was matched as %q and sent as %q", target, matched, sent)
		}
		path, _, _ := strings.Cut(sent, "?")
		if again, escaped, err := gateway.CanonicalPath(path); err != nil || again != decoded || escaped != path {
			t.Fatalf("%q: what was sent means %q to the next reader, and %q was matched (%v)", target, again, decoded, err)
		}
	}
	if forwarded < 500 {
		t.Errorf("only %d of 3000 targets were forwarded", forwarded)
	}
}

func TestTargetsThatPluginsSet(t *testing.T) {
	var sent string
	node := rawNode(t, func(c net.Conn, r *bufio.Reader) {
		line, _ := r.ReadString('\n')
		sent = strings.TrimSpace(line)
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	})
	for _, target := range []string{"/x?y", "/{a}|b", "//other.example/x", "//o?q=1", "/%2e%2e/x"} {
		s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node), Chain: chainOf(&hooks{
			rewrite: func(x *gateway.Exchange) gateway.Verdict {
				x.Forward.Target, x.Forward.Method = target, "PURGE"
				return gateway.Continue
			},
		})})
		do(t, "GET", s.URL, nil)
		if want := "PURGE " + target + " HTTP/1.1"; sent != want {
			t.Errorf("node got %q, want %q", sent, want)
		}
	}
}
