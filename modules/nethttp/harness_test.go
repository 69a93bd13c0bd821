// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/upstream/balance"
)

// TestMain fails when goroutines are left behind: every request, node connection and tunnel must have ended.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); code == 0 && n > before {
		stacks := make([]byte, 1<<20)
		println(n-before, "goroutines left:\n", string(stacks[:runtime.Stack(stacks, true)]))
		code = 1
	}
	os.Exit(code)
}

// table is a gateway.Table whose routes are matched by a function.
type table struct {
	gateway.Table
	match   func(x *gateway.Exchange) *gateway.Route
	globals *gateway.Chain
}

func (t *table) Match(x *gateway.Exchange, _ gateway.Trace) *gateway.Route { return t.match(x) }
func (t *table) ReadsBody(*gateway.Exchange) int64                         { return 0 }
func (t *table) Globals() *gateway.Chain                                   { return t.globals }
func (t *table) Upstream(string) *gateway.Upstream                         { return nil }
func (t *table) Compile(uint64, []gateway.Object) (gateway.Table, []error) { return t, nil }

type noStore struct{ gateway.Store }

func (noStore) Snapshot(context.Context) (uint64, []gateway.Object, error) { return 0, nil, nil }
func (noStore) Close() error                                               { return nil }
func (noStore) Watch(ctx context.Context, _ uint64) iter.Seq2[[]gateway.Change, error] {
	return func(func([]gateway.Change, error) bool) { <-ctx.Done() }
}

func openGateway(t testing.TB, table *table, settings *gateway.Settings) *gateway.Gateway {
	t.Helper()
	g, _, err := gateway.Open(context.Background(), noStore{}, &gateway.Generation{Compiler: table, Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// rig is a gateway with one route, served on a real listener.
type rig struct {
	*httptest.Server
	transports *Transports
}

func serve(t testing.TB, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ConnContext = ConnContext
	server.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// serveRoute serves one route for everything.
func serveRoute(t testing.TB, route *gateway.Route) *rig {
	t.Helper()
	return serveTable(t, &table{match: func(*gateway.Exchange) *gateway.Route { return route }}, nil)
}

func serveTable(t testing.TB, table *table, settings *gateway.Settings) *rig {
	t.Helper()
	transports := new(Transports)
	t.Cleanup(transports.Close)
	server := New(Config{Gateway: openGateway(t, table, settings), Transports: transports})
	return &rig{serve(t, server), transports}
}

// upstreamOf makes an upstream of "host:port=weight" nodes.
func upstreamOf(t testing.TB, nodes ...string) *gateway.Upstream {
	t.Helper()
	u := &gateway.Upstream{
		Type: "roundrobin", Scheme: "http", PassHost: "pass", Retries: len(nodes) - 1,
		KeepAlive: gateway.KeepAlive{Size: 32, IdleTimeout: time.Minute},
		Timeout:   gateway.Timeout{Connect: 5 * time.Second, Send: 5 * time.Second, Read: 5 * time.Second},
	}
	for _, text := range nodes {
		addr, weight, _ := strings.Cut(text, "=")
		node := &gateway.Node{Addr: addr, HostHeader: addr, Weight: 1, State: new(gateway.NodeState)}
		if weight != "" {
			node.Weight, _ = strconv.Atoi(weight)
		}
		u.Nodes = append(u.Nodes, node)
	}
	var err error
	if u.Balancer, err = balance.New(u.Type, u.Nodes, nil); err != nil {
		t.Fatal(err)
	}
	return u
}

// inOrder is a balancer that goes through its nodes as they are listed.
type inOrder []*gateway.Node

func (b inOrder) Pick(x *gateway.Exchange) *gateway.Node {
	if n := len(x.Forward.Attempts); n < len(b) {
		return b[n]
	}
	return nil
}

func ordered(t testing.TB, nodes ...string) *gateway.Upstream {
	u := upstreamOf(t, nodes...)
	u.Balancer = inOrder(u.Nodes)
	return u
}

// startNode starts a node and returns its address.
func startNode(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// rawNode starts a node that speaks for itself: each connection is handled by f, and closed when f is back.
func rawNode(t testing.TB, f func(c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				f(c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// deadNode returns an address where nobody listens.
func deadNode(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// do sends a request and returns the response with its body.
func do(t testing.TB, method, url string, body io.Reader, fields ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "Host" {
			r.Host = fields[i+1]
			continue
		}
		r.Header[fields[i]] = append(r.Header[fields[i]], fields[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

// exchangeRaw sends bytes on a new connection and returns everything that comes back until the server closes it, for
// which the request asks.
func exchangeRaw(t testing.TB, addr, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return string(answer)
}

func wantStatus(t testing.TB, got *http.Response, want int) {
	t.Helper()
	if got.StatusCode != want {
		t.Errorf("status %d, want %d", got.StatusCode, want)
	}
}

// hooks is a plugin made of functions.
type hooks struct {
	rewrite      func(x *gateway.Exchange) gateway.Verdict
	filterHeader func(x *gateway.Exchange)
	filterBody   func(x *gateway.Exchange, chunk []byte, last bool) []byte
	log          func(x *gateway.Exchange)
	readsBody    int64
}

func (h *hooks) Rewrite(x *gateway.Exchange) gateway.Verdict {
	if h.rewrite != nil {
		return h.rewrite(x)
	}
	return gateway.Continue
}

func (h *hooks) FilterHeader(x *gateway.Exchange) {
	if h.filterHeader != nil {
		h.filterHeader(x)
	}
}

func (h *hooks) Log(x *gateway.Exchange) {
	if h.log != nil {
		h.log(x)
	}
}

func (h *hooks) ReadsBody() int64 { return h.readsBody }

// bodyHooks is hooks with a body filter, which other chains do not even have.
type bodyHooks struct{ *hooks }

func (h bodyHooks) FilterBody(x *gateway.Exchange, chunk []byte, last bool) []byte {
	return h.filterBody(x, chunk, last)
}

func chainOf(all ...*hooks) *gateway.Chain {
	entries := make([]gateway.Entry, len(all))
	for i, h := range all {
		var instance any = h
		if h.filterBody != nil {
			instance = bodyHooks{h}
		}
		entries[i] = gateway.Entry{
			Plugin: &gateway.Plugin{Name: "hooks" + strconv.Itoa(i)}, Instance: instance, Priority: -i,
		}
	}
	return gateway.NewChain(entries)
}
