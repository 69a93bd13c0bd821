// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/andogate/ando/modules/lane"
	"github.com/andogate/ando/modules/nethttp"
)

// port is one listening address with its connections. It outlives configs: the newest that is still alive answers.
type port struct {
	key  string
	site lane.Site
	// newest is never nil. After the last config has gone it answers what is under way.
	newest atomic.Pointer[portGeneration]

	// The rest is guarded by ports.mu. socket is the one that loops accept from, if they do.
	generations []*portGeneration
	server      *portServer
	socket      *socket
}

// portGeneration is one config's share in a port.
type portGeneration struct {
	server *caddyhttp.Server
	// ready is closed when everything in the config has started, or when the generation ends. Until then a config is not
	// done with its server, and what answered before goes on; without one, requests wait.
	ready chan struct{}
	begin func()
	// app is set when the server hands requests to the gateway alone, so that lanes may serve its connections; hosts are
	// those for which it does, nil for all.
	app   *App
	hosts *lane.Hosts
	// altSvc tells clients that the server speaks HTTP/3 as well.
	altSvc string
	// metrics and log are where lanes count and log what they serve; nil for nowhere.
	metrics *requestMetrics
	log     *accessLog
	// lane is the generation as lanes see it, once they have seen it. It is guarded by ports.mu.
	lane *lane.Serving
	// socket is where its connections come from when nothing is in between, so that loops may accept them themselves.
	socket *socket
}

func newPortGeneration(server *caddyhttp.Server) *portGeneration {
	gen := &portGeneration{server: server, ready: make(chan struct{})}
	gen.begin = sync.OnceFunc(func() { close(gen.ready) })
	return gen
}

type portTable struct {
	mu        sync.Mutex
	byAddress map[string]*port
}

var ports = portTable{byAddress: map[string]*port{}}

// attach makes gen the newest generation of its address.
func (t *portTable) attach(addr net.Addr, gen *portGeneration) *port {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := addr.Network() + "/" + addr.String()
	p := t.byAddress[key]
	if p == nil {
		p = &port{key: key}
		p.site.HandOver = p.serve
		t.byAddress[key] = p
	}
	p.generations = append(p.generations, gen)
	p.update()
	return p
}

// detach takes a generation away: that of a config that ends, or one that was given up because another of its apps did
// not start. When it was the last, connections end with their present request.
func (t *portTable) detach(p *port, gen *portGeneration) {
	t.remove(p, gen)
	gen.begin()
	if gen.lane != nil {
		gen.lane.Flush(flushTime)
	}
}

func (t *portTable) remove(p *port, gen *portGeneration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(p.generations, gen)
	if i < 0 {
		return
	}
	p.generations = slices.Delete(p.generations, i, i+1)
	if len(p.generations) > 0 {
		p.update()
		return
	}
	delete(t.byAddress, p.key)
	p.acceptFrom(nil, nil)
	p.site.SetClosing(true)
	go p.server.drain()
}

// flush waits, but not for long, until what lanes have served for the app's config is in its logs, which may be about to
// be closed.
func (t *portTable) flush(app *App) {
	t.mu.Lock()
	var served []*lane.Serving
	for _, p := range t.byAddress {
		for _, gen := range p.generations {
			if gen.app == app && gen.lane != nil {
				served = append(served, gen.lane)
			}
		}
	}
	t.mu.Unlock()
	for _, serving := range served {
		serving.Flush(flushTime)
	}
}

// flushTime bounds how long the lines of a config's requests are waited for when it ends.
const flushTime = time.Second

// started lets a generation answer: its config has started.
func (t *portTable) started(p *port, gen *portGeneration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	gen.begin()
	if slices.Contains(p.generations, gen) {
		p.update()
	}
}

// update makes the newest generation that is ready answer, or the newest of all. It is called with ports.mu held.
func (p *port) update() {
	gen := p.generations[len(p.generations)-1]
	for _, g := range slices.Backward(p.generations) {
		if g.isReady() {
			gen = g
			break
		}
	}
	p.newest.Store(gen)
	if settings := settingsOf(gen.server); p.server == nil || p.server.settings != settings {
		// Connections of the server before go on with what they began with.
		p.server = newPortServer(p, settings)
	}
	if !gen.isReady() || gen.app == nil || gen.app.running == nil || gen.app.lanes == nil {
		p.acceptFrom(nil, nil)
		p.site.Serve(nil)
		return
	}
	if gen.lane == nil {
		gen.lane = gen.serving()
	}
	p.site.Serve(gen.lane)
	p.acceptFrom(gen.socket, gen.app.lanes)
}

// acceptFrom has loops accept connections from a socket, and from no other; nil is none at all.
func (p *port) acceptFrom(s *socket, loops *laneSet) {
	if p.socket != nil && p.socket != s {
		p.socket.leasesAccept(p)
	}
	if p.socket = s; s != nil {
		s.loopsAccept(loops, p)
	}
}

// serving is the generation as lanes see it.
func (gen *portGeneration) serving() *lane.Serving {
	serving := &lane.Serving{Gateway: gen.app.running.gateway, Hosts: gen.hosts, AltSvc: gen.altSvc}
	if gen.metrics != nil {
		serving.Metrics = gen.metrics
	}
	if gen.log != nil {
		serving.Log = gen.log.write
	}
	return serving
}

// take finds a place for a new connection.
func (p *port) take(conn net.Conn) {
	gen := p.newest.Load()
	secure, ok := conn.(*tls.Conn)
	if !ok {
		if !gen.laneTakes(conn, &p.site) {
			p.serve(conn)
		}
		return
	}
	go func() {
		// A handshake waits for the client, which may never go on.
		ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
		defer cancel()
		if secure.HandshakeContext(ctx) != nil {
			_ = secure.Close()
			return
		}
		if secure.ConnectionState().NegotiatedProtocol == "h2" || !gen.laneTakes(secure, &p.site) {
			p.serve(secure)
		}
	}()
}

// handshakeTime bounds a TLS handshake.
const handshakeTime = 10 * time.Second

// laneTakes moves a connection into a loop if this generation is ready and has any.
func (gen *portGeneration) laneTakes(conn net.Conn, site *lane.Site) bool {
	return gen.app != nil && gen.isReady() && gen.app.lanes != nil && gen.app.lanes.take(conn, site)
}

func (gen *portGeneration) isReady() bool {
	select {
	case <-gen.ready:
		return true
	default:
		return false
	}
}

// serve gives a connection to net/http.
func (p *port) serve(conn net.Conn) {
	if socket, ok := conn.(*lane.Socket); ok {
		conn = socket.TCPConn
	}
	if secure, ok := conn.(*tls.Conn); !ok || secure.ConnectionState().NegotiatedProtocol != "h2" {
		conn = lane.Strict(conn)
	}
	ports.mu.Lock()
	server := p.server
	ports.mu.Unlock()
	server.give(conn)
}

// serverSettings are what Go's server is made with. A config that changes them gets a new server for new connections.
type serverSettings struct {
	readHeader, read, write, idle time.Duration
	maxHeader                     int
	h1, h2, h2c                   bool
}

func settingsOf(s *caddyhttp.Server) serverSettings {
	return serverSettings{
		readHeader: time.Duration(s.ReadHeaderTimeout), read: time.Duration(s.ReadTimeout),
		write: time.Duration(s.WriteTimeout), idle: time.Duration(s.IdleTimeout), maxHeader: s.MaxHeaderBytes,
		h1: slices.Contains(s.Protocols, "h1"), h2: slices.Contains(s.Protocols, "h2"),
		h2c: slices.Contains(s.Protocols, "h2c"),
	}
}

// portServer is a net/http server whose connections outlive configs.
type portServer struct {
	settings serverSettings
	conns    chan net.Conn
	closed   chan struct{}
	once     sync.Once
	http     *http.Server
	// open counts the connections that are its.
	open atomic.Int64
}

func newPortServer(p *port, settings serverSettings) *portServer {
	s := &portServer{settings: settings, conns: make(chan net.Conn), closed: make(chan struct{})}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(settings.h1)
	protocols.SetHTTP2(settings.h2)
	protocols.SetUnencryptedHTTP2(settings.h2c)
	s.http = &http.Server{
		Handler:           http.HandlerFunc(p.serveHTTP),
		ReadHeaderTimeout: settings.readHeader, ReadTimeout: settings.read,
		WriteTimeout: settings.write, IdleTimeout: settings.idle, MaxHeaderBytes: settings.maxHeader,
		Protocols: protocols, ConnContext: connContext, ConnState: s.count,
		ErrorLog: zap.NewStdLog(caddy.Log().Named("ando.http")),
	}
	go func() {
		// It ends with drain, and has nothing else to say.
		_ = s.http.Serve(s)
	}()
	return s
}

// tlsStateKey is under what the context of a connection that a loop gave back has its TLS state.
type tlsStateKey struct{}

func connContext(ctx context.Context, conn net.Conn) context.Context {
	if state := lane.TLSState(conn); state != nil {
		ctx = context.WithValue(ctx, tlsStateKey{}, state)
	}
	return nethttp.ConnContext(ctx, conn)
}

func (p *port) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil {
		r.TLS, _ = r.Context().Value(tlsStateKey{}).(*tls.ConnectionState)
	}
	gen := p.newest.Load()
	for !gen.isReady() {
		select {
		case <-gen.ready:
		case <-r.Context().Done():
			return
		}
		// It may have been given up.
		gen = p.newest.Load()
	}
	gen.server.ServeHTTP(w, r)
}

func (s *portServer) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.open.Add(-1)
	}
}

// newcomerTime is how long a connection to an address that is given up may wait with its first request.
const newcomerTime = 5 * time.Second

// drain ends each connection with its present request, and those that have made none yet with their first. Shutdown alone
// would not answer a request that it is told of after it has begun.
func (s *portServer) drain() {
	s.http.SetKeepAlivesEnabled(false)
	for end := time.Now().Add(newcomerTime); s.open.Load() > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	drain(s.http)
}

func (s *portServer) give(conn net.Conn) {
	select {
	case s.conns <- conn:
	case <-s.closed:
		conn.Close()
	}
}

// Accept, Close and Addr make the server its own listener.
func (s *portServer) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (s *portServer) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// Addr has no answer of its own: each connection knows its address.
func (s *portServer) Addr() net.Addr { return &net.TCPAddr{} }
