// SPDX-License-Identifier: Apache-2.0

package proxybuffering

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{}`, ""},
		{`{"disable_proxy_buffering":true}`, ""},
		{`{"disable_proxy_buffering":1}`, `property "disable_proxy_buffering" validation failed: wrong type: expected boolean, got number`},
	})
}

// TestEventsPass has a node that sends its second event when the client has the first.
func TestEventsPass(t *testing.T) {
	got := make(chan struct{})
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-got
		_, _ = io.WriteString(w, "data: 2\n\n")
	}))
	defer node.Close()
	for _, wire := range gatewaytest.Wires() {
		t.Run(wire.Name, func(t *testing.T) {
			addr := wire.Serve(t, gatewaytest.Open(t, gateway.Object{
				Kind: gateway.Routes, ID: "1", Value: json.RawMessage(
					`{"id":"1","uri":"/*","plugins":{"proxy-buffering":{"disable_proxy_buffering":true}},"upstream":{"nodes":{"` + node.Listener.Addr().String() + `":1}}}`),
			}))
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			// Whatever becomes of this client, the node is not left waiting.
			released := false
			release := func() {
				if !released {
					released = true
					got <- struct{}{}
				}
			}
			defer release()
			r, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			first := make([]byte, len("data: 1\n\n"))
			if _, err := io.ReadFull(r.Body, first); err != nil || string(first) != "data: 1\n\n" {
				t.Fatalf("got %q (%v), want the first event", first, err)
			}
			release()
			if rest, err := io.ReadAll(r.Body); err != nil || string(rest) != "data: 2\n\n" {
				t.Errorf("got %q (%v), want the second event", rest, err)
			}
		})
	}
}
