// SPDX-License-Identifier: Apache-2.0

package health

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// TestConnectionsAreKept has which responses leave a connection for the next probe, and that it is used.
func TestConnectionsAreKept(t *testing.T) {
	for _, c := range []struct {
		name, checks, answer string
		want                 bool
	}{
		{"length", `{}`, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true},
		{"chunks", `{}`, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true},
		{"no content", `{}`, "HTTP/1.1 204 No Content\r\n\r\n", true},
		{"HEAD", `{"http_method":"HEAD"}`, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true},
		{"early hints", `{}`, "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true},
		{"told to close", `{}`, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false},
		{"until it closes", `{}`, "HTTP/1.1 200 OK\r\n\r\nok", false},
		{"half a body", `{}`, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok", false},
		{"half the chunks", `{}`, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", false},
		{"more than asked for", `{}`, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1", false},
		{"old HTTP", `{}`, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
		{"long interval", `{"healthy":{"interval":60}}`, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				for {
					conn, err := ln.Accept()
					if err != nil {
						return
					}
					go func() {
						defer conn.Close()
						for in := bufio.NewReader(conn); ; {
							if _, err := http.ReadRequest(in); err != nil {
								return
							}
							_, _ = io.WriteString(conn, c.answer)
						}
					}()
				}
			}()
			node := nodeAt(t, ln.Addr().String())
			checker := upstreamOf(t, `{"active":`+c.checks+`}`, nil, node).Health.(*Checker)
			checker.config.Active.Timeout = patience
			_, reason, first := checker.probe(context.Background(), new(flight), node, nil)
			if !strings.HasPrefix(reason, "status 20") || (first != nil) != c.want {
				t.Fatalf("%s: kept is %v, want %v", reason, first != nil, c.want)
			}
			if first == nil {
				return
			}
			_, reason, second := checker.probe(context.Background(), new(flight), node, first)
			if !strings.HasPrefix(reason, "status 20") || second != first {
				t.Errorf("%s: another connection", reason)
			}
			second.close()
		})
	}
}

// TestKeptConnectionEnds has a node that closes what it takes for idle: the next probe comes on a new connection, and
// nothing has failed. After so many probes there is a new connection anyway.
func TestKeptConnectionEnds(t *testing.T) {
	var connections atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	node := nodeAt(t, s.Listener.Addr().String())
	checker := upstreamOf(t, `{"active":{}}`, nil, node).Health.(*Checker)
	checker.config.Active.Timeout = patience
	var conn *kept
	probe := func() {
		t.Helper()
		var reason string
		if _, reason, conn = checker.probe(context.Background(), new(flight), node, conn); reason != "status 200" {
			t.Fatal(reason)
		}
	}
	probe()
	s.CloseClientConnections()
	probe()
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections, want a second one", n)
	}
	for range 2 * maxKept {
		probe()
	}
	if n := connections.Load(); n != 4 {
		t.Errorf("%d connections after %d probes more, want 4", n, 2*maxKept)
	}
	conn.close()
}

// FuzzWholeResponse compares with the general reader.
func FuzzWholeResponse(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 503 \r\ncontent-length:0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA: b\r\n Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 2000\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		status := wholeResponse(b)
		if status == 0 {
			return
		}
		in := bufio.NewReader(bytes.NewReader(b))
		r, err := http.ReadResponse(in, &http.Request{Method: "GET"})
		if err != nil {
			// What no client would take as a response may have a status all the same.
			return
		}
		_, err = io.Copy(io.Discard, r.Body)
		if got := fmt.Sprint(r.StatusCode, err, in.Buffered()); got != fmt.Sprint(status, nil, 0) && !r.Close {
			t.Errorf("%q: got %d and all of it, want %s", b, status, got)
		}
	})
}
