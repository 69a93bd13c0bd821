// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lane"
)

// slow is a plan whose bounds can be told apart, on two nodes.
var slow = plan{
	nodes:    []string{"127.0.0.1:1", "127.0.0.1:2"},
	timeouts: lane.Timeouts{Idle: 60, Head: 10, Body: 20, Write: 30, Linger: 2},
	phases:   gateway.Timeout{Connect: 3 * time.Second, Send: 5 * time.Second, Read: 7 * time.Second},
	keep:     gateway.KeepAlive{Size: 2, IdleTimeout: 40 * time.Second, Requests: 100},
}

// The engine's clock counts seconds, so a client's bound ends up to one second late and a node's up to two.

func TestHeadTimeout(t *testing.T) {
	d := play(t, slow)
	dripping, silent := d.client(), d.client()
	for _, piece := range strings.Split("GET / HTT", "") {
		d.says(dripping, piece)
		d.pass(1)
	}
	d.pass(1)
	d.answered(dripping)
	if d.closed[silent] {
		t.Error("closed before its time")
	}
	d.says(dripping, "P")
	d.pass(1)
	d.answered(dripping, "408")
	if !d.shut[dripping] {
		t.Error("the client is not told that nothing more comes")
	}
	d.pass(3)
	d.ended(dripping, silent)
	if n := d.engine.Conns(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}

func TestHeadTimeoutBehindAnAnswer(t *testing.T) {
	d := play(t, slow)
	c := d.client()
	d.says(c, get+"GET /2")
	d.says(d.node(0), okay)
	d.answered(c, "200")
	d.pass(10)
	d.answered(c)
	d.pass(1)
	d.answered(c, "408")
}

func TestIdleTimeout(t *testing.T) {
	d := play(t, slow)
	c := d.client()
	d.says(c, get)
	d.says(d.node(0), okay)
	d.answered(c, "200")
	d.pass(60)
	if d.closed[c] {
		t.Fatal("closed before its time")
	}
	d.pass(1)
	d.answered(c)
	d.ended(c, d.dialled[0])
}

func TestNodeIdleTimeout(t *testing.T) {
	d := play(t, slow)
	c := d.client()
	d.says(c, get)
	node := d.node(0)
	d.hears(node)
	d.says(node, okay)
	d.answered(c, "200")
	d.pass(40)
	if d.closed[node] {
		t.Fatal("closed before its time")
	}
	d.pass(2)
	d.ended(node)
	d.says(c, get)
	d.says(d.node(1), okay)
	d.answered(c, "200")
}

func TestBodyTimeout(t *testing.T) {
	d := play(t, slow)
	c := d.client()
	d.says(c, post+"0")
	node := d.node(0)
	for range 3 {
		d.hears(node)
		// The node waits for the client as the lane does: its own time does not run.
		d.pass(20)
		d.answered(c)
		d.says(c, "1")
	}
	d.hears(node)
	d.pass(21)
	d.answered(c, "408")
	d.ended(node)
	d.pass(3)
	d.ended(c)
	if len(d.dialled) != 1 {
		t.Errorf("%d dials", len(d.dialled))
	}
}

// fill sends body until the lane has enough, and returns how much that was.
func fill(d *script, from *lane.Conn) (n int) {
	for ; !d.paused[from]; n += len(much) {
		if n > 1<<20 {
			d.t.Fatal("1 MiB has been read, and nobody takes it")
		}
		d.says(from, much)
	}
	return n
}

func TestSendTimeout(t *testing.T) {
	d := play(t, slow)
	c := d.client()
	d.says(c, upload)
	node := d.node(0)
	fill(d, c)
	for range 5 {
		d.pass(6)
		d.takes(node, 100)
	}
	d.answered(c)
	d.pass(7)
	d.answered(c, "504")
	if d.paused[c] {
		t.Error("nobody reads what the client still sends")
	}
	d.ended(node)
	// What is left of the body is no reason to end the connection at once.
	d.says(c, much)
	d.pass(20)
	if d.closed[c] {
		t.Error("closed in the middle of the body")
	}
	d.pass(1)
	d.ended(c)
}

func TestReadTimeout(t *testing.T) {
	for name, so := range map[string]string{"silent": "", "in the head": "HTTP/1.1 200 OK\r\nContent-", "after a hint": "HTTP/1.1 103 Early\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			d := play(t, slow)
			c := d.client()
			d.says(c, get)
			first := d.node(0)
			d.hears(first)
			d.says(first, so)
			d.hears(c)
			d.pass(8)
			if len(d.dialled) != 1 {
				t.Fatal("gave up before its time")
			}
			d.pass(1)
			d.answered(c)
			if !d.closed[first] {
				t.Error("the slow node's connection is kept")
			}
			second := d.node(1)
			if !strings.HasPrefix(d.hears(second), "GET / HTTP/1.1\r\n") {
				t.Error("the second node does not get the request")
			}
			d.pass(9)
			d.answered(c, "504")
			d.ended(first, second)
			if d.closed[c] {
				t.Error("the client's connection has not deserved to be closed")
			}
		})
	}
}

func TestReadTimeoutOfUnsafeRequest(t *testing.T) {
	d := play(t, slow)
	c := d.client()
	d.says(c, post+"0123456789")
	node := d.node(0)
	d.hears(node)
	d.pass(9)
	d.answered(c, "504")
	d.ended(node)
	if len(d.dialled) != 1 {
		t.Error("a POST that a node may have processed is repeated")
	}
}

// TestReadTimeoutAfterUpload: the node's time for the answer begins when it has the request.
func TestReadTimeoutAfterUpload(t *testing.T) {
	d := play(t, slow)
	c := d.client()
	d.says(c, post+"01234")
	node := d.node(0)
	d.hears(node)
	d.pass(15)
	d.says(c, "56789")
	d.hears(node)
	d.pass(8)
	d.answered(c)
	d.pass(1)
	d.answered(c, "504")
	d.ended(node)
}

func TestConnectTimeout(t *testing.T) {
	for name, request := range map[string]string{"safe": get, "unsafe": post + "0123456789"} {
		t.Run(name, func(t *testing.T) {
			d := play(t, slow)
			c := d.client()
			d.says(c, request)
			d.pass(4)
			if len(d.dialled) != 1 {
				t.Fatal("gave up before its time")
			}
			d.pass(1)
			if len(d.dialled) != 2 {
				t.Fatal("nothing was sent, and the second node is not tried")
			}
			d.pass(5)
			d.answered(c, "504")
			d.ended(d.dialled...)
			d.engine.Connected(d.dialled[0], nil)
		})
	}
}

func TestResponseBodyTimeout(t *testing.T) {
	for name, head := range map[string]string{
		"sized":   "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			d := play(t, slow)
			c := d.client()
			d.says(c, get)
			node := d.node(0)
			d.says(node, head)
			d.hears(node)
			if text := d.answered(c, "200"); !strings.Contains(text, "01234") {
				t.Errorf("client hears %q", text)
			}
			d.pass(9)
			if rest := d.hears(c); rest != "" {
				t.Errorf("client hears %q", rest)
			}
			if !d.shut[c] {
				t.Error("the response is not cut")
			}
			d.ended(node)
		})
	}
}

func TestWriteTimeout(t *testing.T) {
	for name, c := range map[string]struct {
		request, head string
		reset         bool
	}{
		"sized":                    {get, endless, false},
		"only the end ends it":     {"GET / HTTP/1.0\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n", true},
		"request still on its way": {upload, endless, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := play(t, slow)
			client := d.client()
			d.says(client, c.request)
			node := d.node(0)
			d.hears(node)
			d.says(node, c.head)
			fill(d, node)
			for range 3 {
				d.pass(30)
				d.takes(client, 100)
			}
			if d.closed[client] {
				t.Fatal("closed while it was reading")
			}
			d.pass(31)
			d.ended(client, node)
			if client.Reset != c.reset {
				t.Errorf("reset %v, want %v", client.Reset, c.reset)
			}
		})
	}
}

// TestWriteTimeoutWhenTheBodyEnds: the end of the request does not end the wait for a client that does not read.
func TestWriteTimeoutWhenTheBodyEnds(t *testing.T) {
	d := play(t, slow)
	c := d.client()
	d.says(c, post+"01234")
	node := d.node(0)
	d.hears(node)
	d.says(node, endless)
	fill(d, node)
	d.says(c, "56789")
	d.hears(node)
	d.pass(31)
	d.ended(c, node)
}

// TestSlowReaderOfTheLastBytes: the bound on lingering begins when everything has been sent.
func TestSlowReaderOfTheLastBytes(t *testing.T) {
	for _, name := range []string{"closing", "staying"} {
		t.Run(name, func(t *testing.T) {
			d := play(t, slow)
			c := d.client()
			d.site.SetClosing(name == "closing")
			d.says(c, get)
			d.says(d.node(0), "HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n"+much)
			for range 4 {
				d.pass(29)
				d.takes(c, 500)
			}
			if d.closed[c] || d.shut[c] {
				t.Fatal("the response is cut")
			}
			d.hears(c)
			if d.shut[c] != (name == "closing") {
				t.Errorf("shut %v", d.shut[c])
			}
			d.pass(2)
			if d.closed[c] {
				t.Fatal("closed before its time")
			}
			d.pass(59)
			d.ended(c)
		})
	}
}

// TestClientThatPartsIsClosed: who has said that no request follows has the answer when it is sent, and then nothing is left
// to wait for.
func TestClientThatPartsIsClosed(t *testing.T) {
	for _, request := range []string{"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"} {
		d := play(t, slow)
		c := d.client()
		d.says(c, request)
		d.says(d.node(0), okay)
		if d.closed[c] {
			t.Fatal("closed before the answer is sent")
		}
		d.hears(c)
		d.ended(c)
	}
}

// TestNewcomer: who has connected to a site just before it closes can still make a request, and no second one.
func TestNewcomer(t *testing.T) {
	d := play(t, slow)
	idle, late, quick := d.client(), d.client(), d.client()
	d.says(idle, get)
	d.says(d.node(0), okay)
	d.answered(idle, "200")
	d.site.SetClosing(true)
	d.pass(1)
	if !d.closed[idle] || d.closed[quick] {
		t.Fatalf("closed: idle %v, new %v", d.closed[idle], d.closed[quick])
	}
	d.says(quick, get)
	d.says(d.node(1), okay)
	d.answered(quick, "200")
	d.pass(7)
	d.ended(late, quick)
}

// TestDrain: a connection whose exchange was under way goes soon after it.
func TestDrain(t *testing.T) {
	d := play(t, slow)
	busy, idle := d.client(), d.client()
	d.says(busy, get)
	node := d.node(0)
	d.engine.Drain()
	if !d.closed[idle] || d.closed[busy] {
		t.Errorf("idle closed %v, busy closed %v", d.closed[idle], d.closed[busy])
	}
	d.says(node, okay)
	d.answered(busy, "200")
	d.pass(1)
	d.ended(busy, node)
}

// TestClose ends whatever is under way.
func TestClose(t *testing.T) {
	d := play(t, slow)
	connecting, answering, idle := d.client(), d.client(), d.client()
	d.says(connecting, get)
	d.says(answering, get)
	d.says(d.node(1), endless)
	d.engine.Close()
	d.ended(connecting, answering, idle, d.dialled[0], d.dialled[1])
	if n := d.engine.Conns(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}
