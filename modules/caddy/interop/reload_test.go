// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestTunnelsOutliveReloads: a WebSocket goes on while configs come and go, even ones that would not allow it any more.
func TestTunnelsOutliveReloads(t *testing.T) {
	echo := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			w.WriteHeader(http.StatusUpgradeRequired)
			return
		}
		c, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, buffered)
	})
	other := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "other") })
	for _, lane := range []string{"auto", "off"} {
		t.Run(lane, func(t *testing.T) {
			a := start(t, lane, route(to("http", echo)))
			dial := func(config *tls.Config) (net.Conn, *bufio.Reader, int) {
				t.Helper()
				address := a.plain
				if config != nil {
					address = a.secure
				}
				c, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				_ = c.SetDeadline(time.Now().Add(patience))
				if config != nil {
					c = tls.Client(c, config)
				}
				_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				r := bufio.NewReader(c)
				response, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				return c, r, response.StatusCode
			}
			plain, fromPlain, _ := dial(nil)
			secure, fromSecure, _ := dial(a.identity.trusts())
			denied := route(to("http", echo))
			denied.Value.(fields)["enable_websocket"] = false
			for i, objects := range [][]object{
				{route(to("http", echo))},
				{route(to("http", other))},
				{denied},
				nil,
			} {
				a.load(t, objects...)
				for _, tunnel := range []struct {
					io.Writer
					io.Reader
				}{{plain, fromPlain}, {secure, fromSecure}} {
					text := fmt.Sprintf("after reload %d", i)
					if _, err := io.WriteString(tunnel, text); err != nil {
						t.Fatal(err)
					}
					got := make([]byte, len(text))
					if _, err := io.ReadFull(tunnel, got); err != nil || string(got) != text {
						t.Fatalf("got %q, %v, want %q", got, err, text)
					}
				}
			}
			a.load(t, denied)
			if _, _, status := dial(nil); status != http.StatusUpgradeRequired {
				t.Errorf("a tunnel that is not allowed: %d", status)
			}
		})
	}
}
