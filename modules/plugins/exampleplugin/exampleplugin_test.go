// SPDX-License-Identifier: Apache-2.0

package exampleplugin

import (
	"bufio"
	"encoding/json"
	"fmt"
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
		{`{"i":1,"s":"a","t":[1],"ip":"127.0.0.1","port":80}`, ""},
		{`{"i":1,"ip":"127.0.0.1"}`, ""},
		{`{}`, `property "i" is required`},
		{`{"i":-1}`, `property "i" validation failed: expected -1 to be at least 0`},
		{`{"i":"1"}`, `property "i" validation failed: wrong type: expected number, got string`},
		{`{"i":1,"t":[]}`, `property "t" validation failed: expect array to have at least 1 items`},
		{`{"i":1,"ip":"127.0.0.1","port":65536}`, `property "port" validation failed: expected 65536 to be a port from 1 to 65535`},
	})
}

// TestUpstream: with an address the request goes there, whatever the route says, and without to the route's node.
func TestUpstream(t *testing.T) {
	serve := func(text string) *net.TCPAddr {
		node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }))
		t.Cleanup(node.Close)
		return node.Listener.Addr().(*net.TCPAddr)
	}
	routes, plugins := serve("the route's"), serve("the plugin's")
	for _, wire := range gatewaytest.Wires() {
		t.Run(wire.Name, func(t *testing.T) {
			route := func(id, config string) gateway.Object {
				return gateway.Object{Kind: gateway.Routes, ID: id, Value: json.RawMessage(fmt.Sprintf(
					`{"id":"%s","uri":"/%[1]s","plugins":{"example-plugin":%s},"upstream":{"nodes":{"%s":1}}}`, id, config, routes))}
			}
			addr := wire.Serve(t, gatewaytest.Open(t,
				route("1", `{"i":1}`),
				route("2", fmt.Sprintf(`{"i":1,"ip":"%s","port":%d}`, plugins.IP, plugins.Port)),
			))
			for path, want := range map[string]string{"/1": "the route's", "/2": "the plugin's"} {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				r, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				if body, err := io.ReadAll(r.Body); err != nil || string(body) != want {
					t.Errorf("%s: got %q (%v), want %q", path, body, err, want)
				}
			}
		})
	}
}
