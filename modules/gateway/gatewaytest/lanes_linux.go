// SPDX-License-Identifier: Apache-2.0

package gatewaytest

import (
	"errors"
	"net"
	"net/http"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lane"
	"github.com/andogate/ando/modules/lane/poll"
	"github.com/andogate/ando/modules/lane/ring"
	"github.com/andogate/ando/modules/nethttp"
)

// lanes are the event loops of this system.
var lanes = []Wire{
	{"lane poll", func(t testing.TB, g *gateway.Gateway) string {
		return serveLane(t, g, func(c lane.Config) (lane.Loop, error) { return poll.NewLoop(c) })
	}},
	{"lane ring", func(t testing.TB, g *gateway.Gateway) string {
		return serveLane(t, g, func(c lane.Config) (lane.Loop, error) { return ring.NewLoop(c) })
	}},
}

func serveLane(t testing.TB, g *gateway.Gateway, newLoop func(lane.Config) (lane.Loop, error)) string {
	t.Helper()
	loop, err := newLoop(lane.Config{Limits: &lane.DefaultLimits, Timeouts: &lane.DefaultTimeouts})
	if errors.Is(err, ring.ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { loop.Close(0) })

	// What a lane hands over goes to net/http, as it does in the product.
	handed := &handedOver{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{
		Handler:     nethttp.New(nethttp.Config{Gateway: g, Transports: new(nethttp.Transports)}),
		ConnContext: nethttp.ConnContext, ReadHeaderTimeout: patience,
	}
	go func() { _ = server.Serve(handed) }()
	t.Cleanup(func() { _ = server.Close() })

	site := &lane.Site{HandOver: handed.give}
	site.Serve(&lane.Serving{Gateway: g})
	l := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if !lane.Give(conn, loop, site) {
				conn.Close()
			}
		}
	}()
	return l.Addr().String()
}

// handedOver is a listener of connections that a lane gave away.
type handedOver struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (h *handedOver) give(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.closed:
		_ = conn.Close()
	}
}

func (h *handedOver) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close is called once, by the server.
func (h *handedOver) Close() error {
	close(h.closed)
	return nil
}

func (h *handedOver) Addr() net.Addr { return &net.TCPAddr{} }
