// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/andogate/ando/modules/gateway"
)

// leastConnNodes returns the nodes of the site's ando_least_conn, once it has had a request.
func leastConnNodes(t *testing.T) []*gateway.Node {
	t.Helper()
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range app.(*caddyhttp.App).Servers["s"].Routes {
		for _, handler := range route.Handlers {
			if proxy, ok := handler.(*reverseproxy.Handler); ok {
				return proxy.LoadBalancing.SelectionPolicy.(*LeastConn).current.Load().upstream.Nodes
			}
		}
	}
	t.Fatal("the site has no reverse_proxy")
	return nil
}

// TestInFlightEnds: however a request through reverse_proxy ends, nothing of it is counted for long after. It may be counted
// when its client has the answer already: Caddy says on a goroutine of its own that a request is over.
func TestInFlightEnds(t *testing.T) {
	begun := make(chan struct{}, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			_, _ = io.Copy(w, r.Body)
		case "/endless":
			fmt.Fprint(w, "first")
			_ = http.NewResponseController(w).Flush()
			begun <- struct{}{}
			<-r.Context().Done()
		case "/mute":
			begun <- struct{}{}
			<-r.Context().Done()
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/cut":
			w.Header().Set("Content-Length", "10")
			fmt.Fprint(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/upgrade":
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "chat")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, in, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.Copy(conn, in)
				conn.Close()
			}
		}
	}))
	defer server.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := ln.Addr().String()
	ln.Close()
	s := proxy(t, "reverse_proxy <a> <b> {\n lb_policy ando_least_conn 1 99\n lb_retries 1\n}", server.Listener.Addr().String(), dead)

	inFlight := func() (sum int64) {
		for _, node := range leastConnNodes(t) {
			sum += node.State.InFlight.Load()
		}
		return sum
	}
	// leave begins a request that never ends by itself, and goes away.
	leave := func(path string) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, "GET", "http://127.0.0.1:"+s.port+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if res, err := http.DefaultTransport.RoundTrip(r); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		}()
		<-begun
		if got := inFlight(); got != 1 {
			t.Errorf("%s: %d under way, want 1", path, got)
		}
		cancel()
		<-ended
	}
	for name, do := range map[string]func(){
		"answered, at the second try": func() { s.expect(s.do("POST", s.port, "/echo", ""), "200 ") },
		"with a body":                 func() { s.do("PUT", s.port, "/echo", "a body") },
		"left in the answer":          func() { leave("/endless") },
		"left before the answer":      func() { leave("/mute") },
		"without a node": func() {
			if got := s.get(s.port, "/abort"); got != "502 " {
				t.Errorf("got %s", got)
			}
		},
		"cut off by the node": func() {
			res, err := http.Get("http://127.0.0.1:" + s.port + "/cut")
			if err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		},
		"upgraded": func() {
			conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			fmt.Fprint(conn, "GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
			in := bufio.NewReader(conn)
			res, err := http.ReadResponse(in, nil)
			if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("%+v, %v", res, err)
			}
			fmt.Fprint(conn, "x")
			if b, err := in.ReadByte(); b != 'x' {
				t.Fatalf("got %q, %v", b, err)
			}
			if got := inFlight(); got != 1 {
				t.Errorf("upgraded: %d under way, want 1", got)
			}
		},
	} {
		do()
		for deadline := time.Now().Add(time.Minute); inFlight() != 0; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d are still under way", name, inFlight())
			}
		}
	}
}

// TestProxiedEndsOnce: a request that is over is counted no more, whatever is still done for it.
func TestProxiedEndsOnce(t *testing.T) {
	made, err := (&selection{algorithm: "least_conn"}).compile([]string{"127.0.0.1:1", "127.0.0.1:2"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	counts := func() (counts [2]int64) {
		for i, node := range made.upstream.Nodes {
			counts[i] = node.State.InFlight.Load()
		}
		return counts
	}
	p := new(proxied)
	first := p.pick(made.upstream, nil)
	second := p.pick(made.upstream, nil)
	if first == second || counts()[0]+counts()[1] != 1 || second.State.InFlight.Load() != 1 {
		t.Errorf("after a second try: %v", counts())
	}
	p.end()
	p.end()
	if p.pick(made.upstream, nil) == nil || counts() != [2]int64{} {
		t.Errorf("after the end: %v", counts())
	}
}
