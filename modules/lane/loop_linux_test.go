// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

func TestProxy(t *testing.T) { onEach(t, testProxy) }

func testProxy(t *testing.T, driver string) {
	addr := start(t, driver, nil, 5*time.Second, httpNode(t, echo))
	client := &http.Client{Transport: &http.Transport{
		DisableCompression: true,
		DialContext:        func(context.Context, string, string) (net.Conn, error) { return dial(t, driver, addr), nil },
	}}
	defer client.CloseIdleConnections()
	for _, size := range []int{0, 1, 100, 10_000, 70_000, 3 << 20} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes chunked %v", size, chunked), func(t *testing.T) {
				want := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
				var body io.Reader = bytes.NewReader(want)
				if chunked {
					body = struct{ io.Reader }{body}
				}
				req, _ := http.NewRequest("PUT", "http://"+addr+"/a/../b?q=1", body)
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				got, err := io.ReadAll(res.Body)
				if err != nil {
					t.Fatal(err)
				}
				if res.StatusCode != 200 || !bytes.Equal(got, want) {
					t.Errorf("status %d, %d bytes, want 200 and %d", res.StatusCode, len(got), len(want))
				}
				if saw := res.Header.Get("X-Saw"); saw != "PUT /b?q=1" {
					t.Errorf("node saw %q, want the canonical path", saw)
				}
			})
		}
	}
}

func TestPipelining(t *testing.T) { onEach(t, testPipelining) }

func testPipelining(t *testing.T, driver string) {
	addr := start(t, driver, nil, 5*time.Second, httpNode(t, echo))
	var in bytes.Buffer
	for i := range 50 {
		if i%2 == 0 {
			fmt.Fprintf(&in, "GET /%d HTTP/1.1\r\nHost: h\r\n\r\n", i)
		} else {
			fmt.Fprintf(&in, "POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", i)
		}
	}
	for _, piece := range []int{in.Len(), 13, 700} {
		t.Run(fmt.Sprint(piece), func(t *testing.T) {
			conn := dial(t, driver, addr)
			defer conn.Close()
			go func() {
				for rest := in.Bytes(); len(rest) > 0; {
					n := min(piece, len(rest))
					conn.Write(rest[:n])
					rest = rest[n:]
				}
			}()
			r := bufio.NewReader(conn)
			for i := range 50 {
				res, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				want := ""
				method := "GET"
				if i%2 == 1 {
					want, method = "abc", "POST"
				}
				if err != nil || string(body) != want || res.Header.Get("X-Saw") != fmt.Sprintf("%s /%d", method, i) {
					t.Fatalf("answer %d: %q %q %v", i, res.Header.Get("X-Saw"), body, err)
				}
			}
		})
	}
}
