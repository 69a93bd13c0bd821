// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// speak answers an upgrade and then says everything back, as a WebSocket echo would. Other requests it echoes.
func speak(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		echo(w, r)
		return
	}
	conn, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprintf(both, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
	both.Flush()
	for {
		line, err := both.ReadString('\n')
		if err != nil {
			return
		}
		both.WriteString(line)
		both.Flush()
	}
}

// TestHandOver: a connection goes to net/http with everything: the answers that have not been sent, what was read and not
// used, and what comes meanwhile.
func TestHandOver(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		const answers, size = 20, 200_000
		node := newBadNode(t, func(c *nodeConn) {
			for req := c.request(); req != nil; req = c.request() {
				text := strings.Repeat(req.URL.Path[1:2], size)
				c.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, text))
			}
		})
		g := launch(t, driver, plan{nodes: []string{node.addr}}, speak)
		for round := range 5 {
			conn := g.dial()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			tcp(conn).SetReadBuffer(32 << 10)
			for i := range answers {
				fmt.Fprintf(conn, "GET /%c HTTP/1.1\r\nHost: h\r\n\r\n", 'a'+i)
			}
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\nearly\n")
			r := bufio.NewReader(conn)
			for i := range answers {
				status, body, err := readFinal(r)
				if status != 200 || err != nil || body != strings.Repeat(string(rune('a'+i)), size) {
					t.Fatalf("round %d, answer %d: %d, %d bytes, %v", round, i, status, len(body), err)
				}
			}
			if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 101 {
				t.Fatalf("%v, %v", res, err)
			}
			for _, line := range []string{"early\n", "ping\n", strings.Repeat("x", 100_000) + "\n"} {
				if line != "early\n" {
					go io.WriteString(conn, line)
				}
				if got, err := r.ReadString('\n'); got != line || err != nil {
					t.Fatalf("said %d bytes, heard %d, %v", len(line), len(got), err)
				}
			}
			conn.Close()
		}
		g.settles(1)
	})
}

// TestHandOverOfBody: a request for a node that speaks TLS goes over whole, with a body of many reads and TLS records.
func TestHandOverOfBody(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		g := launch(t, driver, plan{nodes: []string{httpNode(t, echo)}}, speak)
		var text strings.Builder
		for i := range 30_000 {
			fmt.Fprintf(&text, "%08x", i)
		}
		body := text.String()
		for range 10 {
			conn := g.dial()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			go func() {
				// TLS clients make a record of each write.
				fmt.Fprintf(conn, "%sPOST /grpc HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", get, len(body), body[:40_000])
				io.WriteString(conn, body[40_000:]+get)
			}()
			r := bufio.NewReader(conn)
			for i, want := range []string{"", body, ""} {
				if status, got, err := readFinal(r); status != 200 || got != want || err != nil {
					t.Fatalf("answer %d: %d, %d bytes, %v", i, status, len(got), err)
				}
			}
			conn.Close()
		}
		g.settles(1)
	})
}

// TestHandOverOfHalfClosed: who upgrades and stops sending is handed over with the end.
func TestHandOverOfHalfClosed(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		arrived, release := make(chan bool), make(chan bool)
		node := newBadNode(t, func(c *nodeConn) {
			c.request()
			arrived <- true
			<-release
			c.say(okay)
			c.serve()
		})
		g := launch(t, driver, plan{nodes: []string{node.addr}}, speak)
		conn := g.dial()
		io.WriteString(conn, get+"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\nlast\n")
		<-arrived
		conn.(interface{ CloseWrite() error }).CloseWrite()
		g.loop.Conns()
		close(release)
		r := bufio.NewReader(conn)
		if status, _, err := readFinal(r); status != 200 {
			t.Fatalf("%d, %v", status, err)
		}
		if res, err := http.ReadResponse(r, nil); err != nil || res.StatusCode != 101 {
			t.Fatalf("%v, %v", res, err)
		}
		if rest, err := io.ReadAll(r); string(rest) != "last\n" || err != nil {
			t.Errorf("heard %q, %v", rest, err)
		}
	})
}
