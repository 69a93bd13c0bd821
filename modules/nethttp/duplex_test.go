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

// TestResponseBeforeTheRequestEnds: a node that answers early is heard at once, and the connection's next request is not
// read out of the rest of the body.
func TestResponseBeforeTheRequestEnds(t *testing.T) {
	node := rawNode(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much")
	})
	u := upstreamOf(t, node)
	s := serveRoute(t, &gateway.Route{Upstream: u})
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nthe first of many")
	r := bufio.NewReader(c)
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, response, 413)
	if body, err := io.ReadAll(response.Body); string(body) != "too much" {
		t.Errorf("body %q, %v", body, err)
	}
	_, _ = io.WriteString(c, "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
	if response, err := http.ReadResponse(r, nil); err == nil {
		t.Errorf("the rest of the body was answered: %d", response.StatusCode)
	}
}

func TestDisconnectWithinTheResponse(t *testing.T) {
	for name, more := range map[string]bool{"silent node": false, "talking node": true} {
		t.Run(name, func(t *testing.T) {
			gone := make(chan struct{})
			node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
				defer close(gone)
				_, _ = io.WriteString(w, "first")
				_ = http.NewResponseController(w).Flush()
				for more && r.Context().Err() == nil {
					if _, err := w.Write(make([]byte, 64<<10)); err != nil {
						return
					}
				}
				<-r.Context().Done()
			})
			logged := make(chan int)
			s := serveRoute(t, &gateway.Route{Upstream: upstreamOf(t, node), Chain: chainOf(&hooks{
				log: func(x *gateway.Exchange) { logged <- x.Response.Status },
			})})
			c, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			<-gone
			if status := <-logged; status != 200 {
				t.Errorf("logged %d, want the status that was sent", status)
			}
		})
	}
}
