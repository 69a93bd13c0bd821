// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// Strict makes a connection on which net/http serves HTTP/1.1 as strict as a lane is: a request that a lane would refuse
// as malformed net/http refuses too, whatever it would have made of it. Some of what net/http forgives it does not even
// show to a handler, such as Content-Length together with Transfer-Encoding (RFC 9112 section 6.1).
//
// What is too large is left to net/http's own limits. What the client sends passes as it comes and is followed on the way. Once a request turns out to be bad, what is left of
// it is replaced by something that net/http answers with 400, and nothing comes after that. A connection that leaves
// HTTP/1.1, by preface, CONNECT, or a 101, is not looked at any more. TLS is taken from the connection when it is one.
func Strict(conn net.Conn) net.Conn {
	c := &strictConn{Conn: conn, scheme: "http"}
	if tlsState(conn) != nil {
		c.scheme = "https"
	}
	return c
}

// strictLimits leave size to net/http, which has limits of its own.
var strictLimits = Limits{HeadBytes: 16 << 20, TargetBytes: 16 << 20, Fields: 1 << 20, NameBytes: 16 << 20}

// strictConn belongs, as to reading, to one goroutine at a time, as net/http uses it.
type strictConn struct {
	net.Conn
	scheme string
	// head is the part of a request head that has been passed on; scan searches it for its end.
	head []byte
	scan scanner
	body Body
	// blank: an empty line has come where a head should. inBody: a body is being followed. upgrading: the last request asks for another protocol.
	blank     bool
	inBody    bool
	upgrading atomic.Bool
	// free: nothing is looked at any more.
	free atomic.Bool
	// rest is what is given out in the place of what the client sends, and then end.
	rest []byte
	end  error
	// amid: a request has begun and not ended, or was bad. closing: Close has been called.
	amid, closing atomic.Bool
}

// poisonedHead makes net/http answer 400, wherever in a head it comes.
const poisonedHead = "\x00 \r\n\r\n"

// Read implements net.Conn.
func (c *strictConn) Read(b []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(b, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	if c.end != nil {
		return 0, c.end
	}
	n, err := c.Conn.Read(b)
	if n == 0 || c.free.Load() {
		return n, err
	}
	passed, refusal := c.follow(b[:n])
	c.amid.Store(refusal != nil || c.inBody || c.blank || len(c.head) > 0)
	if refusal == nil {
		return n, err
	}
	switch {
	case c.inBody:
		c.end = gateway.ErrMalformedBody
	case refusal == errExpect:
		// net/http has the answer to it.
		c.end = io.EOF
	default:
		c.rest, c.end = []byte(poisonedHead), io.EOF
	}
	c.head = nil
	if passed == 0 {
		return c.Read(b)
	}
	return passed, nil
}

// follow looks at what the client sends next, and returns how much of it to pass on when it is bad.
func (c *strictConn) follow(b []byte) (passed int, _ *Refusal) {
	for rest := b; len(rest) > 0 && !c.free.Load(); {
		at := len(b) - len(rest)
		var n int
		var refusal *Refusal
		if c.inBody {
			n, refusal = c.followBody(rest)
		} else {
			n, refusal = c.followHead(rest)
		}
		if refusal != nil {
			return at + n, refusal
		}
		rest = rest[n:]
	}
	return len(b), nil
}

func (c *strictConn) followBody(b []byte) (n int, _ *Refusal) {
	for n < len(b) {
		_, used, done, refusal := c.body.Next(b[n:])
		n += used
		if refusal != nil {
			return n, refusal
		}
		if done {
			c.inBody, c.body = false, Body{}
			break
		}
	}
	return n, nil
}

// followHead returns how much of b belongs to the head. Of a bad one the end, at least, is not passed on.
func (c *strictConn) followHead(b []byte) (n int, _ *Refusal) {
	if len(c.head) == 0 && (b[0] == '\r' || b[0] == '\n') {
		// An empty line in front of a head: net/http judges it.
		c.blank = true
		return 1, nil
	}
	c.blank = false
	before := len(c.head)
	c.head = append(c.head, b...)
	if c.head[0] == 'P' && isPreface(c.head) && len(c.head) >= len("PRI * HTTP/2.0\r\n") {
		c.free.Store(true)
		return len(b), nil
	}
	size, refusal := c.scan.scan(c.head, strictLimits.HeadBytes)
	if refusal != nil {
		return 0, refusal
	}
	if size == 0 {
		return len(b), nil
	}
	n = size - before
	request := gateway.Request{Scheme: c.scheme}
	f, refusal := parseRequest(c.head[:size], &request, &strictLimits)
	c.head = c.head[:0]
	switch {
	case refusal == errConnect:
		c.free.Store(true)
	case refusal == errExpect:
		return n, refusal
	case refusal != nil:
		return n - 1, refusal
	}
	if cap(c.head) > keptBuffer {
		c.head = nil
	}
	c.upgrading.Store(f.Upgrade)
	c.body, c.inBody = f.Body, f.Body.Kind != Empty
	return n, nil
}

// switched begins the response that ends HTTP/1.1 on a connection.
var switched = []byte("HTTP/1.1 101 ")

// Write implements net.Conn.
func (c *strictConn) Write(b []byte) (int, error) {
	if c.upgrading.Load() && bytes.HasPrefix(b, switched) {
		c.free.Store(true)
	}
	return c.Conn.Write(b)
}

// ReadFrom lets the connection under it send files its own way.
func (c *strictConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// CloseWrite half-closes the connection, if it can be.
func (c *strictConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// Close implements net.Conn. In the middle of a request, which nobody wants the rest of, it lingers: closing at once could
// reset the connection before the client has read the answer.
func (c *strictConn) Close() error {
	if !c.amid.Load() || c.closing.Swap(true) {
		return c.Conn.Close()
	}
	go func() {
		defer func() { _ = c.Conn.Close() }()
		if c.Conn.SetDeadline(time.Now().Add(time.Duration(DefaultTimeouts.Linger)*time.Second)) == nil && c.CloseWrite() == nil {
			_, _ = io.Copy(io.Discard, c.Conn)
		}
	}()
	return nil
}

// tlsState returns the TLS state of a connection, or nil when it has none.
func tlsState(conn net.Conn) *tls.ConnectionState {
	if c, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := c.ConnectionState()
		return &state
	}
	return nil
}
