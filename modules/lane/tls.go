// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"

	"github.com/andogate/ando/modules/gateway"
)

// TLSState returns the state of a TLS connection that is no *tls.Conn any more, because a loop gave it back or Strict is
// around it, and nil for any other connection.
func TLSState(conn net.Conn) *tls.ConnectionState {
	if strict, ok := conn.(*strictConn); ok {
		conn = strict.Conn
	} else if _, ok := conn.(*prefixTLS); !ok {
		return nil
	}
	return tlsState(conn)
}

// Socket is a TCP connection that can move into a loop under the TLS connection that was made on it: crypto/tls keeps
// its keys and its place in the stream, and from then on reads and writes memory that the loop fills and empties.
//
// Until it has moved it is the TCP connection. It moves between two operations, on the goroutine that has it.
type Socket struct {
	*net.TCPConn
	// memory is set while the socket is in a loop.
	memory *memory
	// raw was received in a loop that then gave the socket back.
	raw []byte
}

// memory is what a moved Socket reads and writes.
type memory struct{ in, out []byte }

func (m *memory) read(b []byte) (n int, err error) {
	if len(m.in) == 0 {
		return 0, errNoBytes
	}
	n = copy(b, m.in)
	m.in = m.in[n:]
	return n, nil
}

// Read reads what the loop has received, or from the network. In a loop it never waits: crypto/tls takes a temporary
// error as a reason to keep the part of a record that it has and to try again later.
func (s *Socket) Read(b []byte) (n int, err error) {
	switch m := s.memory; {
	case m == nil && len(s.raw) == 0:
		return s.TCPConn.Read(b)
	case m == nil:
		n = copy(b, s.raw)
		s.raw = s.raw[n:]
		return n, nil
	default:
		return m.read(b)
	}
}

// Write collects what the loop has to send, or writes to the network.
func (s *Socket) Write(b []byte) (int, error) {
	if s.memory == nil {
		return s.TCPConn.Write(b)
	}
	s.memory.out = append(s.memory.out, b...)
	return len(b), nil
}

type noBytes struct{}

func (noBytes) Error() string   { return "no bytes yet" }
func (noBytes) Timeout() bool   { return true }
func (noBytes) Temporary() bool { return true }

var errNoBytes net.Error = noBytes{}

// session is the TLS layer of a connection in a loop.
type session struct {
	conn   *tls.Conn
	memory memory
	// socket and state are those of a client's connection.
	socket *Socket
	state  tls.ConnectionState
	// ended says that the peer has said that nothing more comes.
	ended bool
}

// newSession moves the socket under a TLS connection whose handshake is complete.
func newSession(conn *tls.Conn, socket *Socket) *session {
	s := &session{conn: conn, socket: socket, state: conn.ConnectionState()}
	socket.memory = &s.memory
	return s
}

// decrypt processes what raw, received on c, holds in whole records. raw may be empty.
func (e *Engine) decrypt(c *Conn, raw []byte) {
	s := c.session
	s.memory.in = raw
	for !c.gone {
		n, err := s.conn.Read(e.plain)
		if n > 0 {
			e.input(c, e.plain[:n])
		}
		if err == nil {
			continue
		}
		switch {
		case c.gone || err == error(errNoBytes):
		case errors.Is(err, io.EOF):
			s.ended = true
			e.EOF(c)
		case c.isNode():
			e.nodeFailed(c, gateway.FailedBroken)
		default:
			e.abandon(c)
		}
		break
	}
	if !c.gone && len(s.memory.out) > 0 {
		// The TLS layer has something to say itself, to a key update for instance.
		e.driver.Flush(c)
	}
}

// seal encrypts what has been written to c.
func (c *Conn) seal() {
	if len(c.out) == 0 {
		return
	}
	if c.session.memory.out == nil {
		c.session.memory.out = c.engine.buffer()
	}
	// Writing to memory cannot fail; a TLS connection that has failed is about to be closed.
	_, _ = c.session.conn.Write(c.out)
	c.out = c.out[:0]
}

// sayGoodbye tells a TLS peer that nothing more comes, so that it can tell an end from a cut.
func (c *Conn) sayGoodbye() {
	if c.session != nil {
		c.seal()
		_ = c.session.conn.CloseWrite()
	}
}

// giveBack makes the socket a TCP connection again: tcp, on which late was received that the TLS layer has not seen.
func (s *session) giveBack(tcp *net.TCPConn, late []byte) {
	s.socket.raw = slices.Concat(s.memory.in, late)
	s.socket.memory, s.socket.TCPConn = nil, tcp
}

// prefixTLS gives back what was read from a TLS connection before the connection itself.
type prefixTLS struct {
	*tls.Conn
	prefix []byte
}

func (c *prefixTLS) Read(b []byte) (int, error) {
	if len(c.prefix) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.prefix)
	c.prefix = c.prefix[n:]
	return n, nil
}
