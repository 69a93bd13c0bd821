// SPDX-License-Identifier: Apache-2.0

package clientcontrol

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{}`, ""},
		{`{"max_body_size":0}`, ""},
		{`{"max_body_size":-1}`, `property "max_body_size" validation failed: expected -1 to be at least 0`},
		{`{"max_body_size":"1"}`, `property "max_body_size" validation failed: wrong type: expected integer, got string`},
	})
}

// TestChunked sends bodies that do not say how long they are. The toy wire knows no chunks.
func TestChunked(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) > 5 {
			t.Errorf("the node got %q (%v)", body, err)
		}
		_, _ = w.Write(body)
	}))
	defer node.Close()
	for _, wire := range gatewaytest.Wires() {
		if strings.HasPrefix(wire.Name, "push") {
			continue
		}
		t.Run(wire.Name, func(t *testing.T) {
			addr := wire.Serve(t, gatewaytest.Open(t, gateway.Object{
				Kind: gateway.Routes, ID: "1", Value: json.RawMessage(
					`{"id":"1","uri":"/*","plugins":{"client-control":{"max_body_size":5}},"upstream":{"nodes":{"` + node.Listener.Addr().String() + `":1}}}`),
			}))
			for chunks, status := range map[string]int{
				"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n":  200,
				"0\r\n\r\n":                         200,
				"6\r\nabcdef\r\n0\r\n\r\n":          413,
				"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n": 413,
			} {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"+chunks); err != nil {
					t.Fatal(err)
				}
				r, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil || r.StatusCode != status {
					t.Errorf("%q: got %v (%v), want status %d", chunks, r, err, status)
				}
			}
		})
	}
}

func TestAllocs(t *testing.T) {
	x := plugintest.Open(t, `{"client-control":{"max_body_size":5}}`)
	for length, step := range map[int64]gateway.Step{0: gateway.StepForward, 5: gateway.StepForward, 6: gateway.StepReply, -1: gateway.StepBody} {
		x.WantAllocs(t, step, 0, func(x *gateway.Exchange) { x.Request.ContentLength = length })
	}
}

func BenchmarkClientControl(b *testing.B) {
	plugintest.Open(b, `{"client-control":{"max_body_size":5}}`).Bench(b, func(x *gateway.Exchange) { x.Request.ContentLength = 5 })
}
