// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

func TestErrorStatuses(t *testing.T) {
	upstream := func(change func(u *gateway.Upstream)) *gateway.Route {
		u := upstreamOf(t, deadNode(t))
		change(u)
		return &gateway.Route{Upstream: u}
	}
	garbage := rawNode(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(c, "what?\r\n\r\n")
	})
	switching := rawNode(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	})
	for _, c := range []struct {
		name   string
		route  *gateway.Route
		status int
		body   string
	}{
		{"no route", nil, 404, `{"error_msg":"404 Route Not Found"}` + "\n"},
		{"missing plugin config", &gateway.Route{Fault: 503}, 503, "<h1>503 Service Unavailable</h1>"},
		{"missing service", &gateway.Route{Fault: 404}, 404, "<h1>404 Not Found</h1>"},
		{"missing upstream", &gateway.Route{UpstreamID: "9"}, 502, "<h1>502 Bad Gateway</h1>"},
		{"no upstream", &gateway.Route{}, 503, "<h1>503 Service Unavailable</h1>"},
		{"no nodes", upstream(func(u *gateway.Upstream) { u.Fault = 503 }), 503, "<h1>503 Service Unavailable</h1>"},
		{"unknown algorithm", upstream(func(u *gateway.Upstream) { u.Fault = 500 }), 500, "<h1>500 Internal Server Error</h1>"},
		{"refused", upstream(func(*gateway.Upstream) {}), 502, "<h1>502 Bad Gateway</h1>"},
		{"scheme of another world", upstream(func(u *gateway.Upstream) { u.Scheme = "kafka" }), 502, "<h1>502 Bad Gateway</h1>"},
		{"no HTTP", &gateway.Route{Upstream: upstreamOf(t, garbage)}, 502, "<h1>502 Bad Gateway</h1>"},
		{"switch not asked for", &gateway.Route{Upstream: upstreamOf(t, switching)}, 502, "<h1>502 Bad Gateway</h1>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serveRoute(t, c.route)
			response, body := do(t, "GET", s.URL, nil)
			wantStatus(t, response, c.status)
			if !strings.Contains(body, c.body) {
				t.Errorf("body %q, want %q in it", body, c.body)
			}
			if got := response.Header.Get("Server"); got != "APISIX/"+gateway.CompatibleVersion {
				t.Errorf("Server %q", got)
			}
			wantType := "text/html; charset=utf-8"
			if c.route == nil {
				wantType = "text/plain; charset=utf-8"
			}
			if got := response.Header.Get("Content-Type"); got != wantType {
				t.Errorf("Content-Type %q, want %q", got, wantType)
			}
			if response.ContentLength != int64(len(body)) {
				t.Errorf("Content-Length %d for %d bytes", response.ContentLength, len(body))
			}
		})
	}
}

func TestBadRequests(t *testing.T) {
	s := serveTable(t, &table{match: func(*gateway.Exchange) *gateway.Route {
		t.Error("a request without a safe meaning was matched")
		return nil
	}}, nil)
	for _, target := range []string{"/a%00", "/%zz", "/a\\b", "/x/%2e%2e%2fy", "*", "/a?b\x7f"} {
		answer := exchangeRaw(t, s.Listener.Addr().String(), "GET "+target+" HTTP/1.1\r\nHost: a\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 400 ") {
			t.Errorf("%q: got %q", target, answer)
		}
	}
	answer := exchangeRaw(t, s.Listener.Addr().String(), "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n")
	if !strings.Contains(answer, "\r\nServer: APISIX/"+gateway.CompatibleVersion+"\r\n") ||
		!strings.Contains(answer, "<h1>400 Bad Request</h1>") {
		t.Errorf("got %q", answer)
	}

	// Where both framings are visible they are refused.
	request := httptest.NewRequest("POST", "/", strings.NewReader("x"))
	request.TransferEncoding = []string{"chunked"}
	request.Header.Set("Content-Length", "1")
	recorder := httptest.NewRecorder()
	s.Config.Handler.ServeHTTP(recorder, request)
	if recorder.Code != 400 {
		t.Errorf("two framings: status %d", recorder.Code)
	}
}

func TestBrokenRequestBody(t *testing.T) {
	reached := make(chan struct{}, 10)
	node := startNode(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		reached <- struct{}{}
	})
	u := ordered(t, node, node)
	for name, chain := range map[string]*gateway.Chain{"streamed": nil, "buffered": chainOf(&hooks{readsBody: 100})} {
		s := serveRoute(t, &gateway.Route{Upstream: u, Chain: chain})
		answer := exchangeRaw(t, s.Listener.Addr().String(),
			"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\nnot a size\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 400 ") {
			t.Errorf("%s: got %q", name, answer)
		}
	}
}

func TestBodyLimits(t *testing.T) {
	echo := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Length", strconv.FormatInt(r.ContentLength, 10))
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	for _, c := range []struct {
		name, body, seen string
		sized            bool
		length           string
	}{
		{"fits", "12345678", "12345678", true, "8"},
		{"fits, length unknown", "12345678", "12345678", false, "8"},
		{"too long", "123456789", "too large", true, "9"},
		{"too long, length unknown", strings.Repeat("x", 5000), "too large", false, "-1"},
		{"empty", "", "", true, "0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var seen string
			s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, echo), Chain: chainOf(&hooks{
				readsBody: 8,
				rewrite: func(x *gateway.Exchange) gateway.Verdict {
					// The second time nothing more is read.
					for range 2 {
						body, err := x.Body()
						seen = string(body)
						if err == gateway.ErrBodyTooLarge {
							seen = "too large"
						}
					}
					return gateway.Continue
				},
			})})
			var body io.Reader = strings.NewReader(c.body)
			if !c.sized {
				body = io.MultiReader(body)
			}
			response, got := do(t, "POST", s.URL, body)
			if seen != c.seen || got != c.body {
				t.Errorf("the plugin saw %q, the node %q", seen, got)
			}
			if got := response.Header.Get("X-Length"); got != c.length {
				t.Errorf("the node was told a length of %s, want %s", got, c.length)
			}
		})
	}
}

func TestResponsesWithoutBody(t *testing.T) {
	node := rawNode(t, func(c net.Conn, r *bufio.Reader) {
		for {
			request, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			head := map[string]string{
				"/204": "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
				"/304": "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
				"/200": "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
			}[request.URL.Path]
			_, _ = io.WriteString(c, head)
		}
	})
	filtered := chainOf(&hooks{filterBody: func(*gateway.Exchange, []byte, bool) []byte {
		t.Error("a body filter ran")
		return []byte("body")
	}})
	for _, chain := range []*gateway.Chain{nil, filtered} {
		s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node), Chain: chain})
		for _, c := range []struct {
			method, path string
			status       int
			length       int64
		}{{"GET", "/204", 204, 0}, {"GET", "/304", 304, 0}, {"HEAD", "/200", 200, 7}} {
			response, body := do(t, c.method, s.URL+c.path, nil)
			wantStatus(t, response, c.status)
			if body != "" || response.ContentLength != c.length && c.status == 200 {
				t.Errorf("%s %s: length %d, body %q", c.method, c.path, response.ContentLength, body)
			}
			if _, ok := response.Header["Content-Type"]; ok {
				t.Errorf("%s %s: a content type was made up", c.method, c.path)
			}
		}
	}

	s := serveRoute(t, nil)
	response, body := do(t, "HEAD", s.URL, nil)
	wantStatus(t, response, 404)
	if body != "" || response.ContentLength != 36 {
		t.Errorf("own HEAD: length %d, body %q", response.ContentLength, body)
	}
}

func TestContentTypeIsNotGuessed(t *testing.T) {
	node := rawNode(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
	})
	s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node)})
	response, _ := do(t, "GET", s.URL, nil)
	if got, ok := response.Header["Content-Type"]; ok {
		t.Errorf("Content-Type %q", got)
	}
}

func TestBodyFilters(t *testing.T) {
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		w.Header().Set("ETag", `"x"`)
		_, _ = io.WriteString(w, "0123456789")
	})
	lasts := 0
	doubling := &hooks{
		filterHeader: func(x *gateway.Exchange) { x.Response.ClearBodyFields() },
		filterBody: func(_ *gateway.Exchange, chunk []byte, last bool) []byte {
			if last {
				lasts++
				return append(chunk, '!')
			}
			return chunk
		},
	}
	s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node), Chain: chainOf(doubling)})
	response, body := do(t, "GET", s.URL, nil)
	if body != "0123456789!" || lasts != 1 {
		t.Errorf("body %q, last %d times", body, lasts)
	}
	if response.ContentLength != -1 || response.Header.Get("ETag") != "" {
		t.Errorf("fields that describe another body: length %d, %v", response.ContentLength, response.Header)
	}

	// The gateway's own responses go through the same filters.
	s = serveRoute(t, &gateway.Route{Chain: chainOf(doubling, &hooks{
		rewrite: func(x *gateway.Exchange) gateway.Verdict { return x.Exit(403, []byte("no")) },
	})})
	response, body = do(t, "GET", s.URL, nil)
	if response.StatusCode != 403 || body != "no!" || response.ContentLength != 3 {
		t.Errorf("%d %q of length %d", response.StatusCode, body, response.ContentLength)
	}
}

func TestPanickingBodyFilterBreaksTheResponse(t *testing.T) {
	node := startNode(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") })
	finished := make(chan struct{})
	chain := chainOf(&hooks{
		filterHeader: func(x *gateway.Exchange) { x.Response.ClearBodyFields() },
		filterBody:   func(*gateway.Exchange, []byte, bool) []byte { panic("filter") },
		log:          func(*gateway.Exchange) { close(finished) },
	})
	u := upstreamOf(t, node)
	s := serveRoute(t, &gateway.Route{Upstream: u, Chain: chain})
	answer := exchangeRaw(t, s.Listener.Addr().String(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if strings.Contains(answer, "secret") || strings.HasSuffix(answer, "0\r\n\r\n") {
		t.Errorf("got %q", answer)
	}
	<-finished
	if n := u.Nodes[0].State.InFlight.Load(); n != 0 {
		t.Errorf("%d attempts under way", n)
	}
}

func TestHeaderFilterMayTakeTheBodyAway(t *testing.T) {
	node := startNode(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") })
	for name, chain := range map[string]*gateway.Chain{
		"panic": chainOf(&hooks{filterHeader: func(*gateway.Exchange) { panic("filter") }}),
		"204":   chainOf(&hooks{filterHeader: func(x *gateway.Exchange) { x.Response.Status = 204 }}),
	} {
		s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node), Chain: chain})
		response, body := do(t, "GET", s.URL, nil)
		want := map[string]int{"panic": 500, "204": 204}[name]
		if response.StatusCode != want || strings.Contains(body, "secret") {
			t.Errorf("%s: %d %q", name, response.StatusCode, body)
		}
	}
}
