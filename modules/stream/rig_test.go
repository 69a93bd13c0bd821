// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/store/memory"
	"github.com/andogate/ando/modules/table"
	"github.com/andogate/ando/modules/upstream/health"
)

// patience bounds what a test waits for.
const patience = 20 * time.Second

// rig is a proxy that listens on one TCP port of the loopback interface.
type rig struct {
	t       testing.TB
	gateway *gateway.Gateway
	proxy   *Proxy
	addr    string
}

// newRig makes a proxy with stream routes r0, r1 ..., given as JSON. secure is for TLS that ends at the proxy.
func newRig(t testing.TB, secure *tls.Config, routes ...string) *rig {
	t.Helper()
	objects := make([]gateway.Object, len(routes))
	for i, route := range routes {
		objects[i] = streamRoute(fmt.Sprint("r", i), route)
	}
	r := &rig{t: t, gateway: open(t, objects...)}
	r.proxy = New(r.gateway, zap.NewNop)
	t.Cleanup(func() { r.proxy.Close(ended()) })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	r.addr = ln.Addr().String()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			r.proxy.Serve(conn.(*net.TCPConn), secure)
		}
	}()
	return r
}

// open returns a gateway with these objects, whose nodes' health is looked at.
func open(t testing.TB, objects ...gateway.Object) *gateway.Gateway {
	t.Helper()
	g, faults, err := gateway.Open(t.Context(), memory.New(objects...), &gateway.Generation{
		Compiler: &table.Compiler{Plugins: gateway.RegisteredPlugins()}, Settings: gateway.DefaultSettings(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, fault := range faults {
		t.Fatal(fault)
	}
	pool := health.NewPool(nil)
	t.Cleanup(pool.Close)
	if err := g.OnTable(pool.Follow); err != nil {
		t.Fatal(err)
	}
	return g
}

// ended is a context that has.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func streamRoute(id, value string) gateway.Object {
	return gateway.Object{Kind: gateway.StreamRoutes, ID: id, Value: json.RawMessage(value)}
}

// put writes a stream route.
func (r *rig) put(id, value string) {
	r.t.Helper()
	r.submit(gateway.Change{Object: streamRoute(id, value)})
}

func (r *rig) submit(change gateway.Change) {
	r.t.Helper()
	_, err := r.gateway.Submit(r.t.Context(), func(gateway.Tx) ([]gateway.Change, error) { return []gateway.Change{change}, nil })
	if err != nil {
		r.t.Fatal(err)
	}
}

// dial opens a connection to the proxy that ends with the test.
func (r *rig) dial() *net.TCPConn {
	r.t.Helper()
	return dialTo(r.t, r.addr)
}

func dialTo(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn)
}

// says sends a line and checks the one that comes back.
func says(t testing.TB, conn net.Conn, line, want string) {
	t.Helper()
	if _, err := fmt.Fprintln(conn, line); err != nil {
		t.Fatal(err)
	}
	hears(t, conn, want)
}

// hears checks the next line. Nothing behind it is read.
func hears(t testing.TB, conn net.Conn, want string) {
	t.Helper()
	var got []byte
	for one := make([]byte, 1); ; {
		if _, err := io.ReadFull(conn, one); err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		if one[0] == '\n' {
			break
		}
		got = append(got, one[0])
	}
	if string(got) != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// isClosed checks that the other end closes the connection and says nothing before that.
func isClosed(t testing.TB, conn net.Conn) {
	t.Helper()
	n, err := conn.Read(make([]byte, 100))
	if n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %d bytes and %v, want the end", n, err)
	}
}

// server is a node that speaks TCP.
type server struct {
	addr string
	ln   net.Listener
	mu   sync.Mutex
	// conns are those that were accepted and have not ended.
	conns map[net.Conn]bool
}

// serve starts a node. handle has a connection until it returns; secure may be nil.
func serve(t testing.TB, secure *tls.Config, handle func(conn net.Conn)) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: ln.Addr().String(), ln: ln, conns: make(map[net.Conn]bool)}
	var handling sync.WaitGroup
	t.Cleanup(func() {
		_ = ln.Close()
		s.mu.Lock()
		for conn := range s.conns {
			_ = conn.Close()
		}
		s.mu.Unlock()
		handling.Wait()
	})
	handling.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[conn] = true
			s.mu.Unlock()
			socket := conn
			if secure != nil {
				conn = tls.Server(conn, secure)
			}
			handling.Go(func() {
				handle(conn)
				_ = conn.Close()
				s.mu.Lock()
				delete(s.conns, socket)
				s.mu.Unlock()
			})
		}
	})
	return s
}

// echo answers each line with the node's name and the line.
func echo(t testing.TB, name string) *server {
	t.Helper()
	return serve(t, nil, echoing(name))
}

func echoing(name string) func(conn net.Conn) {
	return func(conn net.Conn) {
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if _, err := fmt.Fprintf(conn, "%s %s\n", name, lines.Text()); err != nil {
				return
			}
		}
	}
}

// nobody returns an address on which nobody listens.
func nobody(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// to is a route to nodes, all with the weight 1. more are further members of the upstream.
func to(more string, nodes ...string) string {
	for i, node := range nodes {
		nodes[i] = fmt.Sprintf("%q:1", node)
	}
	return fmt.Sprintf(`{"upstream":{"nodes":{%s}%s}}`, strings.Join(nodes, ","), more)
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not come about", what)
		}
	}
}
