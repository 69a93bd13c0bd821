// SPDX-License-Identifier: Apache-2.0

package gatewaytest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/standard"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

// waiter is a plugin that waits, and says so to the node; with Reads it also reads the body while it waits. Where there is
// a gate it says that it stands there, and waits until it opens.
type waiter struct{ Reads bool }

type gate struct{ reached, open chan struct{} }

func newGate() *gate { return &gate{make(chan struct{}), make(chan struct{})} }

var gates atomic.Pointer[gate]

func (w *waiter) Rewrite(x *gateway.Exchange) gateway.Verdict {
	if gate := gates.Load(); gate != nil {
		gate.reached <- struct{}{}
		select {
		case <-gate.open:
		case <-x.Context().Done():
		}
	}
	x.Request.Header.Set("X-Waited", "yes")
	if w.Reads {
		body, err := x.Body()
		if err != nil {
			return x.Exit(http.StatusBadRequest, nil)
		}
		x.Request.Header.Set("X-Read", fmt.Sprint(len(body)))
	}
	return gateway.Continue
}

// shouter is a plugin that forwards the body in capitals, if it is not too long.
type shouter struct{ Limit int64 }

func (s *shouter) ReadsBody() int64 { return s.Limit }

func (s *shouter) Access(x *gateway.Exchange) gateway.Verdict {
	body, err := x.Body()
	if err != nil {
		return x.Exit(http.StatusRequestEntityTooLarge, nil)
	}
	x.ReplaceBody(bytes.ToUpper(body))
	return gateway.Continue
}

func init() {
	for name, instance := range map[string]func() any{
		"test-wait": func() any { return new(waiter) }, "test-shout": func() any { return new(shouter) },
	} {
		gateway.RegisterPlugin(&gateway.Plugin{
			Name: name, Priority: 1, Blocking: name == "test-wait", Schema: json.RawMessage(`{"type":"object"}`),
			New: func(_ gateway.Env, config json.RawMessage) (any, error) {
				i := instance()
				return i, json.Unmarshal(config, i)
			},
		})
	}
}

func object(kind gateway.Kind, id, value string) gateway.Object {
	return gateway.Object{Kind: kind, ID: id, Value: json.RawMessage(value)}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPipelining sends requests of every kind in one write; the answers come in order.
func TestPipelining(t *testing.T) {
	node := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.RequestURI, body)
	}), ReadHeaderTimeout: time.Minute}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = node.Serve(l) }()
	defer node.Close()
	for _, wire := range gatewaytest.Wires() {
		t.Run(wire.Name, func(t *testing.T) {
			g := gatewaytest.Open(t,
				object(gateway.Routes, "1", `{"id":"1","uri":"/n/*","upstream":{"nodes":{"`+l.Addr().String()+`":1}}}`),
				object(gateway.Routes, "2", `{"id":"2","uri":"/w/*","plugins":{"test-wait":{},"test-shout":{"limit":99}},"upstream":{"nodes":{"`+l.Addr().String()+`":1}}}`),
				object(gateway.Routes, "3", `{"id":"3","uri":"/k/*","plugins":{"key-auth":{}}}`),
			)
			c := dial(t, wire.Serve(t, g))
			requests := []string{
				"GET /n/1 HTTP/1.1\r\nHost: h\r\n\r\n",
				"POST /k/2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
				"POST /w/3 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
				"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n",
				"POST /n/5 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nworld",
			}
			want := []string{"/n/1 ", `{"message":"Missing API key in request"}` + "\n", "/w/3 HELLO", `{"error_msg":"404 Route Not Found"}` + "\n", "/n/5 world"}
			if _, err := io.WriteString(c, strings.Join(requests, "")); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(c)
			for i := range want {
				r, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatalf("response %d: %v", i+1, err)
				}
				body, err := io.ReadAll(r.Body)
				if err != nil || string(body) != want[i] {
					t.Errorf("response %d: got %q (%v), want %q", i+1, body, err, want[i])
				}
			}
		})
	}
}

// TestParked: while a hook waits, the connection's other bytes wait, and a client that goes ends the wait.
func TestParked(t *testing.T) {
	for _, wire := range gatewaytest.Wires() {
		t.Run(wire.Name, func(t *testing.T) {
			first, second := newGate(), newGate()
			gates.Store(first)
			defer gates.Store(nil)
			logged := make(chan int, 4)
			onLog.Store(&logged)
			g := gatewaytest.Open(t,
				object(gateway.Routes, "1", `{"id":"1","uri":"/*","plugins":{"test-wait":{},"test-log":{}}}`),
			)
			addr := wire.Serve(t, g)
			c := dial(t, addr)
			if _, err := io.WriteString(c, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			<-first.reached
			close(first.open)
			r, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || r.StatusCode != http.StatusServiceUnavailable || <-logged != http.StatusServiceUnavailable {
				t.Fatalf("got %v (%v), want 503: there is no node", r, err)
			}

			gates.Store(second)
			c = dial(t, addr)
			if _, err := io.WriteString(c, "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			<-second.reached
			// A reset: to a mere end of its input a wire may still answer.
			if err := c.(*net.TCPConn).SetLinger(0); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			// net/http's hooks run on, and say what they would have said.
			if got := <-logged; got != 499 && wire.Name != "net/http" {
				t.Errorf("logged status %d, want 499", got)
			}
		})
	}
}

// logger tells the test what was logged.
type logger struct{}

var onLog atomic.Pointer[chan int]

func (logger) Log(x *gateway.Exchange) { *onLog.Load() <- x.Response.Status }

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: "test-log", Schema: json.RawMessage(`{"type":"object"}`),
		New: func(gateway.Env, json.RawMessage) (any, error) { return logger{}, nil },
	})
}
