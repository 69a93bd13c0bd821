// SPDX-License-Identifier: Apache-2.0

package andocaddy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"

	andocaddy "github.com/andogate/ando/modules/caddy"
)

// askOnce makes a request on a connection of its own. It reports false when nobody listens any more.
func askOnce(addr string) (listens bool, err error) {
	conn, err := net.Dial("tcp", addr)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return false, nil
	}
	if err != nil {
		return true, fmt.Errorf("connecting: %w", err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return true, fmt.Errorf("asking: %w", err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return true, fmt.Errorf("reading the answer: %w", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || string(body) != "hello" {
		return true, fmt.Errorf("answer %d %q: %w", res.StatusCode, body, err)
	}
	return true, nil
}

// TestWhoAccepts: loops accept plain connections of addresses of the network themselves, unless something is between the
// socket and the gateway; that can change with each config.
func TestWhoAccepts(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	defer node.Close()
	nodeAddr := strings.TrimPrefix(node.URL, "http://")
	plain, secure := freePort(t), freePort(t)
	addr := fmt.Sprintf("127.0.0.1:%d", plain)
	defer caddy.Stop()
	for i, c := range []struct {
		lane, wrappers, network string
		loops                   bool
	}{
		{"poll", `{"wrapper": "ando"}`, "ando/", true},
		{"poll", `{"wrapper": "proxy_protocol"}, {"wrapper": "ando"}`, "ando/", false},
		{"auto", `{"wrapper": "ando"}`, "ando/", true},
		{"poll", `{"wrapper": "ando"}`, "ando/", true},
		{"off", `{"wrapper": "ando"}`, "ando/", false},
		{"poll", `{"wrapper": "ando"}`, "ando/", true},
		{"poll", ``, "ando/", false},
		{"poll", `{"wrapper": "ando"}`, "ando/", true},
	} {
		config := string(gatewayConfig(t, c.lane, nodeAddr, plain, secure, fmt.Sprint(i)))
		config = strings.Replace(config, `[{"wrapper": "ando"}]`, "["+c.wrappers+"]", 1)
		if err := caddy.Load([]byte(config), true); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if listens, err := askOnce(addr); !listens || err != nil {
				t.Fatalf("config %d: listens %v, %v", i, listens, err)
			}
		}
		if got := andocaddy.LoopsAccept(addr); got != c.loops {
			t.Errorf("config %d: loops accept: %v, want %v", i, got, c.loops)
		}
		if andocaddy.LoopsAccept(fmt.Sprintf("127.0.0.1:%d", secure)) {
			t.Errorf("config %d: loops accept connections that begin with TLS", i)
		}
	}
}

// TestAddressComesBack: a config can have an address that the one before it has just given up.
func TestAddressComesBack(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	plain, other, secure := freePort(t), freePort(t), freePort(t)
	defer caddy.Stop()
	for i := range 6 {
		port := plain
		if i%2 == 1 {
			port = other
		}
		if err := caddy.Load(gatewayConfig(t, "poll", "127.0.0.1:1", port, secure, fmt.Sprint(i)), true); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRemovedAddress: who could still connect to an address that a config removes has an answer.
func TestRemovedAddress(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	defer node.Close()
	nodeAddr := strings.TrimPrefix(node.URL, "http://")
	defer caddy.Stop()
	for _, lane := range []string{"auto", "poll", "off"} {
		t.Run(lane, func(t *testing.T) {
			secure := freePort(t)
			for i := range 5 {
				plain, next := freePort(t), freePort(t)
				addr := fmt.Sprintf("127.0.0.1:%d", plain)
				if err := caddy.Load(gatewayConfig(t, lane, nodeAddr, plain, secure, fmt.Sprint("from", i)), true); err != nil {
					t.Fatal(err)
				}
				var clients sync.WaitGroup
				var answers atomic.Int64
				busy := make(chan struct{})
				for range 8 {
					clients.Go(func() {
						for {
							listens, err := askOnce(addr)
							if err != nil {
								t.Error(err)
							}
							if !listens || err != nil {
								return
							}
							if answers.Add(1) == 50 {
								close(busy)
							}
						}
					})
				}
				<-busy
				if err := caddy.Load(gatewayConfig(t, lane, nodeAddr, next, secure, fmt.Sprint("to", i)), true); err != nil {
					t.Fatal(err)
				}
				clients.Wait()
			}
		})
	}
}
