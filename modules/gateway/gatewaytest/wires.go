// SPDX-License-Identifier: Apache-2.0

package gatewaytest

import (
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/nethttp"
)

func serveNetHTTP(t testing.TB, g *gateway.Gateway) string {
	transports := new(nethttp.Transports)
	server := &http.Server{
		Handler:     nethttp.New(nethttp.Config{Gateway: g, Transports: transports}),
		ConnContext: nethttp.ConnContext, ReadHeaderTimeout: patience,
	}
	l := listen(t)
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(l) }()
	return l.Addr().String()
}

func servePush(t testing.TB, g *gateway.Gateway) string { return startPush(t, g, 32<<10) }

// servePushBytewise feeds every byte by itself: whatever a machine can be in the middle of, it will be.
func servePushBytewise(t testing.TB, g *gateway.Gateway) string { return startPush(t, g, 1) }

func startPush(t testing.TB, g *gateway.Gateway, step int) string {
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d := &driver{g: g, step: step, events: make(chan event), done: make(chan struct{}), conns: map[int]*pipe{}}
			t.Cleanup(func() { _ = c.Close() })
			go d.serve(c)
		}
	}()
	return l.Addr().String()
}

// driver moves bytes between the sockets of one client and a machine.
type driver struct {
	g      *gateway.Gateway
	step   int
	events chan event
	done   chan struct{}
	conns  map[int]*pipe
}

type event struct {
	conn          int
	bytes         []byte
	ended, failed bool
}

// pipe is one socket with a queue in front of it, so that the driver never waits for a peer.
type pipe struct {
	queue chan []byte
}

const maxQueue = 1 << 12

func (d *driver) serve(c net.Conn) {
	defer close(d.done)
	awake := make(chan struct{}, 1)
	peer, local := c.RemoteAddr().(*net.TCPAddr), c.LocalAddr().(*net.TCPAddr)
	m := NewMachine(d.g, peer.AddrPort(), local.AddrPort(), func() {
		select {
		case awake <- struct{}{}:
		default:
		}
	})
	d.open(0, func() (net.Conn, error) { return c, nil })
	for len(d.conns) > 0 || m.Busy() {
		select {
		case <-awake:
			d.perform(m.Wake())
		case e := <-d.events:
			switch {
			case !e.ended:
				for len(e.bytes) > 0 {
					n := min(d.step, len(e.bytes))
					d.perform(m.Feed(e.conn, e.bytes[:n]))
					e.bytes = e.bytes[n:]
				}
			default:
				d.drop(e.conn)
				d.perform(m.Closed(e.conn, !e.failed))
			}
		}
	}
}

func (d *driver) perform(sends []Send) {
	for _, s := range sends {
		if s.Dial != "" {
			d.open(s.Conn, func() (net.Conn, error) { return net.DialTimeout("tcp", s.Dial, patience) })
		}
		if p := d.conns[s.Conn]; p != nil && len(s.Bytes) > 0 {
			p.queue <- s.Bytes
		}
		if s.Close {
			d.drop(s.Conn)
		}
	}
}

func (d *driver) drop(conn int) {
	if p := d.conns[conn]; p != nil {
		close(p.queue)
		delete(d.conns, conn)
	}
}

func (d *driver) open(conn int, dial func() (net.Conn, error)) {
	p := &pipe{queue: make(chan []byte, maxQueue)}
	d.conns[conn] = p
	go func() {
		c, err := dial()
		if err != nil {
			d.tell(event{conn: conn, ended: true, failed: true})
			return
		}
		go d.read(conn, c)
		for b := range p.queue {
			if _, err := c.Write(b); err != nil {
				break
			}
		}
		// The peer sees the end before anything that it sent and nobody reads can turn it into a reset.
		if c, ok := c.(*net.TCPConn); ok {
			_ = c.CloseWrite()
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
		}
	}()
}

func (d *driver) read(conn int, c net.Conn) {
	defer c.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := c.Read(buffer)
		if n > 0 {
			d.tell(event{conn: conn, bytes: append([]byte(nil), buffer[:n]...)})
		}
		if err != nil {
			d.tell(event{conn: conn, ended: true})
			return
		}
	}
}

func (d *driver) tell(e event) {
	select {
	case d.events <- e:
	case <-d.done:
	}
}
