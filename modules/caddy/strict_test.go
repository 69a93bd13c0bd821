// SPDX-License-Identifier: Apache-2.0

package andocaddy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestTwoFramings: a request with Content-Length and Transfer-Encoding is refused, and its connection closed, whoever
// serves it. net/http alone forgives it.
func TestTwoFramings(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	var requests atomic.Int64
	node := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	defer node.Close()
	for _, lane := range []string{"auto", "off"} {
		t.Run(lane, func(t *testing.T) {
			port := freePort(t)
			if err := caddy.Load(gatewayConfig(t, lane, strings.TrimPrefix(node.URL, "http://"), port, freePort(t), "0"), true); err != nil {
				t.Fatal(err)
			}
			defer caddy.Stop()
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG")
			r := bufio.NewReader(conn)
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, res.Body)
			if _, err := r.ReadByte(); res.StatusCode != 400 || err != io.EOF || requests.Load() != 0 {
				t.Errorf("status %d, then %v, and %d requests got to the node", res.StatusCode, err, requests.Load())
			}
		})
	}
}
