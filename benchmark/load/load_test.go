// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// eachWire runs a test on every wire that this system has.
func eachWire(t *testing.T, test func(t *testing.T, wire string)) {
	t.Helper()
	for _, name := range []string{"uring", "epoll"} {
		t.Run(name, func(t *testing.T) {
			w, err := newWire(new(engine), name)
			if err != nil {
				t.Skip(err)
			}
			w.close()
			test(t, name)
		})
	}
}

// against loads a server for a moment and returns what the generator says and how many requests the server began.
func against(t *testing.T, c config, handler http.HandlerFunc) (r *result, began int64) {
	t.Helper()
	var count atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		handler(w, r)
	}))
	defer server.Close()
	c.target = server.Listener.Addr().String()
	return load(t, c), count.Load()
}

// load runs the generator with what the tests have in common.
func load(t *testing.T, c config) *result {
	t.Helper()
	if c.status == 0 {
		c.status = 200
	}
	c.path, c.host, c.duration, c.patience = "/p{3}", "h{2}", 150*time.Millisecond, time.Second
	r, err := run(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func send(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// agree checks that all went well and that both sides counted the same but for what was under way in the end.
func agree(t *testing.T, r *result, began int64, connections int) {
	t.Helper()
	if r.Errors != 0 {
		t.Errorf("%d errors: %v", r.Errors, r.Kinds)
	}
	if r.Requests == 0 || r.Requests > began || r.Requests < began-int64(connections) {
		t.Errorf("%d requests with %d connections; the server began %d", r.Requests, connections, began)
	}
	if r.P50 <= 0 || r.P99 < r.P50 {
		t.Errorf("p50 %v, p99 %v", r.P50, r.P99)
	}
}

func TestCounts(t *testing.T) {
	eachWire(t, func(t *testing.T, wire string) {
		for name, c := range map[string]struct {
			config
			handler http.HandlerFunc
		}{
			"length":   {config{body: 5}, send("hello")},
			"large":    {config{body: 1 << 20}, send(strings.Repeat("x", 1<<20))},
			"no body":  {config{status: 204}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }},
			"one shot": {config{body: 5, fresh: true}, send("hello")},
			"key":      {config{body: 2, header: "apikey: k{2}"}, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("apikey")) }},
			"closing": {config{body: 2}, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Connection", "close")
				_, _ = io.WriteString(w, "hi")
			}},
			"no length": {config{body: 3}, untilCloseAnswer},
			"chunked": {config{body: 30_000}, func(w http.ResponseWriter, _ *http.Request) {
				for range 3 {
					_, _ = io.WriteString(w, strings.Repeat("c", 10_000))
					w.(http.Flusher).Flush()
				}
			}},
			"upload": {config{body: 2, upload: 100_000}, func(w http.ResponseWriter, r *http.Request) {
				if n, _ := io.Copy(io.Discard, r.Body); n == 100_000 {
					_, _ = io.WriteString(w, "ok")
				}
			}},
		} {
			t.Run(name, func(t *testing.T) {
				c.wire, c.connections = wire, 4
				r, began := against(t, c.config, c.handler)
				agree(t, r, began, 4)
			})
		}
	})
}

// untilCloseAnswer ends its body by closing the connection.
func untilCloseAnswer(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.0 200 OK\r\n\r\nend")
	conn.Close()
}

func TestErrorsAreSeen(t *testing.T) {
	eachWire(t, func(t *testing.T, wire string) {
		for kind, handler := range map[string]http.HandlerFunc{
			"status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); _, _ = io.WriteString(w, "hello") },
			"length": send("hell"),
			"closed": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			"malformed": func(w http.ResponseWriter, _ *http.Request) {
				conn, _, _ := w.(http.Hijacker).Hijack()
				_, _ = io.WriteString(conn, "HELLO\r\n\r\n")
				conn.Close()
			},
			"surplus": func(w http.ResponseWriter, _ *http.Request) {
				conn, _, _ := w.(http.Hijacker).Hijack()
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello, world")
				conn.Close()
			},
		} {
			t.Run(kind, func(t *testing.T) {
				r, _ := against(t, config{wire: wire, connections: 2, body: 5}, handler)
				if r.Kinds[kind] == 0 || r.Errors < r.Kinds[kind] {
					t.Errorf("%d errors: %v", r.Errors, r.Kinds)
				}
				if (kind == "status" || kind == "length") && r.Errors != r.Requests {
					t.Errorf("%d errors in %d requests", r.Errors, r.Requests)
				}
			})
		}
		t.Run("timeout", func(t *testing.T) {
			silent, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer silent.Close()
			r, err := run(config{
				target: silent.Addr().String(), wire: wire, connections: 3, duration: 100 * time.Millisecond,
				patience: 50 * time.Millisecond, status: 200, path: "/", host: "h",
			})
			if err != nil {
				t.Fatal(err)
			}
			if r.Kinds["timeout"] != 3 || r.Requests != 0 {
				t.Errorf("%d requests, errors %v", r.Requests, r.Kinds)
			}
		})
		t.Run("connect", func(t *testing.T) {
			gone, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			gone.Close()
			r := load(t, config{target: gone.Addr().String(), wire: wire, connections: 1})
			if r.Kinds["connect"] == 0 {
				t.Errorf("errors %v", r.Kinds)
			}
		})
	})
}

// The generator is its own node behind a proxy.
func TestNode(t *testing.T) {
	eachWire(t, func(t *testing.T, wire string) {
		for name, c := range map[string]config{
			"small": {body: 5}, "large": {body: 1 << 20}, "upload": {body: 5, upload: 300_000}, "404": {status: 404, body: 1},
		} {
			t.Run(name, func(t *testing.T) {
				free, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				c.node = free.Addr().String()
				free.Close()
				proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: c.node})
				proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 4}
				c.wire, c.connections = wire, 4
				r, began := against(t, c, proxy.ServeHTTP)
				agree(t, r, began, 4)
			})
		}
	})
}

func TestNumbered(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "/a": "/a", "/a{10}/b{7}": "/a3/b6", "{1000}": "13", "{x}{": "{x}{", "{0}": "{0}",
	} {
		if got := numbered(text, 13); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond} {
		if got := h.quantile(q); got > want+time.Millisecond || got < want-want/50 {
			t.Errorf("%v: got %v, want %v", q, got, want)
		}
	}
	for _, d := range []time.Duration{0, 1, 63, 64, 127, 128, 129, 1 << 40} {
		if low := floor(bucketOf(uint64(d))); low > d || d-low > d/64 {
			t.Errorf("%d counts as %d", d, low)
		}
	}
}
