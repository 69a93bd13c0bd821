// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/andogate/ando/modules/lane"
)

func init() {
	caddy.RegisterNetwork("ando", listen)
	caddyhttp.RegisterNetworkHTTP3("ando", "udp")
}

// sockets are the listening sockets of the network "ando", by address. A socket is open as long as any config uses its
// address: a reload leaves it alone, and with it what waits in its accept queue.
var sockets = caddy.NewUsagePool()

// socket is one listening TCP socket. Who leases it gets its connections, or event loops accept them for a port.
type socket struct {
	ln *net.TCPListener
	// alive is how connections are kept alive.
	alive net.KeepAliveConfig
	conns chan net.Conn
	// failed is closed when accepting has ended, with err.
	failed chan struct{}
	err    error

	mu sync.Mutex
	// loops are those that accept for port, if any. When stopLoops has returned they do not any more, and resumed, which is
	// closed then, lets this socket's own goroutine go on.
	loops     *laneSet
	port      *port
	stopLoops func()
	resumed   chan struct{}
	// closing: nobody is to begin to accept any more.
	closing bool
}

func (s *socket) accept() {
	defer close(s.failed)
	for {
		conn, err := s.ln.AcceptTCP()
		switch {
		case err == nil:
			s.conns <- &lane.Socket{TCPConn: conn}
		case errors.Is(err, os.ErrDeadlineExceeded):
			s.mu.Lock()
			resumed := s.resumed
			s.mu.Unlock()
			if resumed != nil {
				<-resumed
			}
		case errors.Is(err, net.ErrClosed):
			s.err = err
			return
		default:
			// It is the system that has no room at present.
			time.Sleep(acceptPause)
		}
	}
}

const (
	// acceptPause is the pause after a connection could not be accepted.
	acceptPause = 50 * time.Millisecond
	// lastCall bounds how long connections that were in the queue of a socket when it closed are offered.
	lastCall = time.Second
)

// loopsAccept has event loops accept the socket's connections for a port.
func (s *socket) loopsAccept(loops *laneSet, p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.loops == loops && s.port == p {
		return
	}
	s.stop()
	stop, err := loops.listen(s.ln, &p.site, s.alive)
	if err != nil {
		newestLog().Warn("event loops cannot accept connections themselves", zap.String("address", p.key), zap.Error(err))
		return
	}
	s.loops, s.port, s.stopLoops, s.resumed = loops, p, stop, make(chan struct{})
	_ = s.ln.SetDeadline(time.Unix(1, 0))
}

// leasesAccept gives connections to who leases the socket again, unless loops accept for another port.
func (s *socket) leasesAccept(p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.port == p {
		s.stop()
	}
}

// stop is called with mu held.
func (s *socket) stop() {
	if s.stopLoops == nil {
		return
	}
	s.stopLoops()
	_ = s.ln.SetDeadline(time.Time{})
	close(s.resumed)
	s.loops, s.port, s.stopLoops, s.resumed = nil, nil, nil, nil
}

// Destruct closes the socket. The pool calls it when the last config that used the address is about to go: whom the kernel
// has accepted by then that config still serves.
func (s *socket) Destruct() error {
	s.mu.Lock()
	s.closing = true
	s.stop()
	s.mu.Unlock()
	waiting, err := drainSocket(s.ln)
	failed := s.failed
	var late <-chan net.Conn
	end := time.After(lastCall)
	for {
		var next net.Conn
		var offer chan<- net.Conn
		if len(waiting) > 0 {
			next, offer = &lane.Socket{TCPConn: waiting[0]}, s.conns
		}
		select {
		case offer <- next:
			waiting = waiting[1:]
		case <-end:
			// Nobody takes them.
			for _, conn := range waiting {
				_ = conn.Close()
			}
			waiting, late = nil, s.conns
		case conn := <-late:
			_ = conn.Close()
		case <-failed:
			failed = nil
		}
		if failed == nil && len(waiting) == 0 {
			return err
		}
	}
}

// lease is one config's share in a socket: a listener whose end does not touch it.
type lease struct {
	*socket
	key    string
	once   sync.Once
	closed chan struct{}
}

// closing counts the leases that are being given up, and with the last of them perhaps a socket.
var closing atomic.Int64

// bind opens a listening socket. An address that the config before gave up may be in use for a moment yet.
func bind(ctx context.Context, config net.ListenConfig, address string) (net.Listener, error) {
	for {
		waits := closing.Load() > 0
		ln, err := config.Listen(ctx, "tcp", address)
		if !waits || !errors.Is(err, syscall.EADDRINUSE) {
			return ln, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// listen implements Caddy's network "ando": TCP, with a socket that outlives configs.
func listen(ctx context.Context, _, host, port string, offset uint, config net.ListenConfig) (any, error) {
	first, _, _ := strings.Cut(port, "-")
	number, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("ando/%s: port %q is not a number", net.JoinHostPort(host, port), port)
	}
	key := net.JoinHostPort(host, strconv.FormatUint(number+uint64(offset), 10))
	value, _, err := sockets.LoadOrNew(key, func() (caddy.Destructor, error) {
		ln, err := bind(ctx, config, key)
		if err != nil {
			return nil, err
		}
		tcp, ok := ln.(*net.TCPListener)
		if !ok {
			return nil, errors.Join(fmt.Errorf("ando/%s: %T instead of a TCP listener", key, ln), ln.Close())
		}
		s := &socket{ln: tcp, alive: config.KeepAliveConfig, conns: make(chan net.Conn), failed: make(chan struct{})}
		go s.accept()
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	return &lease{socket: value.(*socket), key: key, closed: make(chan struct{})}, nil
}

// Accept waits for a connection. Configs that use the address at the same time share its connections.
func (l *lease) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Addr is the socket's address.
func (l *lease) Addr() net.Addr { return l.ln.Addr() }

// Close ends this config's share.
func (l *lease) Close() error {
	l.once.Do(func() {
		// The socket closes when this was the last; its error concerns nobody any more.
		closing.Add(1)
		_, _ = sockets.Delete(l.key)
		closing.Add(-1)
		close(l.closed)
	})
	return nil
}

var _ net.Listener = (*lease)(nil)
