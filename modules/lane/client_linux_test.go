// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// tcp returns the TCP connection under a client's.
func tcp(conn net.Conn) *net.TCPConn {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return conn.(*net.TCPConn)
}

// TestHalfClose: a client that has said all it will still gets its answers, of pipelined requests too.
func TestHalfClose(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		arrived, release := make(chan bool), make(chan bool)
		node := newBadNode(t, func(c *nodeConn) {
			for c.request() != nil {
				arrived <- true
				<-release
				c.say(okay)
			}
		})
		g := launch(t, driver, plan{nodes: []string{node.addr}}, echo)
		for _, requests := range []int{1, 3} {
			conn := g.dial()
			io.WriteString(conn, strings.Repeat(get, requests))
			<-arrived
			conn.(interface{ CloseWrite() error }).CloseWrite()
			// The loop has seen the end before the node answers.
			g.loop.Conns()
			r := bufio.NewReader(conn)
			for i := range requests {
				if i > 0 {
					<-arrived
				}
				release <- true
				if status, body, err := readFinal(r); status != 200 || body != "ok" || err != nil {
					t.Fatalf("answer %d: %d %q %v", i, status, body, err)
				}
			}
			if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
				t.Errorf("the connection ends with %q, %v", rest, err)
			}
			g.settles(1)
		}
	})
}

// TestClientLeaves: what a client that has gone had asked for ends.
func TestClientLeaves(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		arrived := make(chan bool, 10)
		node := newBadNode(t, func(c *nodeConn) {
			req := c.request()
			if req == nil {
				return
			}
			if req.URL.Path == "/body" {
				c.say(endless + much)
			}
			arrived <- true
			io.Copy(io.Discard, c.r)
		})
		g := launch(t, driver, plan{nodes: []string{node.addr}}, echo)
		leave := map[string]func(conn net.Conn){
			"resets":                 func(conn net.Conn) { tcp(conn).SetLinger(0); tcp(conn).Close() },
			"half-closes and resets": func(conn net.Conn) { tcp(conn).CloseWrite(); g.loop.Conns(); tcp(conn).SetLinger(0); tcp(conn).Close() },
		}
		for name, request := range map[string]string{
			"waiting":   get,
			"pipelined": get + get + post,
			"receiving": strings.Replace(get, "/", "/body", 1),
			"sending":   upload + much,
		} {
			for how, leave := range leave {
				t.Run(name+" "+how, func(t *testing.T) {
					conn := g.dial()
					io.WriteString(conn, request)
					<-arrived
					leave(conn)
					<-node.ended
					g.t = t
					g.settles(0)
				})
			}
		}
	})
}

// TestPipeliningWithErrors: the gateway's own answers, and the end, keep their place among the nodes'.
func TestPipeliningWithErrors(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		g := launch(t, driver, plan{nodes: []string{httpNode(t, echo)}}, echo)
		body := strings.Repeat("0123456789", 3_000)
		var in strings.Builder
		var want []string
		for i := range 30 {
			switch i % 5 {
			case 0:
				fmt.Fprintf(&in, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i)
				want = append(want, fmt.Sprintf("200 GET /%d 0", i))
			case 1:
				fmt.Fprintf(&in, "POST /none/%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body)
				want = append(want, "404")
			case 2:
				fmt.Fprintf(&in, "POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body)
				want = append(want, fmt.Sprintf("200 POST /%d %d", i, len(body)))
			case 3:
				fmt.Fprintf(&in, "PUT /%d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n1\r\nx\r\n0\r\nT: t\r\n\r\n", i, len(body), body)
				want = append(want, fmt.Sprintf("200 PUT /%d %d", i, len(body)+1))
			case 4:
				fmt.Fprintf(&in, "DELETE /none/%d HTTP/1.1\r\nHost: h\r\n\r\n", i)
				want = append(want, "404")
			}
		}
		in.WriteString("GET / HTTP/1.1\r\nHost: a b\r\n\r\n" + get)
		want = append(want, "400")
		for _, piece := range []int{in.Len(), 1009, 70_001} {
			conn := g.dial()
			go func() {
				for rest := in.String(); rest != ""; {
					n := min(piece, len(rest))
					io.WriteString(conn, rest[:n])
					rest = rest[n:]
				}
			}()
			r := bufio.NewReader(conn)
			for i, want := range want {
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatalf("answer %d: %v", i, err)
				}
				text, err := io.ReadAll(res.Body)
				got := fmt.Sprint(res.StatusCode)
				if res.StatusCode == 200 {
					got += fmt.Sprintf(" %s %d", res.Header.Get("X-Saw"), len(text))
				}
				if got != want || err != nil || res.StatusCode == 200 && !strings.HasPrefix(body+"x", string(text)) && !strings.HasSuffix(string(text), "x") {
					t.Fatalf("answer %d is %s, %v, want %s", i, got, err, want)
				}
			}
			if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
				t.Errorf("after a refusal: %q, %v", rest, err)
			}
		}
	})
}

func TestExpectContinue(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		g := launch(t, driver, plan{nodes: []string{httpNode(t, echo)}}, echo)
		head := "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
		t.Run("told to go on", func(t *testing.T) {
			conn := g.dial()
			r := bufio.NewReader(conn)
			for range 3 {
				fmt.Fprintf(conn, head, "/")
				res, err := http.ReadResponse(r, nil)
				if err != nil || res.StatusCode != 100 {
					t.Fatalf("%v, %v", res, err)
				}
				io.WriteString(conn, "hello")
				if status, body, err := readFinal(r); status != 200 || body != "hello" || err != nil {
					t.Fatalf("%d %q %v", status, body, err)
				}
			}
		})
		t.Run("does not wait", func(t *testing.T) {
			conn := g.dial()
			fmt.Fprintf(conn, head+"hello"+get, "/")
			r := bufio.NewReader(conn)
			for _, want := range []string{"hello", ""} {
				if status, body, err := readFinal(r); status != 200 || body != want || err != nil {
					t.Fatalf("%d %q %v", status, body, err)
				}
			}
		})
		t.Run("answered at once", func(t *testing.T) {
			conn := g.dial()
			fmt.Fprintf(conn, head, "/none")
			r := bufio.NewReader(conn)
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != 404 {
				t.Fatalf("%v, %v", res, err)
			}
			io.ReadAll(res.Body)
			// Whether the body follows nobody can tell.
			if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil || !res.Close {
				t.Errorf("the connection goes on with %q, %v", rest, err)
			}
		})
	})
}

func TestOldAndHeadRequests(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
		node := newBadNode(t, func(c *nodeConn) {
			for req := c.request(); req != nil; req = c.request() {
				switch {
				case req.ProtoMinor != 1 || req.Header.Get("Connection") != "":
					t.Errorf("node gets %s, Connection %q", req.Proto, req.Header.Get("Connection"))
				case req.Method == "HEAD":
					c.say("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
				case req.URL.Path == "/chunked":
					c.say(chunked)
				default:
					c.say(okay)
				}
			}
		})
		g := launch(t, driver, plan{nodes: []string{node.addr}}, echo)
		for name, c := range map[string]struct {
			head  string
			stays bool
			body  string
			field string
		}{
			"1.0":                         {"GET / HTTP/1.0\r\n\r\n", false, "ok", "Connection: close"},
			"1.0 that stays":              {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, "ok", "Connection: keep-alive"},
			"1.0 chunked":                 {"GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false, "ok", "Connection: close"},
			"1.1":                         {get, true, "ok", "Content-Length: 2"},
			"1.1 that goes":               {"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false, "ok", "Connection: close"},
			"HEAD":                        {"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", true, "", "Content-Length: 1234"},
			"HEAD of the gateway's own":   {"HEAD /none HTTP/1.1\r\nHost: h\r\n\r\n", true, "", "Content-Length: "},
			"HEAD in 1.0 that stays":      {"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true, "", "Content-Length: 1234"},
			"the gateway's own, 1.0":      {"GET /none HTTP/1.0\r\n\r\n", false, "", "Connection: close"},
			"an old one's keep-alive, no": {"GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, close\r\n\r\n", false, "ok", "Connection: close"},
		} {
			t.Run(name, func(t *testing.T) {
				conn := g.dial()
				r := bufio.NewReader(conn)
				io.WriteString(conn, c.head)
				method, _, _ := strings.Cut(c.head, " ")
				var seen bytes.Buffer
				res, err := http.ReadResponse(bufio.NewReader(io.TeeReader(r, &seen)), &http.Request{Method: method})
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode == 200 && string(body) != c.body || method == "HEAD" && len(body) > 0 {
					t.Errorf("body %q, %v", body, err)
				}
				if !strings.Contains(seen.String(), c.field) {
					t.Errorf("answer %q has no %q", seen.String(), c.field)
				}
				if !c.stays {
					if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
						t.Errorf("the connection goes on with %q, %v", rest, err)
					}
					return
				}
				io.WriteString(conn, get)
				if status, body, err := readFinal(r); status != 200 || body != "ok" || err != nil {
					t.Errorf("next answer: %d %q %v", status, body, err)
				}
			})
		}
	})
}

// TestSlowUploader: a body that comes byte by byte gets through whole.
func TestSlowUploader(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		g := launch(t, driver, plan{nodes: []string{httpNode(t, echo)}}, echo)
		conn := g.dial()
		r := bufio.NewReader(conn)
		body := strings.Repeat("slowly ", 40)
		for _, request := range []string{
			fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
			fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body),
		} {
			for _, b := range []byte(request) {
				conn.Write([]byte{b})
				// Each byte has been through the loop before the next comes.
				g.loop.Conns()
			}
			if status, got, err := readFinal(r); status != 200 || got != body || err != nil {
				t.Errorf("%d %q %v", status, got, err)
			}
		}
	})
}
