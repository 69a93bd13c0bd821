// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// ListenerWrapper lets connections outlive configs. Without it a reload ends every keep-alive connection; with it a
// connection stays, and its next request is answered by the newest config. It works best on addresses of the network
// `ando`, such as `ando/:443`, whose sockets outlive configs too: then a reload fails no request and refuses no new
// connection.
//
// Where a server does nothing with requests but hand them to the `ando` handler, it also puts connections on Ando's event
// loops, which serve HTTP/1.1 several times faster than Go's HTTP server; those with TLS on addresses of the network `ando`.
// Access logs and metrics come out as Caddy's. HTTP/2, upgrades such as WebSocket, and servers with other handlers, those
// that change the log among them, stay on Go's server.
//
// Handlers and matchers behave as without it. Plugins that hook into Go's http.Server itself (RegisterConnContext and
// the like of Caddy's Go API) are not seen on its connections.
type ListenerWrapper struct {
	server *caddyhttp.Server
	app    *App
	// direct is set when the server hands every request to the gateway.
	direct *direct
	ctx    caddy.Context
	// listeners are those of the server.
	listeners []*wrappedListener
}

// CaddyModule returns the Caddy module information.
func (*ListenerWrapper) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.ando", New: func() caddy.Module { return new(ListenerWrapper) }}
}

// Provision looks at the server's routes while they are still as configured: listener wrappers are provisioned first.
func (w *ListenerWrapper) Provision(ctx caddy.Context) error {
	w.ctx = ctx
	w.server, _ = ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if w.server == nil {
		return nil
	}
	wrapped.Store(w.server, true)
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	if err := events.(*caddyevents.App).On("started", whenStarted{w}); err != nil {
		return err
	}
	if w.direct = directOf(w.server); w.direct == nil {
		return nil
	}
	w.app, err = appOf(ctx)
	return err
}

// wrapped holds the servers that have this wrapper, so that handlers, which are provisioned later, can say what is missing.
var wrapped sync.Map

// Cleanup forgets the server.
func (w *ListenerWrapper) Cleanup() error {
	wrapped.Delete(w.server)
	return nil
}

// UnmarshalCaddyfile accepts the word `ando` alone.
func (w *ListenerWrapper) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() || d.NextBlock(d.Nesting()) {
		return d.ArgErr()
	}
	return nil
}

// WrapListener makes this config's server the one that answers on the listener's address, until the listener is closed.
func (w *ListenerWrapper) WrapListener(ln net.Listener) net.Listener {
	if w.server == nil {
		return ln
	}
	gen := newPortGeneration(w.server)
	if addr, ok := ln.Addr().(*net.TCPAddr); ok && slices.Contains(w.server.Protocols, "h3") {
		gen.altSvc = fmt.Sprintf(`h3=":%d"; ma=2592000`, addr.Port)
	}
	if w.direct != nil {
		w.serveDirectly(gen)
	}
	if lease, ok := ln.(*lease); ok {
		// Nothing is between the socket and this wrapper: neither TLS nor other wrappers.
		gen.socket = lease.socket
	}
	p := ports.attach(ln.Addr(), gen)
	l := &wrappedListener{Listener: ln, port: p, gen: gen, ended: make(chan struct{})}
	w.listeners = append(w.listeners, l)
	return l
}

// whenStarted lets the server of a wrapper answer when every app of its config has started: Caddy goes on with a server,
// HTTP/3 for one, when it already accepts connections.
type whenStarted struct{ wrapper *ListenerWrapper }

// Handle takes the event that Caddy sends then, from the goroutine that has started the apps.
func (s whenStarted) Handle(context.Context, caddy.Event) error {
	for _, l := range s.wrapper.listeners {
		ports.started(l.port, l.gen)
	}
	return nil
}

// serveDirectly lets lanes serve what the server only hands to the gateway, if they can log and count it as Caddy would.
func (w *ListenerWrapper) serveDirectly(gen *portGeneration) {
	module, err := w.ctx.App("http")
	if err != nil {
		return
	}
	app := module.(*caddyhttp.App)
	for _, server := range app.Servers {
		if server.Metrics != nil {
			// It turns on the metrics of some servers, which depends on the order in which they are provisioned.
			return
		}
	}
	if app.Metrics != nil && w.direct.handler == "" {
		return
	}
	gen.metrics, err = newRequestMetrics(w.ctx, app, w.server, w.direct.handler)
	if err != nil {
		w.ctx.Logger().Warn("event loops cannot count requests in Caddy's metrics; Go's HTTP server serves", zap.Error(err))
		return
	}
	gen.log = newAccessLog(w.server.Logs, w.ctx.Logger(app))
	gen.app, gen.hosts = w.app, w.direct.hosts
}

// wrappedListener gives every connection to the port. Its Accept only ever returns an error, so that Caddy's own server,
// which ends with its config, has no connection.
type wrappedListener struct {
	net.Listener
	port *port
	gen  *portGeneration
	// accepting is set when Accept has been called, ended closed when it has returned.
	accepting atomic.Bool
	ended     chan struct{}
	once      sync.Once
}

func (l *wrappedListener) Accept() (net.Conn, error) {
	l.accepting.Store(true)
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			l.once.Do(func() { close(l.ended) })
			return nil, err
		}
		l.port.take(conn)
	}
}

func (l *wrappedListener) Close() error {
	err := l.Listener.Close()
	if l.accepting.Load() {
		// The last connection, too, is the port's before that ends.
		select {
		case <-l.ended:
		case <-time.After(lastCall):
		}
	}
	ports.detach(l.port, l.gen)
	return err
}

var (
	_ caddy.Provisioner     = (*ListenerWrapper)(nil)
	_ caddy.CleanerUpper    = (*ListenerWrapper)(nil)
	_ caddy.ListenerWrapper = (*ListenerWrapper)(nil)
	_ caddyfile.Unmarshaler = (*ListenerWrapper)(nil)
)
