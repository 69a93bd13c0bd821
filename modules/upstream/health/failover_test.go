// SPDX-License-Identifier: Apache-2.0

package health_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
)

const patience = 30 * time.Second

// node is a server that can be killed and brought back.
type node struct {
	t      *testing.T
	addr   string
	server *http.Server
	// requests and probes count those since it was started last; early is how many probes came before the first request.
	requests, probes, early atomic.Int64
}

func startNode(t *testing.T) *node {
	n := &node{t: t, addr: "127.0.0.1:0"}
	n.start()
	t.Cleanup(n.kill)
	return n
}

func (n *node) start() {
	var ln net.Listener
	eventually(n.t, "the port is free", func() (err error) {
		ln, err = net.Listen("tcp", n.addr)
		return err
	})
	n.addr = ln.Addr().String()
	n.requests.Store(0)
	n.probes.Store(0)
	n.server = &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			n.probes.Add(1)
		} else if n.requests.Add(1) == 1 {
			n.early.Store(n.probes.Load())
		}
		_, _ = io.WriteString(w, "node")
	})}
	go func(server *http.Server) { _ = server.Serve(ln) }(n.server)
}

func (n *node) kill() { _ = n.server.Close() }

func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, patience, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// load sends one request after the other on connections of its own until stop, and counts what is not 200.
type load struct {
	sent, failed atomic.Int64
	first        atomic.Pointer[string]
	ended        sync.WaitGroup
	stopping     atomic.Bool
}

func startLoad(t *testing.T, addr string) *load {
	l := new(load)
	for range 4 {
		l.ended.Go(func() {
			for !l.stopping.Load() {
				l.connection(addr)
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) connection(addr string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		l.fail(err.Error())
		return
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for !l.stopping.Load() {
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			l.fail(err.Error())
			return
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			l.fail(err.Error())
			return
		}
		body, err := io.ReadAll(r.Body)
		l.sent.Add(1)
		if err != nil || r.StatusCode != 200 || string(body) != "node" {
			l.fail(fmt.Sprint(r.Status, " ", err))
		}
		if r.Close {
			return
		}
	}
}

func (l *load) fail(what string) {
	l.failed.Add(1)
	l.first.CompareAndSwap(nil, &what)
}

func (l *load) stop() {
	l.stopping.Store(true)
	l.ended.Wait()
}

func (l *load) more(t *testing.T, requests int64) {
	t.Helper()
	want := l.sent.Load() + requests
	eventually(t, "requests", func() error {
		if sent := l.sent.Load(); sent < want {
			return fmt.Errorf("%d of %d", sent, want)
		}
		return nil
	})
}

// TestFailover kills one of three nodes under load and brings it back, on every wire: no request fails, and the node has
// traffic again when as many probes have succeeded as the config wants.
func TestFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds for each wire")
	}
	for _, wire := range gatewaytest.Wires() {
		t.Run(wire.Name, func(t *testing.T) {
			t.Parallel()
			nodes := []*node{startNode(t), startNode(t), startNode(t)}
			g := gatewaytest.Open(t,
				gateway.Object{Kind: gateway.Upstreams, ID: "1", Value: fmt.Appendf(nil, `{"nodes":{%q:1,%q:1,%q:1},"checks":{
					"active":{"http_path":"/health","healthy":{"successes":2},"unhealthy":{"tcp_failures":2}},
					"passive":{"unhealthy":{"tcp_failures":2}}}}`, nodes[0].addr, nodes[1].addr, nodes[2].addr)},
				gateway.Object{Kind: gateway.Routes, ID: "1", Value: []byte(`{"uri":"/*","upstream_id":"1"}`)})
			victim := g.Table().Upstream("1").Nodes[1]
			unhealthy := func(want bool) func() error {
				return func() error {
					if victim.State.Unhealthy() != want {
						return fmt.Errorf("unhealthy is %v", !want)
					}
					return nil
				}
			}
			l := startLoad(t, wire.Serve(t, g))
			l.more(t, 200)
			nodes[1].kill()
			eventually(t, "the node is unhealthy", unhealthy(true))
			l.more(t, 50)
			before := nodes[1].requests.Load()
			l.more(t, 200)
			if got := nodes[1].requests.Load(); got != before {
				t.Errorf("%d requests came to the dead node", got-before)
			}
			nodes[1].start()
			eventually(t, "the node is healthy", unhealthy(false))
			eventually(t, "traffic returns", func() error {
				if nodes[1].requests.Load() == 0 {
					return fmt.Errorf("%d probes", nodes[1].probes.Load())
				}
				return nil
			})
			l.more(t, 200)
			l.stop()
			if failed := l.failed.Load(); failed > 0 {
				t.Errorf("%d of %d requests failed, the first with %s", failed, l.sent.Load(), *l.first.Load())
			}
			if early := nodes[1].early.Load(); early < 2 {
				t.Errorf("the node had traffic after %d probes, two have to succeed", early)
			}
			t.Logf("%d requests, 0 failed; traffic returned after %d probes", l.sent.Load(), nodes[1].early.Load())
		})
	}
}
