// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lane"
)

// TestBlame: the record of an exchange that went wrong says who failed, and where.
func TestBlame(t *testing.T) { onEach(t, testBlame) }

func testBlame(t *testing.T, driver string) {
	const sized = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
	for _, c := range []struct {
		name, request string
		// leaves: the client goes when the node has the request, or when it has sent it where nothing reaches a node.
		leaves, refuses bool
		do              func(c *nodeConn)
		status          int
		blame           gateway.Blame
	}{
		{"nothing", get, false, false, (*nodeConn).serve, 200, gateway.Blame{}},
		{"no route", strings.Replace(get, "/", "/none", 1), false, false, nil, 404, gateway.Blame{
			By: gateway.ByClient, Phase: gateway.PhaseMatch, Reason: "no route",
		}},
		{"not HTTP", "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", false, false, nil, 400, gateway.Blame{
			By: gateway.ByClient, Phase: gateway.PhaseHead, Reason: "Host is repeated",
		}},
		{"a head that does not end", "GET / HTTP/1.1\r\n", false, false, nil, 408, gateway.Blame{
			By: gateway.ByClient, Phase: gateway.PhaseHead, Reason: "request head took too long",
		}},
		{"a bad chunk", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx", false, false, (*nodeConn).serve, 400, gateway.Blame{
			By: gateway.ByClient, Phase: gateway.PhaseBody, Reason: "malformed chunk",
		}},
		{"a client that leaves in its body", sized, true, false, (*nodeConn).serve, 499, gateway.Blame{
			By: gateway.ByClient, Phase: gateway.PhaseBody, Reason: "client has gone, or takes nothing",
		}},
		{"a client that does not wait", get, true, false, func(c *nodeConn) {
			c.request()
			c.Read(make([]byte, 1))
		}, 499, gateway.Blame{By: gateway.ByClient, Phase: gateway.PhaseWait, Reason: "client has gone, or takes nothing"}},
		{"a node that is not there", get, false, true, nil, 502, gateway.Blame{
			By: gateway.ByUpstream, Phase: gateway.PhaseConnect, Reason: "no connection",
		}},
		{"a node that closes", get, false, false, func(c *nodeConn) { c.request() }, 502, gateway.Blame{
			By: gateway.ByUpstream, Phase: gateway.PhaseWait, Reason: "connection broke or answer is not HTTP",
		}},
		{"a node that closes in the request", sized, false, false, func(c *nodeConn) { c.request() }, 502, gateway.Blame{
			By: gateway.ByUpstream, Phase: gateway.PhaseSend, Reason: "connection broke or answer is not HTTP",
		}},
		{"a node that says nothing", get, false, false, func(c *nodeConn) {
			c.request()
			c.Read(make([]byte, 1))
		}, 504, gateway.Blame{By: gateway.ByUpstream, Phase: gateway.PhaseWait, Reason: "timeout"}},
		{"a node that fails", get, false, false, func(c *nodeConn) {
			c.request()
			c.say("HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n")
		}, 500, gateway.Blame{By: gateway.ByUpstream, Phase: gateway.PhaseAnswer}},
		{"a node that breaks off", get, false, false, func(c *nodeConn) {
			c.request()
			c.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
		}, 200, gateway.Blame{By: gateway.ByUpstream, Phase: gateway.PhaseReceive, Reason: "connection broke or answer is not HTTP"}},
		{"a node that breaks off without a length", get, false, false, func(c *nodeConn) {
			c.request()
			c.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal")
		}, 200, gateway.Blame{By: gateway.ByUpstream, Phase: gateway.PhaseReceive, Reason: "connection broke or answer is not HTTP"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			began := make(chan bool, 1)
			if c.do == nil {
				c.do = (*nodeConn).serve
			}
			node := newBadNode(t, func(conn *nodeConn) {
				if _, err := conn.r.Peek(1); err == nil {
					began <- true
				}
				c.do(conn)
			})
			addr := node.addr
			if c.refuses {
				addr = "127.0.0.1:1"
			}
			records := make(chan string, 10)
			timeouts := lane.Timeouts{Idle: 60, Head: 1, Body: 1, Write: 60, Linger: 1}
			g := launch(t, driver, plan{nodes: []string{addr}, timeouts: timeouts, timeout: time.Second, log: func(r *lane.Record) {
				records <- fmt.Sprintf("%d %+v", r.Status, r.Blame)
			}}, echo)
			conn := g.dial()
			io.WriteString(conn, c.request)
			if c.leaves {
				<-began
				// It does not half-close, as one that waits for its answer may.
				tcp(conn).SetLinger(0)
				conn.Close()
			}
			if got, want := <-records, fmt.Sprintf("%d %+v", c.status, c.blame); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			conn.Close()
		})
	}
}
