// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

func TestProxy(t *testing.T) {
	node := echo(t, "n")
	r := newRig(t, nil, to("", node.addr))
	conn := r.dial()
	says(t, conn, "one", "n one")
	says(t, conn, "two", "n two")
	// A client that has said all hears the rest.
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	isClosed(t, conn)
	eventually(t, "the end of the connection", func() bool { return r.proxy.Open() == 0 })
}

func TestNoRoute(t *testing.T) {
	r := newRig(t, nil)
	isClosed(t, r.dial())
	// The next connection sees a change, and the one after the next the next.
	r.put("1", to("", echo(t, "a").addr))
	first := r.dial()
	says(t, first, "x", "a x")
	r.put("1", to("", echo(t, "b").addr))
	says(t, r.dial(), "x", "b x")
	r.submit(gateway.Change{Object: streamRoute("1", ""), Delete: true})
	isClosed(t, r.dial())
	// What is established stays where it is.
	says(t, first, "y", "a y")
}

// TestLarge sends so much both ways at once that bytes go through pipes, and with pauses, so that they go through buffers
// too.
func TestLarge(t *testing.T) {
	const size = 24 << 20
	digest := func(r io.Reader) [32]byte {
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			t.Error(err)
		}
		return [32]byte(h.Sum(nil))
	}
	up, down := make([]byte, size), make([]byte, size)
	_, _ = rand.Read(up)
	_, _ = rand.Read(down)
	got := make(chan [32]byte, 1)
	send := func(conn net.Conn, b []byte) {
		for n := 1; len(b) > 0; n = n*7%200_003 + 1 {
			n = min(n, len(b))
			if _, err := conn.Write(b[:n]); err != nil {
				t.Error(err)
				return
			}
			b = b[n:]
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Error(err)
		}
	}
	node := serve(t, nil, func(conn net.Conn) {
		var sending sync.WaitGroup
		sending.Go(func() { send(conn, down) })
		got <- digest(conn)
		sending.Wait()
	})
	r := newRig(t, nil, to("", node.addr))
	conn := r.dial()
	var sending sync.WaitGroup
	sending.Go(func() { send(conn, up) })
	if digest(conn) != sha256.Sum256(down) {
		t.Error("what the node sent came otherwise")
	}
	if <-got != sha256.Sum256(up) {
		t.Error("what the client sent came otherwise")
	}
	sending.Wait()
}

// TestHalfClose: a node that has said all goes on hearing.
func TestHalfClose(t *testing.T) {
	got := make(chan string, 1)
	node := serve(t, nil, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "hello\n")
		_ = conn.(*net.TCPConn).CloseWrite()
		all, _ := io.ReadAll(conn)
		got <- string(all)
	})
	conn := newRig(t, nil, to("", node.addr)).dial()
	all, err := io.ReadAll(conn)
	if err != nil || string(all) != "hello\n" {
		t.Fatalf("got %q, %v", all, err)
	}
	for range 3 {
		if _, err := io.WriteString(conn, "more"); err != nil {
			t.Fatal(err)
		}
	}
	_ = conn.CloseWrite()
	if all := <-got; all != "moremoremore" {
		t.Errorf("the node heard %q", all)
	}
}

// TestReset: when one end breaks off the other one hears of it.
func TestReset(t *testing.T) {
	accepted := make(chan net.Conn, 1)
	node := serve(t, nil, func(conn net.Conn) {
		accepted <- conn
		_, _ = io.Copy(io.Discard, conn)
	})
	r := newRig(t, nil, to("", node.addr))
	conn := r.dial()
	at := <-accepted
	_ = at.(*net.TCPConn).SetLinger(0)
	_ = at.Close()
	isClosed(t, conn)
	eventually(t, "the end of the connection", func() bool { return r.proxy.Open() == 0 })
}

// TestFailover: while one of two nodes is down no connection is lost, and the dead one is not asked again once passive checks
// know it.
func TestFailover(t *testing.T) {
	dead, live := nobody(t), echo(t, "live")
	checks := `,"checks":{"active":{"type":"tcp","healthy":{"interval":3600},"unhealthy":{"interval":3600}},` +
		`"passive":{"type":"tcp","unhealthy":{"tcp_failures":2}}}`
	r := newRig(t, nil, to(checks, dead, live.addr))
	for range 20 {
		conn := r.dial()
		says(t, conn, "x", "live x")
		_ = conn.Close()
	}
	route := r.gateway.Table().(gateway.StreamTable).Stream(addrPort(r.dial().RemoteAddr()), addrPort(&net.TCPAddr{}), "")
	eventually(t, "the dead node's being found out", func() bool { return route.Upstream.Nodes[0].State.Unhealthy() })
	// Without retries only the health keeps connections away from it.
	r.put("r0", to(checks+`,"retries":0`, dead, live.addr))
	for range 20 {
		says(t, r.dial(), "x", "live x")
	}
	r.put("r0", to(`,"retries":0`, dead))
	isClosed(t, r.dial())
}

// Connections under way are counted for least_conn until they end.
func TestInFlight(t *testing.T) {
	a, b := echo(t, "a"), echo(t, "b")
	r := newRig(t, nil, to(`,"type":"least_conn"`, a.addr, b.addr))
	heard := map[string]int{}
	conns := make([]*net.TCPConn, 10)
	for i := range conns {
		conns[i] = r.dial()
		if _, err := io.WriteString(conns[i], "x\n"); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 4)
		if _, err := io.ReadFull(conns[i], line); err != nil {
			t.Fatal(err)
		}
		heard[string(line)]++
	}
	if heard["a x\n"] != 5 || heard["b x\n"] != 5 {
		t.Errorf("got %v", heard)
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
	eventually(t, "the end of the connections", func() bool { return r.proxy.Open() == 0 })
	route := r.gateway.Table().(gateway.StreamTable).Stream(addrPort(&net.TCPAddr{}), addrPort(&net.TCPAddr{}), "")
	for _, node := range route.Upstream.Nodes {
		if n := node.State.InFlight.Load(); n != 0 {
			t.Errorf("%s: %d under way", node.Addr, n)
		}
	}
}

func TestIdle(t *testing.T) {
	node := echo(t, "n")
	r := newRig(t, nil, to(`,"timeout":{"connect":5,"send":0.05,"read":0.1}`, node.addr))
	conn := r.dial()
	isClosed(t, conn)
	eventually(t, "the end of the connection", func() bool { return r.proxy.Open() == 0 })
}

// TestClose: connections may end by themselves while the proxy closes, and are ended when that takes too long.
func TestClose(t *testing.T) {
	r := newRig(t, nil, to("", echo(t, "n").addr))
	kind, stubborn := r.dial(), r.dial()
	says(t, kind, "x", "n x")
	says(t, stubborn, "x", "n x")
	ctx, cancel := context.WithCancel(t.Context())
	closed := make(chan struct{})
	go func() {
		r.proxy.Close(ctx)
		close(closed)
	}()
	eventually(t, "refusing", func() bool {
		conn := dialTo(t, r.addr)
		n, err := conn.Read(make([]byte, 1))
		return n == 0 && err != nil
	})
	says(t, kind, "y", "n y")
	_ = kind.Close()
	eventually(t, "the end of one", func() bool { return r.proxy.Open() == 1 })
	says(t, stubborn, "y", "n y")
	cancel()
	<-closed
	isClosed(t, stubborn)
	if n := r.proxy.Open(); n != 0 {
		t.Errorf("%d are open", n)
	}
}

// TestPutUnderLoad: no connection fails while routes change.
func TestPutUnderLoad(t *testing.T) {
	a, b := echo(t, "n"), echo(t, "n")
	r := newRig(t, nil, to("", a.addr))
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				_ = conn.SetDeadline(time.Now().Add(patience))
				line := make([]byte, 4)
				_, err = io.WriteString(conn, "x\n")
				if err == nil {
					_, err = io.ReadFull(conn, line)
				}
				_ = conn.Close()
				if err != nil || string(line) != "n x\n" {
					t.Errorf("got %q, %v", line, err)
					return
				}
			}
		})
	}
	for i := range 100 {
		r.put("r0", to("", []string{a.addr, b.addr}[i%2]))
	}
	close(stop)
	clients.Wait()
}

// A preread is forwarded once, whatever its size.
func TestPreread(t *testing.T) {
	sent := strings.Repeat("0123456789abcdef", 2048)
	client, end := net.Pipe()
	defer client.Close()
	c := &conn{client: pipeEnd{end}}
	go func() { _, _ = io.WriteString(client, sent) }()
	for _, n := range []int{1, 3, 1000, len(sent)} {
		if got, err := c.Preread(n); err != nil || len(got) < n || !bytes.HasPrefix([]byte(sent), got) {
			t.Fatalf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
	if _, err := c.Preread(prereadSize + 1); err == nil {
		t.Error("there is no bound")
	}
	_ = client.Close()
	if got, err := c.Preread(len(sent) + 1); err == nil || string(got) != sent {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

type pipeEnd struct{ net.Conn }

func (pipeEnd) CloseWrite() error { return nil }
