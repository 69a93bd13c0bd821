// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// TestConcurrency sends different requests from many clients at once; each must get the answer to its own.
func TestConcurrency(t *testing.T) {
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s", r.RequestURI, r.Header.Get("X-N"), body)
	})
	u := upstreamOf(t, node, node, deadNode(t))
	s := serveRoute(t, &gateway.Route{Upstream: u, Chain: chainOf(&hooks{
		readsBody:    16,
		filterHeader: func(x *gateway.Exchange) { x.Response.ClearBodyFields() },
		filterBody:   func(_ *gateway.Exchange, chunk []byte, _ bool) []byte { return chunk },
	})})
	var wg sync.WaitGroup
	for client := range 8 {
		wg.Go(func() {
			for i := range 50 {
				n := fmt.Sprint(client, "-", i)
				text := strings.Repeat(n, 1+i%5)
				_, got := do(t, "PUT", s.URL+"/"+n, strings.NewReader(text), "X-N", n)
				if want := "/" + n + " " + n + " " + text; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
	wg.Wait()
	for _, node := range u.Nodes {
		if n := node.State.InFlight.Load(); n != 0 {
			t.Errorf("%s: %d attempts under way", node.Addr, n)
		}
	}
}

// TestExchangeStaysWithItsConnection: requests of one connection find the match of the one before.
func TestExchangeStaysWithItsConnection(t *testing.T) {
	node := startNode(t, func(http.ResponseWriter, *http.Request) {})
	route := &gateway.Route{Upstream: upstreamOf(t, node)}
	matches := 0
	s := serveTable(t, &table{match: func(*gateway.Exchange) *gateway.Route { matches++; return route }}, nil)
	request := "GET /x HTTP/1.1\r\nHost: a\r\n"
	answer := exchangeRaw(t, s.Listener.Addr().String(), strings.Repeat(request+"\r\n", 4)+request+"Connection: close\r\n\r\n")
	if n := strings.Count(answer, "HTTP/1.1 200 OK"); n != 5 {
		t.Fatalf("%d responses", n)
	}
	if matches != 1 {
		t.Errorf("5 equal requests were matched %d times", matches)
	}
}

func TestPanickingNextLetsGo(t *testing.T) {
	logged := 0
	g := noRoutes(t)
	m := &Middleware{Gateway: g, Chain: chainOf(&hooks{log: func(*gateway.Exchange) { logged++ }})}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler || logged != 1 {
			t.Errorf("recovered %v, log hook ran %d times", p, logged)
		}
	}()
	request, err := http.NewRequestWithContext(context.Background(), "GET", "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	m.ServeHTTP(nil, request, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
}

func TestTransportsAreBounded(t *testing.T) {
	node := startNode(t, func(http.ResponseWriter, *http.Request) {})
	transports := new(Transports)
	defer transports.Close()
	u := upstreamOf(t, node)
	oldest := transports.acquire(u, false)
	if again := transports.acquire(u, false); again != oldest {
		t.Error("two pools for the same bounds")
	}
	transports.release(oldest)
	for i := range maxTransports + 5 {
		other := upstreamOf(t, node)
		other.KeepAlive.IdleTimeout = time.Hour + time.Duration(i)
		transports.release(transports.acquire(other, false))
	}
	if n := len(transports.pools); n != maxTransports {
		t.Errorf("%d pools, want %d", n, maxTransports)
	}
	if !oldest.evicted {
		t.Error("the oldest pool was kept")
	}
	// A pool in use goes on, and its connections are closed when its last user is done.
	request, err := http.NewRequest("GET", "http://"+node, nil)
	if err != nil {
		t.Fatal(err)
	}
	request = request.WithContext(context.WithValue(context.Background(), targetKey{}, &target{addr: node, connectTimeout: time.Second}))
	response, err := oldest.transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	transports.release(oldest)
}

// BenchmarkProxy is one keep-alive request through the gateway to a node, with the node's and the client's own cost.
func BenchmarkProxy(b *testing.B) {
	answer := []byte("hello, world\n")
	node := startNode(b, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Length"] = []string{"13"}
		_, _ = w.Write(answer)
	})
	run := func(b *testing.B, url string) {
		client := &http.Transport{MaxIdleConnsPerHost: 64}
		defer client.CloseIdleConnections()
		b.ReportAllocs()
		for b.Loop() {
			request, err := http.NewRequest("GET", url, nil)
			if err != nil {
				b.Fatal(err)
			}
			response, err := client.RoundTrip(request)
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
	}
	b.Run("direct", func(b *testing.B) { run(b, "http://"+node) })
	b.Run("gateway", func(b *testing.B) {
		run(b, serveRoute(b, &gateway.Route{Upstream: upstreamOf(b, node)}).URL)
	})
	b.Run("reply", func(b *testing.B) { run(b, serveRoute(b, nil).URL) })
}
