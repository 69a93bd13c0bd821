// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"crypto/tls"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// maxSessions bounds the TLS sessions with nodes that a loop remembers.
const maxSessions = 256

// target is what connections to one address must have in common to be interchangeable. The zero value is plain TCP.
type target struct {
	secure bool
	gateway.NodeTLS
}

// targetOf returns the target of x's current attempt; it dies with x.
func targetOf(x *exchange) target {
	if x.ForwardScheme() != "https" {
		return target{}
	}
	return target{true, x.NodeTLS()}
}

// keep returns the target for a connection, which outlives its first exchange.
func (t target) keep() target {
	t.ServerName = strings.Clone(t.ServerName)
	return t
}

// speaksHTTP1 reports whether a lane can speak to nodes of the scheme.
func speaksHTTP1(scheme string) bool { return scheme == "http" || scheme == "https" }

func (e *Engine) refuseScheme(x *exchange, scheme string) {
	if log := x.Settings.Log; log != nil {
		log.Warn("scheme cannot be forwarded to by HTTP/1.1", zap.String("scheme", scheme))
	}
	x.Blame(gateway.ByGateway, gateway.PhaseBalance, "scheme cannot be forwarded to by HTTP/1.1")
	x.Reject(502)
	e.reply(x)
}

// makeRoom reports whether the pool of c may have one more idle connection. Of TLS connections the one not used for
// longest makes room: clients choose the names under which they are kept.
func (e *Engine) makeRoom(c *Conn, size int) bool {
	if len(c.pool.idle) < size {
		return true
	}
	if !c.target.secure || size <= 0 {
		return false
	}
	e.close(c.pool.idle[0])
	return true
}

// nodeSocket is what crypto/tls reads and writes of a node's connection in a loop. During the handshake that is a
// goroutine, which waits for what the loop receives; afterwards it is the loop, which never waits.
type nodeSocket struct {
	// memory is set, by the loop, when the handshake is over.
	memory *memory
	// send has bytes sent.
	send func([]byte)

	mu      sync.Mutex
	arrived sync.Cond
	in      []byte
	ended   bool
}

// Read implements net.Conn.
func (s *nodeSocket) Read(b []byte) (int, error) {
	if s.memory != nil {
		return s.memory.read(b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.in) == 0 && !s.ended {
		s.arrived.Wait()
	}
	if len(s.in) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(b, s.in)
	s.in = s.in[n:]
	return n, nil
}

// Write implements net.Conn.
func (s *nodeSocket) Write(b []byte) (int, error) {
	if s.memory != nil {
		s.memory.out = append(s.memory.out, b...)
	} else {
		s.send(slices.Clone(b))
	}
	return len(b), nil
}

// feed gives the handshake what has been received.
func (s *nodeSocket) feed(b []byte) {
	s.mu.Lock()
	s.in = append(s.in, b...)
	s.mu.Unlock()
	s.arrived.Signal()
}

// end tells the handshake that nothing more comes.
func (s *nodeSocket) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.arrived.Signal()
}

// The rest of net.Conn is the loop's business.

func (*nodeSocket) Close() error                     { return nil }
func (*nodeSocket) LocalAddr() net.Addr              { return nil }
func (*nodeSocket) RemoteAddr() net.Addr             { return nil }
func (*nodeSocket) SetDeadline(time.Time) error      { return nil }
func (*nodeSocket) SetReadDeadline(time.Time) error  { return nil }
func (*nodeSocket) SetWriteDeadline(time.Time) error { return nil }

// shakeHands begins the TLS handshake on a connection to a node. It has what is left of the time for connecting.
func (e *Engine) shakeHands(c *Conn) {
	socket := &nodeSocket{send: func(b []byte) {
		e.driver.Post(func() {
			if !c.gone {
				e.write(c, b)
			}
		})
	}}
	socket.arrived.L = &socket.mu
	c.state, c.shaking = nodeShakes, socket
	conn := tls.Client(socket, c.target.Config(c.serves.Forward.Node.Addr, "http/1.1", e.sessions))
	go func() {
		err := conn.Handshake()
		e.driver.Post(func() { e.shook(c, conn, err) })
	}()
}

// shook goes on with a connection whose handshake is over.
func (e *Engine) shook(c *Conn, conn *tls.Conn, err error) {
	if c.gone {
		return
	}
	if err != nil {
		x := c.serves
		if log := x.Settings.Log; log != nil {
			log.Warn("tls handshake with node failed", zap.String("node", x.Forward.Node.Addr), zap.Error(err))
		}
		e.nodeFailed(c, gateway.FailedConnect)
		return
	}
	socket, s := c.shaking, &session{conn: conn}
	early := socket.in
	// The end of the handshake may still have to be sent, and must not be encrypted once more.
	s.memory.out, c.out = c.out, nil
	socket.memory, socket.in = &s.memory, nil
	c.session, c.shaking = s, nil
	e.sendRequest(c.serves, c)
	if !c.gone {
		e.decrypt(c, early)
	}
}

var _ net.Conn = (*nodeSocket)(nil)
