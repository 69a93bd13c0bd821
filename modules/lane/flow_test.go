// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/lane"
)

// TestPooledConnectionIsRead: a node that was held back for a slow client is read again for the next one, also when its
// response came to its end meanwhile.
func TestPooledConnectionIsRead(t *testing.T) {
	d := play(t, slow)
	c := d.client()
	d.says(c, get)
	node := d.node(0)
	d.hears(node)
	d.says(node, endless)
	read := fill(d, node)
	// What a driver had received before it was told to stop comes all the same.
	for ; read+len(much) <= 10_000_000; read += len(much) {
		d.says(node, much)
	}
	d.says(node, strings.Repeat("x", 10_000_000-read))
	if d.paused[node] || d.closed[node] {
		t.Fatalf("paused %v, closed %v", d.paused[node], d.closed[node])
	}
	if n := len(d.answered(c, "200")); n < 10_000_000 {
		t.Errorf("client hears %d bytes", n)
	}
	d.says(c, get)
	if len(d.dialled) != 1 || !strings.HasPrefix(d.hears(node), "GET ") {
		t.Error("the connection is not used again")
	}
	d.says(node, okay)
	d.answered(c, "200")
}

// TestClientIsReadAgain: a client that was held back while its request waited is read again afterwards.
func TestClientIsReadAgain(t *testing.T) {
	d := play(t, plan{})
	c := d.client()
	requests := 0
	for ; !d.paused[c]; requests++ {
		if requests > 10_000 {
			t.Fatal("pipelined requests pile up without end")
		}
		d.says(c, get)
	}
	node := d.node(0)
	for range requests {
		d.hears(node)
		d.says(node, okay)
		d.hears(c)
	}
	if d.paused[c] {
		t.Error("the client is not read any more")
	}
	d.ended()
}

// TestSmallChunksBehindAnExchange: many chunks that wait behind an exchange are all taken when their turn comes.
func TestSmallChunksBehindAnExchange(t *testing.T) {
	d := play(t, slow)
	c := d.client()
	d.says(c, get+"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
	chunks := 0
	for ; !d.paused[c]; chunks++ {
		d.says(c, "1\r\nx\r\n")
	}
	node := d.node(0)
	d.hears(node)
	d.says(node, okay)
	d.answered(c, "200")
	if got := strings.Count(d.hears(node), "1\r\nx\r\n"); got != chunks || d.paused[c] {
		t.Errorf("node hears %d of %d chunks, client paused %v", got, chunks, d.paused[c])
	}
	d.says(c, "0\r\n\r\n")
	d.says(node, okay)
	d.answered(c, "200")
	d.ended()
}

// TestSlowPeersHoldLittle: however much goes through, what waits for a peer that never quite catches up is bounded.
func TestSlowPeersHoldLittle(t *testing.T) {
	for name, way := range map[string]func(d *script) (from, to *lane.Conn){
		"response": func(d *script) (from, to *lane.Conn) {
			c := d.client()
			d.says(c, get)
			node := d.node(0)
			d.says(node, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
			return node, c
		},
		"request": func(d *script) (from, to *lane.Conn) {
			c := d.client()
			d.says(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
			return c, d.node(0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := play(t, slow)
			from, to := way(d)
			for sent := 0; sent < 64<<20; {
				sent += fill(d, from)
				for d.paused[from] {
					d.takes(to, min(10_000, len(to.Pending())-1))
				}
			}
			if n := cap(to.Pending()); n > 1<<20 {
				t.Errorf("the buffer has grown to %d bytes", n)
			}
		})
	}
}

// TestBodyBehindAnAnswerIsNotBorrowed: the end of a response sets off a request that waited. Its bytes lie in the
// connection's own buffer, which is used again, and not in the driver's.
func TestBodyBehindAnAnswerIsNotBorrowed(t *testing.T) {
	d := play(t, slow)
	c := d.client()
	body := strings.Repeat("first---", 2000)
	d.says(c, get)
	d.says(c, fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	d.says(c, "GET /"+strings.Repeat("n", 8000)+" HTTP/1.1\r\n")
	node := d.node(0)
	d.hears(node)
	d.says(node, "HTTP/1.1 200 OK\r\nContent-Length: 8192\r\n\r\n"+strings.Repeat("y", 8192))
	if _, got, _ := strings.Cut(d.hears(node), "\r\n\r\n"); got != body {
		t.Errorf("node hears a body of %d bytes that is not what the client sent", len(got))
	}
}

// TestSurplusBehindAHead: what a node sends behind a response without a body is the answer to nothing, least of all to
// the request that waits.
func TestSurplusBehindAHead(t *testing.T) {
	for name, c := range map[string]struct{ request, answer string }{
		"HEAD": {"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"},
		"204":  {get, "HTTP/1.1 204 No Content\r\n\r\n"},
		"304":  {get, "HTTP/1.1 304 Not Modified\r\n\r\n"},
		"zero": {get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"body": {get, okay},
	} {
		t.Run(name, func(t *testing.T) {
			d := play(t, slow)
			client := d.client()
			d.says(client, c.request+get)
			node := d.node(0)
			d.hears(node)
			d.says(node, c.answer+"HTTP/1.1 201 Smuggled\r\nContent-Length: 2\r\n\r\nxx")
			text := d.hears(client)
			if strings.Count(text, "HTTP/1.1 ") != 1 || strings.Contains(text, "201") {
				t.Errorf("client hears %q", text)
			}
			if !d.closed[node] {
				t.Error("the connection is kept")
			}
			d.says(d.node(1), okay)
			d.answered(client, "200")
			d.ended()
		})
	}
}

// TestSurplusOnAnIdleConnection ends the connection.
func TestSurplusOnAnIdleConnection(t *testing.T) {
	d := play(t, slow)
	c := d.client()
	d.says(c, get)
	node := d.node(0)
	d.hears(node)
	d.says(node, okay)
	d.says(node, okay)
	if !d.closed[node] {
		t.Error("the connection is kept")
	}
	d.answered(c, "200")
	d.says(c, get)
	d.says(d.node(1), okay)
	d.answered(c, "200")
}

// TestHintsDoNotPileUp: a node may send any number of 103s, and a client need not read them.
func TestHintsDoNotPileUp(t *testing.T) {
	d := play(t, slow)
	c := d.client()
	d.says(c, get)
	node := d.node(0)
	for range 2000 {
		d.says(node, "HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("l", 1000)+"\r\n\r\n")
	}
	if n := len(c.Pending()); n > 300<<10 {
		t.Errorf("%d bytes wait for the client", n)
	}
	d.says(node, okay)
	if text := d.hears(c); !strings.HasSuffix(text, "\r\n\r\nok") {
		t.Errorf("client hears %q at last", text[len(text)-100:])
	}
}

// TestHalfCloseInTheBodyAfterTheAnswer: who stops sending in the middle of a body still gets the answer there is.
func TestHalfCloseInTheBodyAfterTheAnswer(t *testing.T) {
	d := play(t, slow)
	c := d.client()
	d.says(c, "POST /none HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01")
	d.engine.EOF(c)
	d.answered(c, "404")
	d.ended(c)
}

// TestLargeResponsesAllocateNothing: buffers that have grown are kept for the next response.
func TestLargeResponsesAllocateNothing(t *testing.T) {
	for _, size := range []int{16 << 10, 40 << 10} {
		rig := newExchangeRig(t, "", new(lane.Serving))
		rig.response = []byte(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, strings.Repeat("x", size)))
		if _, toClient := rig.exchange(); toClient < size {
			t.Fatalf("client hears %d bytes", toClient)
		}
		if n := testing.AllocsPerRun(100, func() { rig.exchange() }); n != 0 {
			t.Errorf("%v allocations for each response of %d bytes", n, size)
		}
	}
}
