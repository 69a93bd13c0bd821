// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// upgrading is a node that agrees to switch, says hello and then echoes.
func upgrading(t testing.TB) string {
	return rawNode(t, func(c net.Conn, r *bufio.Reader) {
		request, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		if request.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(c, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-Websocket-Accept: "+request.Header.Get("Sec-Websocket-Key")+"\r\n\r\nhello")
		_, _ = io.Copy(c, r)
	})
}

const upgradeRequest = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Key: k\r\n\r\nearly"

func dialUpgrade(t testing.TB, addr string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, upgradeRequest); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, r, response
}

func expect(t testing.TB, r io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

func TestUpgrade(t *testing.T) {
	u := upstreamOf(t, upgrading(t))
	logged := make(chan int, 1)
	s := serveRoute(t, &gateway.Route{Upstream: u, Websocket: true, Chain: chainOf(&hooks{
		filterHeader: func(x *gateway.Exchange) { x.Response.Header.Set("X-Filtered", "1") },
		log:          func(x *gateway.Exchange) { logged <- x.Response.Status },
	})})
	c, r, response := dialUpgrade(t, s.Listener.Addr().String())
	wantStatus(t, response, 101)
	for name, want := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Accept": "k", "X-Filtered": "1",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s %q, want %q", name, got, want)
		}
	}
	expect(t, r, "hello")
	expect(t, r, "early")
	for _, text := range []string{"a", "bc", "def"} {
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		expect(t, r, text)
	}
	if n := u.Nodes[0].State.InFlight.Load(); n != 1 {
		t.Errorf("%d attempts under way, want the tunnel", n)
	}
	_ = c.Close()
	if status := <-logged; status != 101 {
		t.Errorf("logged %d", status)
	}
}

func TestUpgradeOnlyWhereTheRouteSaysSo(t *testing.T) {
	s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, upgrading(t))})
	_, _, response := dialUpgrade(t, s.Listener.Addr().String())
	wantStatus(t, response, 426)
}

func TestIdleTunnelEnds(t *testing.T) {
	u := upstreamOf(t, upgrading(t))
	s := serveRoute(t, &gateway.Route{Upstream: u, Websocket: true, Timeout: gateway.Timeout{Read: 30 * time.Millisecond}})
	_, r, response := dialUpgrade(t, s.Listener.Addr().String())
	wantStatus(t, response, 101)
	if got, _ := io.ReadAll(r); string(got) != "helloearly" {
		t.Errorf("got %q", got)
	}
}

func TestTunnelEndsWithTheNode(t *testing.T) {
	node := rawNode(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nbye")
	})
	s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node), Websocket: true})
	_, r, _ := dialUpgrade(t, s.Listener.Addr().String())
	if got, _ := io.ReadAll(r); string(got) != "bye" {
		t.Errorf("got %q", got)
	}
}
