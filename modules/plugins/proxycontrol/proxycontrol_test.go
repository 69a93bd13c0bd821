// SPDX-License-Identifier: Apache-2.0

package proxycontrol

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{}`, ""},
		{`{"request_buffering":false}`, ""},
		{`{"request_buffering":1}`, `property "request_buffering" validation failed: wrong type: expected boolean, got number`},
	})
}

// TestRequestStreams sends the second half of a body when the node has the first.
func TestRequestStreams(t *testing.T) {
	half := make(chan struct{}, 1)
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first := make([]byte, 5)
		if _, err := io.ReadFull(r.Body, first); err != nil {
			t.Error(err)
		}
		half <- struct{}{}
		rest, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(slices.Concat(first, rest))
	}))
	defer node.Close()
	for _, wire := range gatewaytest.Wires() {
		t.Run(wire.Name, func(t *testing.T) {
			addr := wire.Serve(t, gatewaytest.Open(t, gateway.Object{
				Kind: gateway.Routes, ID: "1", Value: json.RawMessage(
					`{"id":"1","uri":"/*","plugins":{"proxy-control":{"request_buffering":false}},"upstream":{"nodes":{"` + node.Listener.Addr().String() + `":1}}}`),
			}))
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01234"); err != nil {
				t.Fatal(err)
			}
			select {
			case <-half:
			case <-time.After(30 * time.Second):
				t.Fatal("the node was sent nothing of a body that is not complete")
			}
			if _, err := io.WriteString(c, "56789"); err != nil {
				t.Fatal(err)
			}
			r, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(r.Body); err != nil || string(body) != "0123456789" {
				t.Errorf("the node got %q (%v)", body, err)
			}
		})
	}
}
