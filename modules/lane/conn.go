// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"context"
	"net/netip"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// Conn is one connection of a loop, to a client or to a node. Only its loop touches it.
type Conn struct {
	// FD and Slot are the driver's. So is the rest of Driver.
	FD     int
	Driver any
	// Reset tells the driver's Close that the peer must not take this for the end of what was sent.
	Reset bool

	engine *Engine
	state  connState
	// in holds input that cannot be processed yet; out what has been written but not sent, from sent on.
	// flight counts the bytes that the driver took out of out and has not sent yet.
	in, out []byte
	sent    int
	flight  int
	scan    scanner
	// deadline is in the engine's coarse seconds; 0 is none.
	deadline int64
	// eof: the peer has sent all it will. paused: reading is stopped for want of room. gone: closed.
	// processing: the machine is at work on its input.
	// fresh: no answer has come from it, or gone to it, yet.
	eof, paused, gone, processing, fresh bool
	// held: it waits with its next request until there is room for another line in the log.
	held bool
	// index is the place in the engine's list of connections.
	index int
	// session is the TLS layer, nil for none.
	session *session

	// Of a client's connection. skipped: an empty line in front of the next head has been dropped. parts: the client has
	// said that it will send nothing more.
	skipped, parts bool
	site           *Site
	remote, local  netip.AddrPort
	x              *exchange

	// Of a node's connection. serves is the exchange under way; pool where it goes afterwards, for exchanges with the same
	// target. shaking carries the bytes of a TLS handshake while it is under way.
	serves  *exchange
	pool    *pool
	target  target
	shaking *nodeSocket
	uses    int
	// untouched says that no byte of the present answer has come.
	untouched bool
	head      ResponseHead
}

type connState uint8

const (
	// A client's connection:

	// clientIdle waits for a request head.
	clientIdle connState = iota
	// clientCollects reads the whole body into the exchange before the hooks go on.
	clientCollects
	// clientParked waits for a hook that may block.
	clientParked
	// clientStreams reads the body and passes it on.
	clientStreams
	// clientWaits has read the request whole and waits for the response to be over.
	clientWaits
	// clientDrains has answered and throws away what is left of the body.
	clientDrains
	// clientLingers has said its last word and throws away input until the client closes: closing at once could reset the
	// connection before the client has read the answer.
	clientLingers

	// A node's connection:

	nodeConnects
	// nodeShakes is connected, and crypto/tls shakes hands on a goroutine.
	nodeShakes
	nodeHead
	nodeBody
	nodeIdle
)

// isNode tells the two families of states apart.
func (c *Conn) isNode() bool { return c.state >= nodeConnects }

// Pending returns what is to be sent. The driver tells the engine with Sent how much of it went.
func (c *Conn) Pending() []byte {
	if c.session != nil {
		c.seal()
		return c.session.memory.out[c.sent:]
	}
	return c.out[c.sent:]
}

// TakePending is Pending for drivers that send later: what it returns is the driver's, which tells the engine with Sent
// when it went, and gives the buffer back with Engine.Keep.
func (c *Conn) TakePending() []byte {
	b := c.Pending()
	if c.session != nil {
		c.session.memory.out = nil
	} else {
		c.out = nil
	}
	c.flight += len(b)
	return b
}

// Took says that the driver will send n more bytes of its own for c, and account for them with Sent.
func (c *Conn) Took(n int) { c.flight += n }

// exchange is a gateway.Exchange with what a lane keeps beside it. Its buffers are used again.
type exchange struct {
	gateway.Exchange
	client, node *Conn
	serves       *Serving

	// head and nodeHead are copies of the heads: the exchange's strings are parts of them.
	head, nodeHead []byte
	// request is what is sent to the node up to where the body begins to stream; it is kept for a repetition.
	request []byte
	body    []byte
	framing Framing
	// bodyDone: the request body has been read whole. streamed: what of it was sent is not in body, so that it cannot be
	// sent again.
	bodyDone, streamed bool
	// chunks: the response body is sent chunked, sized: with its length. last: the connection ends with the response.
	chunks, sized, last, replied, noBody bool
	// parked: a goroutine runs hooks. abandoned: the client has gone meanwhile.
	parked, abandoned bool
	// counted: Metrics has been told. read and written count the bytes of the bodies, headAt is when the response head was
	// written, for Metrics alone, and length what it declared of a response of the gateway's own.
	counted               bool
	read, written, length int64
	headAt                time.Time
	// held says that the response is read to its end, up to heldLimit bytes of body, before it is answered; the body is in
	// Response.Body so far.
	held      bool
	heldLimit int64
	// reader waits for the body, up to readLimit bytes of it.
	reader    chan bodyRead
	readLimit int64

	ctx    context.Context
	cancel context.CancelFunc
}
