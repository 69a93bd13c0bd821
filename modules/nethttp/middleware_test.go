// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

func noRoutes(t testing.TB) *gateway.Gateway {
	return openGateway(t, &table{
		match: func(*gateway.Exchange) *gateway.Route { t.Error("a middleware matched a route"); return nil },
		globals: chainOf(&hooks{rewrite: func(x *gateway.Exchange) gateway.Verdict {
			t.Error("a middleware ran the global rules")
			return gateway.Continue
		}}),
	}, nil)
}

// around serves next inside middlewares, the first outermost.
func around(t testing.TB, next http.HandlerFunc, chains ...*gateway.Chain) *httptest.Server {
	t.Helper()
	g := noRoutes(t)
	var handler http.Handler = next
	for i := len(chains) - 1; i >= 0; i-- {
		m, inner := &Middleware{Gateway: g, Chain: chains[i]}, handler
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.ServeHTTP(w, r, inner) })
	}
	return serve(t, handler)
}

func TestMiddlewarePassesOn(t *testing.T) {
	statuses := make(chan int, 1)
	chain := chainOf(&hooks{
		readsBody: 100,
		rewrite: func(x *gateway.Exchange) gateway.Verdict {
			x.Request.Header.Set("X-Added", "1")
			x.Request.Header.Del("X-Removed")
			x.Forward.Target = "/inner?q=2"
			return gateway.Continue
		},
		filterHeader: func(x *gateway.Exchange) {
			x.Response.Header.Set("X-Filtered", x.Response.Header.Get("X-Next"))
			x.Response.ClearBodyFields()
		},
		filterBody: func(_ *gateway.Exchange, chunk []byte, last bool) []byte {
			for i := range chunk {
				chunk[i] ^= 0x20
			}
			if last {
				return append(chunk, '!')
			}
			return chunk
		},
		log: func(x *gateway.Exchange) { statuses <- x.Response.Status },
	})
	constant := []byte("answer")
	s := around(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) != "question" || r.URL.Path != "/inner" || r.RequestURI != "/inner?q=2" {
			t.Errorf("next got %s %q", r.RequestURI, body)
		}
		if r.Header.Get("X-Added") != "1" || r.Header.Get("X-Removed") != "" || r.Header.Get("X-Kept") != "1" {
			t.Errorf("next got %v", r.Header)
		}
		w.Header().Set("X-Next", "n")
		w.Header().Set("Server", "site")
		w.Header().Set("Content-Length", "6")
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(constant)
	}, chain)
	response, body := do(t, "POST", s.URL+"/outer", strings.NewReader("question"), "X-Removed", "1", "X-Kept", "1")
	wantStatus(t, response, http.StatusAccepted)
	if body != "ANSWER!" || string(constant) != "answer" {
		t.Errorf("body %q, and the handler's bytes are %q", body, constant)
	}
	if response.Header.Get("X-Filtered") != "n" || response.Header.Get("Server") != "site" {
		t.Errorf("header %v", response.Header)
	}
	if status := <-statuses; status != http.StatusAccepted {
		t.Errorf("logged %d", status)
	}
}

func TestMiddlewareExits(t *testing.T) {
	s := around(t, func(http.ResponseWriter, *http.Request) { t.Error("next ran") }, chainOf(&hooks{
		rewrite: func(x *gateway.Exchange) gateway.Verdict { return x.Exit(401, []byte(`{"message":"no"}`)) },
	}))
	response, body := do(t, "GET", s.URL, nil)
	wantStatus(t, response, 401)
	if body != `{"message":"no"}` {
		t.Errorf("body %q", body)
	}
	if answer := exchangeRaw(t, s.Listener.Addr().String(), "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 400 ") {
		t.Errorf("bad path: %q", answer)
	}
}

func TestMiddlewareKeepsTheConsumer(t *testing.T) {
	joined := 0
	limit := &gateway.Plugin{Name: "joins"}
	jack := &gateway.Consumer{Name: "jack", Plugins: []gateway.Entry{{Plugin: limit, Instance: &hooks{
		rewrite: func(*gateway.Exchange) gateway.Verdict { joined++; return gateway.Continue },
	}}}}
	auth := chainOf(&hooks{rewrite: func(x *gateway.Exchange) gateway.Verdict {
		x.AttachConsumer(jack, "c1")
		return gateway.Continue
	}})
	second := ""
	looks := chainOf(&hooks{rewrite: func(x *gateway.Exchange) gateway.Verdict {
		if x.Consumer != nil {
			second = x.Consumer.Name + " by " + x.Credential
		}
		return gateway.Continue
	}})
	s := around(t, func(_ http.ResponseWriter, r *http.Request) {
		if got := r.Header["X-Consumer-Username"]; len(got) != 1 || got[0] != "jack" {
			t.Errorf("next got the user %q", got)
		}
	}, auth, looks)
	do(t, "GET", s.URL, nil, "X_consumer_username", "root")
	if second != "jack by c1" {
		t.Errorf("the second handler saw the consumer %q", second)
	}
	if joined != 1 {
		t.Errorf("the consumer's plugin ran %d times", joined)
	}
}

func TestMiddlewareStreamsAndHijacks(t *testing.T) {
	filtering := chainOf(&hooks{
		filterHeader: func(x *gateway.Exchange) { x.Response.Header.Set("X-Filtered", "1") },
		filterBody:   func(_ *gateway.Exchange, chunk []byte, _ bool) []byte { return chunk },
	})
	for name, chain := range map[string]*gateway.Chain{"filtering": filtering, "not": chainOf(&hooks{})} {
		t.Run(name, func(t *testing.T) {
			next := make(chan struct{})
			s := around(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/hijack" {
					c, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.WriteString(c, "HTTP/1.1 299 Mine\r\nContent-Length: 0\r\n\r\n")
					_ = c.Close()
					return
				}
				if r.URL.Path == "/copy" {
					_, _ = io.Copy(w, strings.NewReader("copied"))
					return
				}
				for _, text := range []string{"one", "two"} {
					_, _ = io.WriteString(w, text)
					w.(http.Flusher).Flush()
					<-next
				}
			}, chain)
			response, err := http.DefaultTransport.RoundTrip(httptest.NewRequest("GET", s.URL, nil))
			if err != nil {
				t.Fatal(err)
			}
			if got := response.Header.Get("X-Filtered"); (got == "1") != (name == "filtering") {
				t.Errorf("X-Filtered %q", got)
			}
			for _, text := range []string{"one", "two"} {
				expect(t, response.Body, text)
				next <- struct{}{}
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			if response, _ := do(t, "GET", s.URL+"/hijack", nil); response.StatusCode != 299 {
				t.Errorf("hijacked: %d", response.StatusCode)
			}
			if _, body := do(t, "GET", s.URL+"/copy", nil); body != "copied" {
				t.Errorf("copied: %q", body)
			}
		})
	}
}

func TestMiddlewareLeavesErrorsToOthers(t *testing.T) {
	g := noRoutes(t)
	failed := errors.New("handler failed")
	status := 0
	m := &Middleware{Gateway: g, Chain: chainOf(&hooks{
		filterBody: func(_ *gateway.Exchange, chunk []byte, _ bool) []byte { return append(chunk, "tail"...) },
		log:        func(x *gateway.Exchange) { status = x.Response.Status },
	})}
	recorder := httptest.NewRecorder()
	err := m.Serve(recorder, httptest.NewRequest("GET", "/", nil), func(http.ResponseWriter, *http.Request) error { return failed })
	if err != failed || recorder.Body.Len() != 0 || status != 500 {
		t.Errorf("got %v, body %q, logged %d", err, recorder.Body, status)
	}
}

func TestMiddlewareBreaksOffWhatAFilterBroke(t *testing.T) {
	s := around(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") }, chainOf(&hooks{
		filterBody: func(*gateway.Exchange, []byte, bool) []byte { panic("filter") },
	}))
	if answer := exchangeRaw(t, s.Listener.Addr().String(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); strings.Contains(answer, "secret") ||
		strings.HasSuffix(answer, "0\r\n\r\n") {
		t.Errorf("got %q", answer)
	}
}

func TestLoadBalancer(t *testing.T) {
	g := noRoutes(t)
	transports := new(Transports)
	t.Cleanup(transports.Close)
	server := New(Config{Gateway: g, Transports: transports, ClientAddr: func(*http.Request) netip.Addr {
		return netip.MustParseAddr("192.0.2.9")
	}})
	var realIP string
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		realIP = r.Header.Get("X-Real-Ip")
		w.Header().Set("Server", "node")
		_, _ = io.WriteString(w, "node")
	})
	s := serve(t, server.LoadBalancer(ordered(t, deadNode(t), node)))
	response, body := do(t, "GET", s.URL, nil)
	if body != "node" || response.Header.Get("Server") != "node" {
		t.Errorf("%q from %q", body, response.Header.Get("Server"))
	}
	if realIP != "192.0.2.9" {
		t.Errorf("node saw the client %q", realIP)
	}
	s = serve(t, server.LoadBalancer(upstreamOf(t, upgrading(t))))
	_, r, _ := dialUpgrade(t, s.Listener.Addr().String())
	expect(t, bufio.NewReader(r), "hello")
}
