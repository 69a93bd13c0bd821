// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// badNode is a node whose connections do as the test says.
type badNode struct {
	addr            string
	requests, conns atomic.Int64
	// ended gets something for each connection that is over.
	ended chan int
}

// nodeConn is one connection of a badNode: the nth, counted from 0.
type nodeConn struct {
	*net.TCPConn
	r    *bufio.Reader
	node *badNode
	nth  int
}

func newBadNode(t testing.TB, serve func(c *nodeConn)) *badNode {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	node := &badNode{addr: listener.Addr().String(), ended: make(chan int, 10_000)}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			c := &nodeConn{conn.(*net.TCPConn), bufio.NewReader(conn), node, int(node.conns.Add(1)) - 1}
			go func() {
				defer func() { node.ended <- c.nth }()
				defer conn.Close()
				serve(c)
			}()
		}
	}()
	return node
}

// request reads the head of a request.
func (c *nodeConn) request() *http.Request {
	req, err := http.ReadRequest(c.r)
	if err != nil {
		return nil
	}
	c.node.requests.Add(1)
	return req
}

func (c *nodeConn) say(text string) { io.WriteString(c, text) }

// reset ends the connection the hard way.
func (c *nodeConn) reset() {
	c.SetLinger(0)
	c.Close()
}

// serve answers as a good node does, until the other side closes.
func (c *nodeConn) serve() {
	for {
		req := c.request()
		if req == nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		c.say(okay)
	}
}

// unread has the first bytes of a body come, and closes with them unread: the kernel then resets the connection.
func (c *nodeConn) unread() { c.r.Peek(1) }

// misdeed is what a node does on its first connection. On others it is a good one.
type misdeed struct {
	do      func(c *nodeConn)
	request string
	// status is what the client sees, 0 for none; cut says that the body does not come to its end.
	status int
	cut    bool
	// requests is how many the node saw; used again are the connections that are kept.
	requests                   int
	clientUsed, nodeUsed, long bool
}

var misdeeds = map[string]misdeed{
	"closes at once":       {do: func(c *nodeConn) {}, status: 502, clientUsed: true},
	"resets at once":       {do: (*nodeConn).reset, status: 502, clientUsed: true},
	"closes after request": {do: func(c *nodeConn) { c.request() }, status: 502, requests: 1, clientUsed: true},
	"resets in the head": {
		do:     func(c *nodeConn) { c.request(); c.say("HTTP/1.1 200 OK\r\nCont"); c.reset() },
		status: 502, requests: 1, clientUsed: true,
	},
	"closes in the head": {
		do:     func(c *nodeConn) { c.request(); c.say("HTTP/1.1 200 OK\r\nCont") },
		status: 502, requests: 1, clientUsed: true,
	},
	"closes in a sized body": {
		do:     func(c *nodeConn) { c.request(); c.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234") },
		status: 200, cut: true, requests: 1,
	},
	"resets in a sized body": {do: func(c *nodeConn) {
		c.request()
		c.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
		c.r.Peek(1)
		c.reset()
	}, request: post + "01234", status: 200, cut: true, requests: 1},
	"closes in a chunk": {do: func(c *nodeConn) {
		c.request()
		c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n01234")
	}, status: 200, cut: true, requests: 1},
	"closes between chunks": {do: func(c *nodeConn) {
		c.request()
		c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n")
	}, status: 200, cut: true, requests: 1},
	"malformed chunk": {do: func(c *nodeConn) {
		c.request()
		c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\nzz\r\n")
		c.r.Peek(1)
	}, status: 200, cut: true, requests: 1},
	"closes without framing": {
		do:     func(c *nodeConn) { c.request(); c.say("HTTP/1.1 200 OK\r\n\r\nok") },
		status: 200, requests: 1, clientUsed: true,
	},
	"drips": {do: func(c *nodeConn) {
		c.request()
		for _, b := range []byte(okay) {
			c.Write([]byte{b})
		}
		c.serve()
	}, status: 200, requests: 1, clientUsed: true, nodeUsed: true},
	"sends too much": {
		do:     func(c *nodeConn) { c.request(); c.say(okay + "surplus"); c.serve() },
		status: 200, requests: 1, clientUsed: true,
	},
	"sends a second response": {
		do:     func(c *nodeConn) { c.request(); c.say(okay + okay); c.serve() },
		status: 200, requests: 1, clientUsed: true,
	},
	"sends hints": {do: func(c *nodeConn) {
		c.request()
		c.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + okay)
		c.serve()
	}, status: 200, requests: 1, clientUsed: true, nodeUsed: true},
	"switches protocols": {
		do: func(c *nodeConn) {
			c.request()
			c.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
			c.serve()
		},
		status: 502, requests: 1, clientUsed: true,
	},
	"speaks no HTTP": {do: func(c *nodeConn) { c.request(); c.say("SSH-2.0-x\r\n\r\n"); c.serve() }, status: 502, requests: 1, clientUsed: true},
	"closes by header": {do: func(c *nodeConn) {
		c.request()
		c.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
		c.serve()
	}, status: 200, requests: 1, clientUsed: true},
	"answers early": {do: func(c *nodeConn) {
		c.request()
		c.say("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
		io.Copy(io.Discard, c.r)
	}, request: upload + much, status: 413, requests: 1},
	"answers early and closes": {do: func(c *nodeConn) {
		c.request()
		c.unread()
		c.say("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
	}, request: upload + much, status: 413, requests: 1, long: true},
	"stalls":             {do: func(c *nodeConn) { c.request(); c.request() }, status: 504, requests: 1, clientUsed: true},
	"stalls in the body": {do: func(c *nodeConn) { c.request(); c.say(endless); c.request() }, status: 200, cut: true, requests: 1},
}

func TestNodeMisdeeds(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		for name, m := range misdeeds {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				testMisdeed(t, driver, m)
			})
		}
	})
}

func testMisdeed(t *testing.T, driver string, m misdeed) {
	node := newBadNode(t, func(c *nodeConn) {
		if c.nth == 0 {
			m.do(c)
			return
		}
		c.serve()
	})
	g := launch(t, driver, plan{nodes: []string{node.addr}, timeout: time.Second}, echo)
	conn := g.dial()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if m.request == "" {
		m.request = get
	}
	io.WriteString(conn, m.request)
	if m.long {
		// The node has gone while there is still much to send to it.
		go io.Copy(conn, io.LimitReader(zeros{}, 10_000_000-int64(len(much))))
	}
	r := bufio.NewReader(conn)
	status, body, err := readFinal(r)
	if status != m.status || (err != nil) != m.cut {
		t.Errorf("status %d, body %q, error %v; want %d, cut %v", status, body, err, m.status, m.cut)
	}
	if got := int(node.requests.Load()); got != m.requests {
		t.Errorf("node saw %d requests, want %d", got, m.requests)
	}
	if m.clientUsed {
		io.WriteString(conn, get)
		if status, body, err := readFinal(r); status != 200 || body != "ok" || err != nil {
			t.Errorf("next request: %d %q %v", status, body, err)
		}
	} else if _, err := io.Copy(io.Discard, r); err != nil && !m.cut && !m.long {
		t.Errorf("the connection ends with %v", err)
	}
	want := int64(1)
	if m.clientUsed && !m.nodeUsed {
		want = 2
	}
	if got := node.conns.Load(); got != want {
		t.Errorf("%d connections to the node, want %d", got, want)
	}
	if !m.nodeUsed {
		<-node.ended
	}
	conn.Close()
	idle := 0
	if m.clientUsed {
		idle = 1
	}
	g.settles(idle)
}

// zeros is a body without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// readFinal reads a response that is not a hint, to its end. A response that does not come has status 0.
func readFinal(r *bufio.Reader) (status int, body string, _ error) {
	for {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return 0, "", err
		}
		text, err := io.ReadAll(res.Body)
		if res.StatusCode >= 200 {
			return res.StatusCode, string(text), err
		}
	}
}

// TestRetries has the first of two nodes fail in some way.
func TestRetries(t *testing.T) {
	put := strings.Replace(post, "POST", "PUT", 1) + "0123456789"
	longPut := "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 30001\r\n\r\n" + strings.Repeat("x", 30_001)
	for name, c := range map[string]struct {
		do      func(c *nodeConn)
		request string
		status  int
	}{
		"GET, closed at once":        {func(*nodeConn) {}, get, 200},
		"GET, closed after request":  {func(c *nodeConn) { c.request() }, get, 200},
		"PUT, closed after request":  {func(c *nodeConn) { io.Copy(io.Discard, c.request().Body) }, put, 200},
		"POST, closed after request": {func(c *nodeConn) { io.Copy(io.Discard, c.request().Body) }, post + "0123456789", 502},
		"GET, reset in the head":     {func(c *nodeConn) { c.request(); c.say("HTTP/1.1 "); c.reset() }, get, 200},
		"GET, 503 is an answer":      {func(c *nodeConn) { c.request(); c.say("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"); c.request() }, get, 503},
		"PUT, closed in the body":    {func(c *nodeConn) { c.request(); c.r.Discard(5) }, put, 200},
		"long PUT":                   {func(c *nodeConn) { c.request(); c.r.Discard(30_000) }, longPut, 502},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, driver string) {
				t.Parallel()
				bad := newBadNode(t, c.do)
				good := newBadNode(t, (*nodeConn).serve)
				g := launch(t, driver, plan{nodes: []string{bad.addr, good.addr}, timeout: time.Second}, echo)
				conn := g.dial()
				io.WriteString(conn, c.request)
				if status, _, err := readFinal(bufio.NewReader(conn)); status != c.status || err != nil {
					t.Errorf("status %d, error %v, want %d", status, err, c.status)
				}
				want := int64(0)
				if c.status == 200 {
					want = 1
				}
				if n := good.requests.Load(); n != want {
					t.Errorf("the second node saw %d requests, want %d", n, want)
				}
				if n := bad.requests.Load(); n > 1 {
					t.Errorf("the first node saw %d requests", n)
				}
			})
		})
	}
}

func TestRefusedConnections(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		dead := listener.Addr().String()
		listener.Close()
		good := newBadNode(t, (*nodeConn).serve)
		for _, c := range []struct {
			nodes  []string
			status int
		}{{[]string{dead}, 502}, {[]string{dead, good.addr}, 200}} {
			for _, request := range []string{get, post + "0123456789"} {
				g := launch(t, driver, plan{nodes: c.nodes}, echo)
				conn := g.dial()
				io.WriteString(conn, request)
				if status, _, err := readFinal(bufio.NewReader(conn)); status != c.status || err != nil {
					t.Errorf("%q: status %d, error %v, want %d", request[:4], status, err, c.status)
				}
				conn.Close()
				g.settles(len(c.nodes) - 1)
			}
		}
	})
}

// TestStaleConnection: a pooled connection that the node closes just when it is used says nothing about the node. The
// request is repeated once, on a fresh one, if it may be.
func TestStaleConnection(t *testing.T) {
	for name, c := range map[string]struct {
		request  string
		fresh    func(c *nodeConn)
		status   int
		requests int64
	}{
		"safe":            {get, (*nodeConn).serve, 200, 3},
		"unsafe":          {post + "0123456789", (*nodeConn).serve, 502, 2},
		"the fresh, too":  {get, func(c *nodeConn) { c.request() }, 502, 3},
		"the fresh reset": {get, func(c *nodeConn) { c.request(); c.reset() }, 502, 3},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, driver string) {
				node := newBadNode(t, func(n *nodeConn) {
					if n.nth > 0 {
						c.fresh(n)
						return
					}
					n.request()
					n.say(okay)
					io.Copy(io.Discard, n.request().Body)
				})
				g := launch(t, driver, plan{nodes: []string{node.addr}}, echo)
				conn := g.dial()
				r := bufio.NewReader(conn)
				io.WriteString(conn, get)
				if status, _, _ := readFinal(r); status != 200 {
					t.Fatalf("status %d", status)
				}
				io.WriteString(conn, c.request)
				if status, _, err := readFinal(r); status != c.status || err != nil {
					t.Errorf("status %d, error %v, want %d", status, err, c.status)
				}
				if n := node.requests.Load(); n != c.requests {
					t.Errorf("node saw %d requests, want %d", n, c.requests)
				}
			})
		})
	}
}

// TestIdleConnectionClosedByNode: what the node closed while it was idle is not used.
func TestIdleConnectionClosedByNode(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		node := newBadNode(t, func(c *nodeConn) { c.request(); c.say(okay) })
		g := launch(t, driver, plan{nodes: []string{node.addr}}, echo)
		conn := g.dial()
		r := bufio.NewReader(conn)
		for range 20 {
			io.WriteString(conn, post+"0123456789")
			if status, _, err := readFinal(r); status != 200 {
				t.Fatalf("status %d, error %v", status, err)
			}
			g.settles(1)
		}
		if n := node.requests.Load(); n != 20 {
			t.Errorf("node saw %d requests", n)
		}
	})
}

// TestKeepalivePool holds the pool to its size and connections to their number of requests.
func TestKeepalivePool(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		arrived, release := make(chan bool), make(chan bool)
		node := newBadNode(t, func(c *nodeConn) {
			for c.request() != nil {
				arrived <- true
				<-release
				c.say(okay)
			}
		})
		g := launch(t, driver, plan{
			nodes: []string{node.addr}, keep: gateway.KeepAlive{Size: 2, IdleTimeout: time.Minute, Requests: 3},
		}, echo)
		var conns []net.Conn
		for range 5 {
			conn := g.dial()
			io.WriteString(conn, get)
			<-arrived
			conns = append(conns, conn)
		}
		close(release)
		for _, conn := range conns {
			if status, _, _ := readFinal(bufio.NewReader(conn)); status != 200 {
				t.Fatalf("status %d", status)
			}
		}
		g.settles(5 + 2)
		if n := node.conns.Load(); n != 5 {
			t.Fatalf("%d connections to the node", n)
		}
		// Each of the two serves twice more, and the next request needs a new one.
		for range 5 {
			io.WriteString(conns[0], get)
			<-arrived
			if status, _, _ := readFinal(bufio.NewReader(conns[0])); status != 200 {
				t.Fatalf("status %d", status)
			}
		}
		if n := node.conns.Load(); n != 6 {
			t.Errorf("%d connections to the node, want 6", n)
		}
		g.settles(5 + 1)
	})
}

// TestUntilCloseWithTheEnd: the end of a connection that comes together with the last bytes is noticed.
func TestUntilCloseWithTheEnd(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		want := bytes.Repeat([]byte("0123456789"), 20_000)
		node := newBadNode(t, func(c *nodeConn) {
			c.request()
			c.say(fmt.Sprintf("HTTP/1.0 200 OK\r\n\r\n%s", want))
		})
		g := launch(t, driver, plan{nodes: []string{node.addr}}, echo)
		conn := g.dial()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		r := bufio.NewReader(conn)
		for range 50 {
			io.WriteString(conn, get)
			if status, body, err := readFinal(r); status != 200 || body != string(want) || err != nil {
				t.Fatalf("status %d, %d bytes, error %v", status, len(body), err)
			}
		}
	})
}
