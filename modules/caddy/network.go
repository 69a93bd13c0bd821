// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/andogate/ando/modules/lane"
)

func init() {
	caddy.RegisterNetwork("ando", listen)
	caddyhttp.RegisterNetworkHTTP3("ando", "udp")
}

// sockets are the listening sockets of the network "ando", by address. A socket is open as long as any config uses its
// address: a reload leaves it alone, and with it what waits in its accept queue.
var sockets = caddy.NewUsagePool()

// socket is one listening TCP socket.
type socket struct {
	ln    net.Listener
	conns chan net.Conn
	// failed is closed when accepting has ended, with err.
	failed chan struct{}
	err    error
}

func (s *socket) accept() {
	defer close(s.failed)
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			s.err = err
			return
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			conn = &lane.Socket{TCPConn: tcp}
		}
		s.conns <- conn
	}
}

// Destruct closes the socket. The pool calls it when the last config that used the address has gone.
func (s *socket) Destruct() error {
	err := s.ln.Close()
	for {
		select {
		case conn := <-s.conns:
			conn.Close()
		case <-s.failed:
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

// listen implements Caddy's network "ando": TCP, with a socket that outlives configs.
func listen(ctx context.Context, _, host, port string, offset uint, config net.ListenConfig) (any, error) {
	first, _, _ := strings.Cut(port, "-")
	number, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("ando/%s: port %q is not a number", net.JoinHostPort(host, port), port)
	}
	key := net.JoinHostPort(host, strconv.FormatUint(number+uint64(offset), 10))
	value, _, err := sockets.LoadOrNew(key, func() (caddy.Destructor, error) {
		ln, err := config.Listen(ctx, "tcp", key)
		if err != nil {
			return nil, err
		}
		s := &socket{ln: ln, conns: make(chan net.Conn), failed: make(chan struct{})}
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
	case <-l.failed:
		return nil, l.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Addr is the socket's address.
func (l *lease) Addr() net.Addr { return l.ln.Addr() }

// Close ends this config's share.
func (l *lease) Close() error {
	l.once.Do(func() {
		close(l.closed)
		// The socket closes when this was the last; its error concerns nobody any more.
		_, _ = sockets.Delete(l.key)
	})
	return nil
}

var _ net.Listener = (*lease)(nil)
