// SPDX-License-Identifier: Apache-2.0

// Package nethttp serves exchanges on net/http.
package nethttp

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/andogate/ando/modules/gateway"
)

// Config is what a Server is made of.
type Config struct {
	Gateway *gateway.Gateway
	// Transports hold the connections to nodes; a server without makes its own. Servers share them to share the
	// connections, and to keep them when one server takes the place of another.
	Transports *Transports
	// ClientAddr says who sent a request, where something trusted knows better than the connection; it returns the zero
	// Addr where not. nil is the same as never.
	ClientAddr func(r *http.Request) netip.Addr
	// Ended is called when an exchange is over, before its response is known to have reached the client; nil is nobody.
	// Both arguments are only valid during the call.
	Ended func(r *http.Request, x *gateway.Exchange)
}

// Server is the gateway as an http.Handler: it matches requests to routes, runs their plugins and forwards to their
// nodes. It is safe for concurrent use.
//
// Give the http.Server around it [ConnContext], and requests of one HTTP/1.1 connection share one exchange with its
// memory of the last match.
type Server struct {
	gateway    *gateway.Gateway
	transports *Transports
	clientAddr func(r *http.Request) netip.Addr
	ended      func(r *http.Request, x *gateway.Exchange)
	// inner says that the server answers one subrequest.
	inner bool
}

// New returns a server for cfg.Gateway, which is required.
func New(cfg Config) *Server {
	s := &Server{gateway: cfg.Gateway, transports: cfg.Transports, clientAddr: cfg.ClientAddr, ended: cfg.Ended}
	if s.transports == nil {
		s.transports = new(Transports)
	}
	return s
}

// ServeHTTP serves one request. It panics with http.ErrAbortHandler when a response that has begun cannot be completed,
// so that the client does not take it for whole.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.serve(w, r, nil) }

// ServeRoute serves one request by a route that is not in the table, without global rules.
func (s *Server) ServeRoute(w http.ResponseWriter, r *http.Request, route *gateway.Route) {
	s.serve(w, r, route)
}

// LoadBalancer is a handler that forwards every request to the nodes of one upstream.
type LoadBalancer struct {
	server *Server
	route  *gateway.Route
}

// LoadBalancer returns a handler that forwards to the upstream, WebSocket included.
func (s *Server) LoadBalancer(upstream *gateway.Upstream) *LoadBalancer {
	return &LoadBalancer{s, &gateway.Route{Upstream: upstream, Websocket: true}}
}

func (l *LoadBalancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.server.serve(w, r, l.route)
}

func (s *Server) serve(rw http.ResponseWriter, r *http.Request, route *gateway.Route) {
	w := take(s, rw, r)
	w.begin(route)
	defer w.release()
	w.run()
}

// begin fills in the exchange and starts it. Without a route one is matched.
func (w *wire) begin(route *gateway.Route) {
	ok := w.fill()
	if route == nil {
		w.server.gateway.Begin(&w.x, w)
	} else {
		w.server.gateway.BeginRoute(&w.x, w, route)
	}
	if known, _ := w.r.Context().Value(identityKey{}).(*identity); known != nil {
		w.x.AttachConsumer(&known.consumer, known.credential)
	}
	w.refused, w.x.IsSubrequest = !ok, w.server.inner
}

// connection is what one client connection keeps from request to request.
type connection struct{ idle atomic.Pointer[wire] }

type connectionKey struct{}

// ConnContext is for http.Server.ConnContext. It makes room for the connection's exchange.
func ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, new(connection))
}

var wires = sync.Pool{New: func() any { return new(wire) }}

// take returns a wire for the request: the connection's own when it is free. A stream of HTTP/2 or 3 has no connection
// to itself, and neither has the second of two handlers of one request.
func take(s *Server, rw http.ResponseWriter, r *http.Request) *wire {
	var w *wire
	home, _ := r.Context().Value(connectionKey{}).(*connection)
	if r.ProtoMajor != 1 {
		home = nil
	}
	if home != nil {
		w = home.idle.Swap(nil)
	}
	if w == nil {
		w = wires.Get().(*wire)
	}
	w.server, w.home, w.w, w.r = s, home, rw, r
	return w
}

// release ends the exchange and gives the wire back. It is deferred, and lets go of nodes and runs the log hooks after
// a panic as well; the wire is then not used again.
func (w *wire) release() {
	p := recover()
	w.x.Finish()
	if ended := w.server.ended; ended != nil {
		ended(w.r, &w.x)
	}
	abort, home := w.abort, w.home
	if p != nil {
		panic(p)
	}
	w.x.Reset()
	*w = wire{x: w.x}
	if home == nil || !home.idle.CompareAndSwap(nil, w) {
		wires.Put(w)
	}
	if abort {
		panic(http.ErrAbortHandler)
	}
}
