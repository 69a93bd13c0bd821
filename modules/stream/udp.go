// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

const (
	// maxSessions bounds the sessions of one socket. Datagrams of further clients are dropped until one has ended.
	maxSessions = 16384
	// maxUnheard bounds the datagrams of a session that are kept until its node has answered, so that another node can have
	// them.
	maxUnheard = 16
	// maxDatagram is the longest there is.
	maxDatagram = 64 << 10
	// sessionIdle ends sessions that carry nothing, unless `timeout` says otherwise: no datagram says that it is the last.
	sessionIdle = 60 * time.Second
	// complainEvery is how often dropped datagrams are logged at most.
	complainEvery = 10 * time.Second
)

var datagrams = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

// Datagrams is a UDP socket whose clients have sessions: what one address sends goes to one node, and what that node answers
// goes back.
type Datagrams struct {
	socket *net.UDPConn
	// local is where all datagrams come in; its address is unspecified when each has to say for itself.
	local netip.AddrPort

	mu       sync.Mutex
	sessions map[sessionKey]*session
	closed   bool
	// most is maxSessions but for tests. dropped counts datagrams since complained.
	most       int
	dropped    int
	complained time.Time
}

// sessionKey is what a session's datagrams have in common.
type sessionKey struct {
	client netip.AddrPort
	local  netip.Addr
}

// NewDatagrams takes over a socket.
func NewDatagrams(socket *net.UDPConn) *Datagrams {
	d := &Datagrams{socket: socket, local: addrPort(socket.LocalAddr()), sessions: make(map[sessionKey]*session), most: maxSessions}
	if d.local.Addr().IsUnspecified() {
		tellLocal(socket)
	}
	return d
}

// Serve reads datagrams until Close. proxy is asked for each that begins a session.
func (d *Datagrams) Serve(proxy func() *Proxy) {
	buffer, control := make([]byte, maxDatagram), make([]byte, controlSize)
	for {
		n, told, _, client, err := d.socket.ReadMsgUDPAddrPort(buffer, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// The answer to a client that has gone was refused.
			continue
		}
		key := sessionKey{client, d.local.Addr()}
		if key.local.IsUnspecified() {
			if local := toldLocal(control[:told]); local.IsValid() {
				key.local = local
			}
		}
		if s := d.session(key, proxy); s != nil {
			s.send(buffer[:n])
		}
	}
}

// session finds a client's session or begins one. It returns nil when there is no room for it.
func (d *Datagrams) session(key sessionKey, proxy func() *Proxy) *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.sessions[key]; s != nil {
		return s
	}
	p := proxy()
	s := &session{proxy: p, socket: d, key: key, arrived: make(chan struct{}, 1)}
	if len(d.sessions) >= d.most {
		d.complain(p.log())
		return nil
	}
	if d.closed || !p.enter(s) {
		return nil
	}
	d.sessions[key] = s
	go s.run()
	return s
}

// complain is called with mu held.
func (d *Datagrams) complain(log *zap.Logger) {
	d.dropped++
	if now := time.Now(); now.Sub(d.complained) > complainEvery {
		log.Warn("datagrams of new clients are dropped: there are as many UDP sessions as there may be",
			zap.Stringer("local", d.local), zap.Int("sessions", d.most), zap.Int("dropped", d.dropped))
		d.dropped, d.complained = 0, now
	}
}

func (d *Datagrams) forget(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sessions, s.key)
}

// Close closes the socket and ends its sessions: nobody could be answered any more.
func (d *Datagrams) Close() error {
	d.mu.Lock()
	d.closed = true
	open := make([]*session, 0, len(d.sessions))
	for _, s := range d.sessions {
		open = append(open, s)
	}
	d.mu.Unlock()
	for _, s := range open {
		s.end()
	}
	return d.socket.Close()
}

// session is one client of a Datagrams and its node.
type session struct {
	proxy  *Proxy
	socket *Datagrams
	key    sessionKey
	// answer is what makes answers come from where the client has sent to.
	answer []byte
	idle   time.Duration
	moved  atomic.Int64
	watch  *time.Timer
	// arrived has room for one: the first datagram is there.
	arrived chan struct{}

	mu sync.Mutex
	// node is nil before there is one.
	node *net.UDPConn
	// unheard are the datagrams so far, as long as the node has not answered.
	unheard [][]byte
	heard   bool
	ended   bool
	life    context.Context
	cancel  context.CancelFunc
}

// send forwards a datagram, or keeps it until there is a node.
func (s *session) send(b []byte) {
	s.moved.Store(int64(sinceStart()))
	s.mu.Lock()
	node := s.node
	if !s.heard && len(s.unheard) < maxUnheard {
		s.unheard = append(s.unheard, append(make([]byte, 0, len(b)), b...))
		select {
		case s.arrived <- struct{}{}:
		default:
		}
	}
	s.mu.Unlock()
	if node != nil {
		// Whether it arrives nobody promises.
		_, _ = node.Write(b)
	}
}

// run has the session from its first datagram to its end.
func (s *session) run() {
	<-s.arrived
	x := s.proxy.begin(net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.key.local, s.socket.local.Port())),
		net.UDPAddrFromAddrPort(s.key.client), s)
	if table, ok := x.Table.(gateway.StreamTable); ok {
		x.Route = table.Stream(x.Request.Local, x.Request.Client, "")
		if s.answer = answerFrom(s.socket, s.key.local); x.Admit() {
			s.forward(x)
		}
	}
	s.end()
	s.socket.forget(s)
	if s.watch != nil {
		s.watch.Stop()
	}
	s.proxy.finish(x)
	s.proxy.leave(s)
}

// forward goes from node to node until one answers or all have refused, and carries answers until the session ends.
func (s *session) forward(x *gateway.Exchange) {
	s.idle = idleOf(x, sessionIdle)
	s.watch = newWatch(s.checkIdle)
	s.watch.Reset(s.idle)
	for {
		node := x.Pick()
		if node == nil {
			return
		}
		conn, err := net.DialTimeout("udp", node.Addr, x.Timeout().Connect)
		if err == nil {
			if !s.attach(conn.(*net.UDPConn)) {
				return
			}
			err = s.answerAll(x, conn.(*net.UDPConn))
		}
		if s.hasHeard() || !errors.Is(err, syscall.ECONNREFUSED) && conn != nil {
			return
		}
		s.detach()
		if !x.Failed(gateway.FailedConnect, true) {
			return
		}
	}
}

// attach makes conn the node's, and sends it what has come so far.
func (s *session) attach(conn *net.UDPConn) bool {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		_ = conn.Close()
		return false
	}
	s.node = conn
	kept := s.unheard
	s.mu.Unlock()
	for _, b := range kept {
		_, _ = conn.Write(b)
	}
	return true
}

// detach gives a node up.
func (s *session) detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node != nil {
		_ = s.node.Close()
		s.node = nil
	}
}

func (s *session) hasHeard() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard
}

// answerAll sends the client what the node says, until reading fails.
func (s *session) answerAll(x *gateway.Exchange, node *net.UDPConn) error {
	r, err := newDatagramReader(node)
	if err != nil {
		return err
	}
	for {
		if err := r.read(func(b []byte) {
			if s.moved.Store(int64(sinceStart())); !s.hasHeard() {
				// The status is nginx's for a session that was served.
				x.BeginResponse(200)
				s.mu.Lock()
				s.heard, s.unheard = true, nil
				s.mu.Unlock()
			}
			_, _, _ = s.socket.socket.WriteMsgUDPAddrPort(b, s.answer, s.key.client)
		}); err != nil {
			if s.hasHeard() && errors.Is(err, syscall.ECONNREFUSED) {
				// It may come back; the client's next datagram will tell.
				continue
			}
			return err
		}
	}
}

func (s *session) checkIdle() {
	if left := s.idle - (sinceStart() - time.Duration(s.moved.Load())); left > 0 {
		s.watch.Reset(left)
		return
	}
	s.end()
}

// end ends the session, from whatever goroutine.
func (s *session) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	if s.cancel != nil {
		s.cancel()
	}
	if s.node != nil {
		_ = s.node.Close()
	}
}

// Preread implements gateway.Prereader: what there is to look at is the first datagram.
func (s *session) Preread(n int) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unheard) == 0 || len(s.unheard[0]) < n {
		return nil, gateway.ErrNoPreread
	}
	return s.unheard[0], nil
}

// Context implements gateway.Wire.
func (s *session) Context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == nil {
		s.life, s.cancel = context.WithCancel(context.Background())
		if s.ended {
			s.cancel()
		}
	}
	return s.life
}

// ReadBody implements gateway.Wire.
func (s *session) ReadBody(int64) ([]byte, error) { return nil, gateway.ErrNoPreread }

var (
	_ gateway.Wire      = (*session)(nil)
	_ gateway.Prereader = (*session)(nil)
)
