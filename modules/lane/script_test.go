// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lane"
)

// script is a driver whose peers, and whose clock, are the test.
type script struct {
	t      testing.TB
	engine *lane.Engine
	site   *lane.Site
	nodes  []*gateway.Node
	clock  time.Time

	dialled []*lane.Conn
	// queued is what the driver has taken and not sent. Like the kernel it looks at the bytes when they are sent.
	queued               map[*lane.Conn][][]byte
	closed, shut, paused map[*lane.Conn]bool
}

func play(t testing.TB, p plan) *script {
	t.Helper()
	d := &script{
		t: t, site: new(lane.Site), queued: map[*lane.Conn][][]byte{},
		closed: map[*lane.Conn]bool{}, shut: map[*lane.Conn]bool{}, paused: map[*lane.Conn]bool{},
	}
	if len(p.nodes) == 0 {
		p.nodes = []string{"127.0.0.1:1"}
	}
	g, nodes := p.open(t)
	t.Cleanup(func() { g.Close() })
	d.nodes = nodes
	d.site.Serve(&lane.Serving{Gateway: g})
	d.engine = lane.NewEngine(d, lane.Config{Limits: &p.limits, Timeouts: &p.timeouts})
	d.clock = time.Now()
	return d
}

func (d *script) Dial(c *lane.Conn, _ netip.AddrPort) error {
	d.dialled = append(d.dialled, c)
	return nil
}
func (d *script) Flush(*lane.Conn) {}
func (d *script) Borrow(c *lane.Conn, b []byte) int {
	d.queued[c] = append(d.queued[c], c.TakePending(), b)
	c.Took(len(b))
	return len(b)
}
func (d *script) Pause(c *lane.Conn)          { d.paused[c] = true }
func (d *script) Resume(c *lane.Conn)         { d.paused[c] = false }
func (d *script) CloseWrite(c *lane.Conn)     { d.shut[c] = true }
func (d *script) Close(c *lane.Conn)          { d.closed[c] = true }
func (d *script) HandOver(*lane.Conn, []byte) { d.t.Error("handed over") }
func (d *script) Post(func())                 { d.t.Error("posted") }

// client connects a client.
func (d *script) client() *lane.Conn {
	c := new(lane.Conn)
	d.engine.Accept(c, &lane.Client{
		Remote: netip.MustParseAddrPort("192.0.2.1:4000"), Local: netip.MustParseAddrPort("192.0.2.2:9080"), Site: d.site,
	})
	return c
}

// node completes the n-th dial, counted from 0, and returns its connection.
func (d *script) node(n int) *lane.Conn {
	d.t.Helper()
	if n >= len(d.dialled) {
		d.t.Fatalf("dial %d has not been made", n)
	}
	d.engine.Connected(d.dialled[n], nil)
	return d.dialled[n]
}

// says has a peer send.
func (d *script) says(c *lane.Conn, text string) { d.engine.Data(c, []byte(text)) }

// hears takes everything that was sent to a peer.
func (d *script) hears(c *lane.Conn) string {
	d.queued[c] = append(d.queued[c], c.TakePending())
	var b []byte
	for _, piece := range d.queued[c] {
		b = append(b, piece...)
	}
	delete(d.queued, c)
	if len(b) > 0 {
		d.engine.Sent(c, len(b))
	}
	return string(b)
}

// takes has the socket of a peer take n bytes of what is pending.
func (d *script) takes(c *lane.Conn, n int) string {
	d.t.Helper()
	pending := c.Pending()
	if len(pending) < n {
		d.t.Fatalf("%d bytes are pending, want %d", len(pending), n)
	}
	text := string(pending[:n])
	d.engine.Sent(c, n)
	return text
}

// pass lets seconds go by.
func (d *script) pass(seconds int) {
	for range seconds {
		d.clock = d.clock.Add(time.Second)
		d.engine.Tick(d.clock)
		d.engine.Sweep()
	}
}

// answered checks the status of everything c hears next.
func (d *script) answered(c *lane.Conn, statuses ...string) string {
	d.t.Helper()
	text := d.hears(c)
	rest := text
	for _, status := range statuses {
		i := strings.Index(rest, "HTTP/1.1 "+status+" ")
		if i < 0 {
			d.t.Fatalf("client hears %q, want statuses %v", text, statuses)
		}
		rest = rest[i+1:]
	}
	if strings.Contains(rest, "HTTP/1.1 ") || len(statuses) == 0 && text != "" {
		d.t.Fatalf("client hears %q, want statuses %v", text, statuses)
	}
	return text
}

// ended checks that nothing is left of an exchange.
func (d *script) ended(conns ...*lane.Conn) {
	d.t.Helper()
	for i, c := range conns {
		if !d.closed[c] {
			d.t.Errorf("connection %d is open", i)
		}
	}
	if n := inFlight(d.nodes); n != 0 {
		d.t.Errorf("%d attempts are in flight", n)
	}
}

const (
	get     = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	post    = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
	upload  = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n"
	okay    = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	endless = "HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n"
)

// much is a piece of a long body, too short to be borrowed.
var much = strings.Repeat("0123456789abcdef", 4000>>4)
