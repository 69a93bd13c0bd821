// SPDX-License-Identifier: Apache-2.0

package health

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/andogate/ando/modules/gateway"
)

const patience = 20 * time.Second

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		time.Sleep(time.Millisecond)
	}
}

func nodeAt(t *testing.T, addr string) *gateway.Node {
	t.Helper()
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return &gateway.Node{Host: tcp.IP.String(), Port: tcp.Port, Addr: addr, Weight: 1, State: new(gateway.NodeState)}
}

func upstreamOf(t *testing.T, checks string, prior *gateway.Upstream, nodes ...*gateway.Node) *gateway.Upstream {
	t.Helper()
	u := &gateway.Upstream{Key: "/apisix/upstreams/1", Nodes: nodes}
	var before gateway.HealthObserver
	if prior != nil {
		before = prior.Health
	}
	u.Health = New(parse(t, checks), u, before)
	return u
}

func newPool(t *testing.T) (*Pool, *observer.ObservedLogs) {
	core, logs := observer.New(zap.InfoLevel)
	log := zap.New(core)
	p := NewPool(func() *zap.Logger { return log })
	t.Cleanup(p.Close)
	return p, logs
}

func (p *Pool) only(t *testing.T) NodeReport {
	t.Helper()
	reports := p.Reports()
	if len(reports) != 1 || len(reports[0].Nodes) != 1 {
		t.Fatalf("got %+v, want one object with one node", reports)
	}
	return reports[0].Nodes[0]
}

// server is a node whose status can be changed.
type server struct {
	*httptest.Server
	status atomic.Int64
	heads  chan string
}

func newServer(t *testing.T) *server {
	s := &server{heads: make(chan string, 1)}
	s.status.Store(200)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(s.status.Load()))
	}))
	t.Cleanup(s.Close)
	return s
}

func TestActiveHTTP(t *testing.T) {
	s := newServer(t)
	p, logs := newPool(t)
	p.Set(upstreamOf(t, `{"active":{"unhealthy":{"http_failures":1},"healthy":{"successes":1}}}`, nil, nodeAt(t, s.Listener.Addr().String())))
	if n := p.only(t); n.Status != Healthy || n.Reason != "" || n.Next.IsZero() || n.Name != "127.0.0.1" {
		t.Errorf("a new node is %+v", n)
	}
	s.status.Store(503)
	eventually(t, "unhealthy", func() bool { return p.only(t).Status == Unhealthy })
	if n := p.only(t); n.Reason != "probe: status 503" || n.Counters.HTTPFailure != 1 || n.Since.IsZero() || n.Next.IsZero() {
		t.Errorf("got %+v", n)
	}
	// A status in neither list counts for nothing.
	s.status.Store(418)
	probed := p.only(t).Next
	eventually(t, "two probes more", func() bool { return p.only(t).Next.After(probed.Add(time.Second)) })
	if n := p.only(t); n.Status != Unhealthy || n.Counters.HTTPFailure != 1 {
		t.Errorf("after a 418: %+v", n)
	}
	s.status.Store(200)
	eventually(t, "healthy", func() bool { return p.only(t).Status == Healthy })
	var said []string
	for _, entry := range logs.All() {
		said = append(said, fmt.Sprint(entry.Message, " ", entry.ContextMap()["reason"]))
	}
	if got := strings.Join(said, "; "); got != "node is unhealthy probe: status 503; node is healthy again probe: status 200" {
		t.Errorf("logged %s", got)
	}
}

// TestRequest has what a node sees of a probe with every field.
func TestRequest(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p, _ := newPool(t)
	port := ln.Addr().(*net.TCPAddr).Port
	p.Set(upstreamOf(t, fmt.Sprintf(`{"active":{"host":"h.example","port":%d,"http_method":"POST","http_path":"/up?a=b",
		"http_req_body":"ping","req_headers":["X-A: 1","User-Agent: probe"]}}`, port), nil, nodeAt(t, "127.0.0.1:1")))
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var got strings.Builder
	for in := bufio.NewReader(conn); !strings.HasSuffix(got.String(), "ping"); {
		b, err := in.ReadByte()
		if err != nil {
			t.Fatal(err)
		}
		got.WriteByte(b)
	}
	want := "POST /up?a=b HTTP/1.1\r\nX-A: 1\r\nUser-Agent: probe\r\nContent-Length: 4\r\nHost: h.example\r\n\r\nping"
	if got.String() != want {
		t.Errorf("got\n%q\nwant\n%q", got.String(), want)
	}
	if n := p.only(t); n.Port != port || n.Name != "h.example" {
		t.Errorf("reported as %s:%d", n.Name, n.Port)
	}
}

func TestProbes(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	answering := func(answer string) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				_, _ = conn.Write([]byte(answer))
				conn.Close()
			}
		}()
		return ln.Addr().String()
	}
	plain := newServer(t)
	secure := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer secure.Close()
	for _, c := range []struct {
		name, checks, addr string
		want               event
		reason             string
	}{
		{"http", `{"active":{}}`, plain.Listener.Addr().String(), event{success, 2}, "status 200"},
		{"status in neither list", `{"active":{"healthy":{"http_statuses":[204]}}}`, plain.Listener.Addr().String(), event{}, "status 200"},
		{"http refused", `{"active":{}}`, gone.Addr().String(), event{tcpFailure, 2}, "connection refused"},
		{"http without an answer", `{"active":{"timeout":0.05}}`, mute.Addr().String(), event{timeoutFailure, 3}, "no answer within 50ms"},
		{"closed", `{"active":{}}`, answering(""), event{tcpFailure, 2}, "the connection closed before an answer"},
		{"cut", `{"active":{}}`, answering("HTTP/1.1 200 OK\r\nA: "), event{tcpFailure, 2}, "the connection closed before an answer"},
		{"not HTTP", `{"active":{}}`, answering("SSH-2.0-x\r\n"), event{httpFailure, 5}, "the answer is not HTTP"},
		{"no status", `{"active":{}}`, answering("HTTP/1.1 OK\r\n"), event{httpFailure, 5}, "the answer is not HTTP"},
		{"endless", `{"active":{}}`, answering(strings.Repeat("x", 2*maxHead)), event{httpFailure, 5}, "the answer is not HTTP"},
		{"old HTTP", `{"active":{}}`, answering("HTTP/1.0 503\r\n\r\n"), event{httpFailure, 5}, "status 503"},
		{"tcp", `{"active":{"type":"tcp"}}`, mute.Addr().String(), event{success, 2}, "connected"},
		{"tcp refused", `{"active":{"type":"tcp"}}`, gone.Addr().String(), event{tcpFailure, 2}, "connection refused"},
		{"https", `{"active":{"type":"https","https_verify_certificate":false}}`, secure.Listener.Addr().String(), event{success, 2}, "status 200"},
		{"https with a name", `{"active":{"type":"https","host":"a.example","https_verify_certificate":false}}`, secure.Listener.Addr().String(), event{success, 2}, "status 200"},
		{"https of nobody known", `{"active":{"type":"https"}}`, secure.Listener.Addr().String(), event{tcpFailure, 2}, "certificate"},
		{"https to plain HTTP", `{"active":{"type":"https"}}`, plain.Listener.Addr().String(), event{tcpFailure, 2}, "tls"},
		{"https without an answer", `{"active":{"type":"https","timeout":0.05}}`, mute.Addr().String(), event{timeoutFailure, 3}, "no answer within 50ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			node := nodeAt(t, c.addr)
			checker := upstreamOf(t, c.checks, nil, node).Health.(*Checker)
			if c.want.kind != timeoutFailure {
				checker.config.Active.Timeout = patience
			}
			got, reason, kept := checker.probe(context.Background(), new(flight), node, nil)
			kept.close()
			if got != c.want || !strings.Contains(reason, c.reason) {
				t.Errorf("got %v because of %q, want %v because of %q", got, reason, c.want, c.reason)
			}
		})
	}
}

// counting is a balancer that counts how often it is told of a change.
type counting struct {
	gateway.Balancer
	refreshed atomic.Int64
}

func (c *counting) Refresh() { c.refreshed.Add(1) }

func TestPassive(t *testing.T) {
	node := nodeAt(t, "127.0.0.1:1")
	p, _ := newPool(t)
	u := upstreamOf(t, `{"passive":{"unhealthy":{"tcp_failures":2,"http_failures":2,"timeouts":0},"healthy":{"successes":2}}}`, nil, node)
	b := new(counting)
	u.Balancer = b
	u.Health.Report(node, 0, gateway.FailedConnect)
	if node.State.Health.Load() != 0 {
		t.Error("counted before the upstream is served")
	}
	p.Set(u)
	refreshed := b.refreshed.Load()
	step := func(status int, failure gateway.Failure, want Status, reason string) {
		t.Helper()
		u.Health.Report(node, status, failure)
		if n := p.only(t); n.Status != want || n.Reason != reason {
			t.Errorf("%d %d: got %v because of %q, want %v because of %q", status, failure, n.Status, n.Reason, want, reason)
		}
	}
	step(0, gateway.FailedTimeout, Healthy, "")
	step(404, gateway.NoFailure, Healthy, "")
	step(500, gateway.NoFailure, MostlyHealthy, "request: status 500")
	step(0, gateway.FailedConnect, MostlyHealthy, "request: no connection")
	if b.refreshed.Load() != refreshed {
		t.Error("the balancer was told of a change that is none to it")
	}
	step(0, gateway.FailedBroken, Unhealthy, "request: the connection broke")
	if b.refreshed.Load() != refreshed+1 {
		t.Error("the balancer was not told")
	}
	step(200, gateway.NoFailure, MostlyUnhealthy, "request: the connection broke")
	step(301, gateway.NoFailure, Healthy, "request: the connection broke")
	if b.refreshed.Load() != refreshed+2 {
		t.Error("the balancer was not told that the node is back")
	}
	if !p.only(t).Next.IsZero() {
		t.Error("a node without active checks is probed")
	}
}

// TestCarriesOver has what is known of nodes survive a new version, and end with the object.
func TestCarriesOver(t *testing.T) {
	const checks = `{"passive":{"unhealthy":{"tcp_failures":1}}}`
	kept, leaving := nodeAt(t, "127.0.0.1:1"), nodeAt(t, "127.0.0.1:2")
	p, _ := newPool(t)
	first := upstreamOf(t, checks, nil, kept, leaving)
	p.Set(first)
	first.Health.Report(kept, 0, gateway.FailedConnect)
	first.Health.Report(leaving, 0, gateway.FailedConnect)

	again := *kept
	again.Weight = 5
	second := upstreamOf(t, checks, first, &again, nodeAt(t, "127.0.0.1:3"))
	b := new(counting)
	second.Balancer = b
	p.Set(second)
	if b.refreshed.Load() == 0 {
		t.Error("the new balancer was not told how nodes are")
	}
	report, ok := p.Report(second.Key)
	if !ok || len(report.Nodes) != 2 || report.Nodes[0].Status != Unhealthy || report.Nodes[0].Reason == "" || report.Nodes[1].Status != Healthy {
		t.Errorf("got %+v", report)
	}
	// A request that began with the version before still counts.
	first.Health.Report(second.Nodes[1], 0, gateway.FailedBroken)
	if !second.Nodes[1].State.Unhealthy() {
		t.Error("what a version before has seen is forgotten")
	}

	p.Set(&gateway.Upstream{Key: second.Key, Nodes: second.Nodes})
	if _, ok := p.Report(second.Key); ok || kept.State.Unhealthy() {
		t.Error("checks go on without being asked for")
	}
	second.Health.Report(kept, 0, gateway.FailedConnect)
	if kept.State.Unhealthy() {
		t.Error("counted after the checks were taken away")
	}
}

// TestConcurrency holds every probe and counts them.
func TestConcurrency(t *testing.T) {
	var now, most atomic.Int64
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
		now.Add(-1)
	}))
	defer s.Close()
	addr := s.Listener.Addr().(*net.TCPAddr)
	var nodes []*gateway.Node
	for i := range 9 {
		node := nodeAt(t, fmt.Sprintf("127.0.0.%d:%d", i+1, addr.Port))
		node.Host = "127.0.0.1"
		nodes = append(nodes, node)
	}
	p, _ := newPool(t)
	p.Set(upstreamOf(t, `{"active":{"concurrency":3,"timeout":60}}`, nil, nodes...))
	eventually(t, "all due", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.probing == 3 && len(p.queue) == 0
	})
	eventually(t, "three probes", func() bool { return now.Load() == 3 })
	close(release)
	eventually(t, "a turn for all", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, target := range p.records["/apisix/upstreams/1"].targets {
			if target.probed.IsZero() {
				return false
			}
		}
		return true
	})
	if most.Load() != 3 {
		t.Errorf("%d probes at a time, want 3", most.Load())
	}
}

// TestStops has neither goroutines nor probes after the objects, nor after the pool.
func TestStops(t *testing.T) {
	s := newServer(t)
	before := runtime.NumGoroutine()
	p := NewPool(nil)
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	u := upstreamOf(t, `{"active":{"timeout":3600}}`, nil, nodeAt(t, s.Listener.Addr().String()), nodeAt(t, mute.Addr().String()))
	for range 10 {
		p.Set(u)
		u = upstreamOf(t, `{"active":{"timeout":3600}}`, u, u.Nodes...)
	}
	p.Set(u)
	eventually(t, "a probe", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.probing > 0
	})
	p.Drop(u.Key)
	if p.mu.Lock(); len(p.queue) != 0 || len(p.records) != 0 {
		t.Errorf("%d targets are still due", len(p.queue))
	}
	p.mu.Unlock()
	p.Close()
	p.Set(u)
	if len(p.Reports()) != 0 {
		t.Error("checks begin after Close")
	}
	eventually(t, "no goroutines left", func() bool { return runtime.NumGoroutine() <= before })
}
