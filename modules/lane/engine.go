// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"crypto/tls"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// Driver does the I/O of one engine. All methods are called on the loop's goroutine but Post.
type Driver interface {
	// Dial begins a connection and later calls Engine.Connected. It returns an error when it cannot even begin.
	Dial(c *Conn, addr netip.AddrPort) error
	// Flush says that c has something pending. The driver sends it soon, in one piece with what is added until then.
	Flush(c *Conn)
	// Borrow sends b, a part of what the driver is giving to Data, after what is pending on c, and returns how much of it
	// it has taken charge of: what it does not take the engine copies. What is taken and not sent yet it adds to c with
	// Conn.Took.
	Borrow(c *Conn, b []byte) (taken int)
	// Pause stops reading from c, Resume begins again.
	Pause(c *Conn)
	Resume(c *Conn)
	// CloseWrite says that nothing more will be sent on c.
	CloseWrite(c *Conn)
	// Close ends c at once. The engine does not touch it again.
	Close(c *Conn)
	// HandOver gives the connection and the bytes read from it so far to net/http for good.
	HandOver(c *Conn, read []byte)
	// Post runs f on the loop. It is called from any goroutine.
	Post(f func())
}

// Timeouts of a client's connection, in seconds. Those of nodes come from routes and upstreams.
type Timeouts struct {
	// Idle bounds the wait for the next request, Head the time from its first byte to the end of its head, Body the time
	// between two pieces of a body, Write that in which nothing can be sent, Linger the wait for the client to close.
	Idle, Head, Body, Write, Linger int64
}

// DefaultTimeouts are those of a lane that was told nothing: APISIX's, that is nginx's, where it has them.
var DefaultTimeouts = Timeouts{Idle: 60, Head: 60, Body: 60, Write: 60, Linger: 2}

// Engine is the protocol machine of one loop: bytes in, sends out, no I/O and no waiting. It belongs to the loop's
// goroutine.
type Engine struct {
	driver   Driver
	limits   *Limits
	timeouts *Timeouts

	// now is a coarse clock in seconds since the engine began, clock the time of the last wake-up.
	// swept is when Sweep last looked.
	now, swept   int64
	clock, began time.Time
	// dateField is the Date field of the second dated.
	dateField []byte
	dated     int64

	conns []*Conn
	// clients counts those of conns that are clients'. It is read on other goroutines.
	clients atomic.Int64
	free    []*exchange
	// buffers holds output buffers that no connection uses at present: idle connections have none.
	buffers [][]byte
	pools   map[poolKey]*pool
	// plain receives what TLS sessions decrypt. sessions are those that nodes let go on.
	plain    []byte
	sessions tls.ClientSessionCache
	// fields receives the fields of a node's response before it is known to be one.
	fields         gateway.Header
	responseLimits Limits
	// raw: the input being processed lies in the driver's buffer.
	raw bool
	// draining: connections end with their present exchange.
	draining bool
	// journal takes records to the logs, once there is one. held are the clients that wait for room in it.
	journal *journal
	held    []*Conn
	// names is memory of requestBytes.
	names [][]byte
}

// Bounds of a connection's buffers. Above highWater of unsent output the other side of the exchange is not read; it is
// read again below lowWater. maxPipelined bounds input that waits behind an exchange.
const (
	highWater    = 256 << 10
	lowWater     = 64 << 10
	maxPipelined = 64 << 10
	// keptBuffer is how large a buffer may be to be kept for the next use.
	keptBuffer = 64 << 10
)

// NewEngine returns the engine of one loop.
func NewEngine(driver Driver, config Config) *Engine {
	now := time.Now()
	return &Engine{
		driver: driver, limits: config.Limits, timeouts: config.Timeouts,
		now: 1, clock: now, began: now, pools: make(map[poolKey]*pool),
		responseLimits: Limits{HeadBytes: maxResponseHead}, plain: make([]byte, 16<<10),
		sessions: tls.NewLRUClientSessionCache(maxSessions),
	}
}

// Conns returns how many connections the engine has.
func (e *Engine) Conns() int { return len(e.conns) }

// Clients returns how many connections the engine has of clients. It may be called from any goroutine.
func (e *Engine) Clients() int { return int(e.clients.Load()) }

// Accept takes over a client's connection.
func (e *Engine) Accept(c *Conn, client *Client) {
	c.state, c.remote, c.local, c.site = clientIdle, client.Remote, client.Local, client.Site
	c.fresh = true
	e.add(c)
	e.clients.Add(1)
	c.deadline = e.now + e.timeouts.Head
	if client.TLS != nil {
		c.session = newSession(client.TLS, client.socket)
		// The handshake may have read further than its own end.
		e.decrypt(c, nil)
	}
}

func (e *Engine) add(c *Conn) {
	c.engine, c.index = e, len(e.conns)
	e.conns = append(e.conns, c)
}

// Drain ends every connection when its present exchange is over: idle ones now.
func (e *Engine) Drain() {
	e.draining = true
	for i := len(e.conns) - 1; i >= 0; i-- {
		if i < len(e.conns) && (e.conns[i].state == clientIdle && len(e.conns[i].in) == 0 && e.conns[i].unsent() == 0 || e.conns[i].state == nodeIdle) {
			e.close(e.conns[i])
		}
	}
}

// Close ends every connection at once, and what it is doing. Parked exchanges end when they come back.
func (e *Engine) Close() {
	e.draining = true
	for len(e.conns) > 0 {
		c := e.conns[len(e.conns)-1]
		switch {
		case !c.isNode():
			e.abandon(c)
		case c.serves != nil:
			e.abandon(c.serves.client)
		default:
			e.close(c)
		}
	}
	if e.journal != nil {
		e.journal.end()
	}
}

// close ends a connection and takes it out of everything.
func (e *Engine) close(c *Conn) {
	if c.gone {
		return
	}
	c.gone = true
	if c.pool != nil {
		c.pool.remove(c)
	}
	if c.shaking != nil {
		c.shaking.end()
	}
	e.forget(c)
	if c.flight == 0 {
		e.Keep(c.out)
	}
	c.in, c.out = nil, nil
	e.driver.Close(c)
}

// forget takes a connection out of the engine's list.
func (e *Engine) forget(c *Conn) {
	last := e.conns[len(e.conns)-1]
	e.conns[c.index], last.index = last, c.index
	e.conns[len(e.conns)-1] = nil
	e.conns = e.conns[:len(e.conns)-1]
	if !c.isNode() {
		e.clients.Add(-1)
	}
}

// Data takes bytes read from c. b is the driver's and not kept.
func (e *Engine) Data(c *Conn, b []byte) {
	switch {
	case c.gone:
	case c.session != nil:
		e.decrypt(c, b)
	default:
		e.input(c, b)
	}
}

// input takes bytes that c's peer has sent.
func (e *Engine) input(c *Conn, b []byte) {
	if len(c.in) > 0 {
		c.in = append(c.in, b...)
		e.process(c, c.in, false)
		return
	}
	// Only what the driver itself has received can be borrowed from it.
	e.process(c, b, c.session == nil)
}

// process gives b to the machine and keeps what it leaves. b may be c.in. raw says that it lies in the driver's buffer.
func (e *Engine) process(c *Conn, b []byte, raw bool) {
	var rest []byte
	// One connection's input may set off another's.
	outer := e.raw
	e.raw = raw
	c.processing = true
	if c.isNode() {
		rest = e.nodeInput(c, b)
	} else {
		rest = e.clientInput(c, b)
	}
	c.processing = false
	e.raw = outer
	if c.gone {
		return
	}
	switch {
	case len(rest) == 0:
		if cap(c.in) > 4<<10 {
			c.in = nil
		} else {
			c.in = c.in[:0]
		}
	case len(c.in) > 0 && len(rest) == len(b):
		// Nothing was taken: rest is c.in already.
	default:
		c.in = append(c.in[:0], rest...)
	}
	if len(c.in) > maxPipelined+e.limits.HeadBytes && !c.paused {
		e.pause(c)
	}
}

// again goes on with what c left unread when it was busy. Within process it does nothing: that goes on by itself.
func (e *Engine) again(c *Conn) {
	if c.processing || c.gone {
		return
	}
	if len(c.in) > 0 {
		e.process(c, c.in, false)
	}
	if c.paused && len(c.in) <= maxPipelined && !c.blocked() {
		e.resume(c)
	}
	if c.eof && !c.gone && !c.isNode() && !c.paused {
		e.clientEOF(c)
	}
}

// blocked reports whether the other side of c's exchange has no room.
func (c *Conn) blocked() bool {
	if c.isNode() {
		return c.serves != nil && c.serves.client.full()
	}
	return c.x != nil && c.x.node != nil && c.x.node.full()
}

// EOF says that c's peer has closed its side.
func (e *Engine) EOF(c *Conn) {
	if c.gone {
		return
	}
	c.eof = true
	if c.isNode() {
		e.nodeEOF(c)
		return
	}
	e.clientEOF(c)
}

// Broken says that c failed: a reset, or an error on writing.
func (e *Engine) Broken(c *Conn) {
	if c.gone {
		return
	}
	if c.isNode() {
		e.nodeFailed(c, gateway.FailedBroken)
		return
	}
	e.abandon(c)
}

// Sent says that the driver has sent the next n pending bytes of c.
func (e *Engine) Sent(c *Conn, n int) {
	if c.gone {
		return
	}
	if c.flight > 0 {
		c.flight -= n
	} else {
		c.sent += n
	}
	if c.unsent() > 0 {
		e.timeSending(c)
		if c.unsent() < lowWater {
			c.compact()
			e.unblock(c)
		}
		return
	}
	c.out, c.sent = c.out[:0], 0
	if c.session != nil {
		c.session.memory.out = c.session.memory.out[:0]
	}
	if c.x == nil && c.serves == nil {
		e.dropOutput(c)
	}
	e.unblock(c)
	switch {
	case c.gone:
	case c.serves != nil:
		e.timeNode(c)
	case c.state == clientLingers:
		e.lastSent(c)
	case c.state == clientIdle && c.scan == (scanner{}):
		c.deadline = e.now + e.timeouts.Idle
	}
}

// dropOutput gives back the output buffers of a connection that has nothing to send.
func (e *Engine) dropOutput(c *Conn) {
	e.Keep(c.out)
	c.out = nil
	if s := c.session; s != nil {
		e.Keep(s.memory.out)
		s.memory.out = nil
	}
}

// compact moves what is left of c's output to the front of its buffer, which would else grow with all that is sent while
// the peer never quite catches up.
func (c *Conn) compact() {
	if c.sent < lowWater {
		return
	}
	out := &c.out
	if c.session != nil {
		out = &c.session.memory.out
	}
	*out = (*out)[:copy(*out, (*out)[c.sent:])]
	c.sent = 0
}

// output returns c's output buffer to append to.
func (e *Engine) output(c *Conn) []byte {
	if c.out != nil {
		return c.out
	}
	return e.buffer()
}

// buffer returns an empty buffer.
func (e *Engine) buffer() []byte {
	if n := len(e.buffers); n > 0 {
		b := e.buffers[n-1]
		e.buffers = e.buffers[:n-1]
		return b
	}
	return make([]byte, 0, 4<<10)
}

// Keep takes back an output buffer that is not needed any more.
func (e *Engine) Keep(b []byte) {
	if cap(b) > 0 && cap(b) <= keptBuffer && len(e.buffers) < 1024 {
		e.buffers = append(e.buffers, b[:0])
	}
}

// write adds b to what is to be sent on c.
func (e *Engine) write(c *Conn, b []byte) {
	if c.gone {
		return
	}
	c.out = append(e.output(c), b...)
	e.driver.Flush(c)
}

// borrowAbove is from which size on bytes are sent from where they were received, and not copied.
const borrowAbove = 4 << 10

// pass sends b, a part of what has just been received, on c.
func (e *Engine) pass(c *Conn, b []byte) {
	if len(b) >= borrowAbove && c.session == nil && e.raw {
		b = b[e.driver.Borrow(c, b):]
	}
	if len(b) > 0 {
		c.out = append(e.output(c), b...)
		e.driver.Flush(c)
	}
}

// full reports whether c has more unsent output than it may have.
func (c *Conn) full() bool { return c.unsent() > highWater }

// unsent returns how many bytes of output the kernel has not taken yet.
func (c *Conn) unsent() int {
	n := len(c.out) - c.sent + c.flight
	if c.session != nil {
		n += len(c.session.memory.out)
	}
	return n
}

func (e *Engine) pause(c *Conn) {
	if !c.paused && !c.gone {
		c.paused = true
		e.driver.Pause(c)
	}
}

func (e *Engine) resume(c *Conn) {
	if c.paused && !c.gone {
		c.paused = false
		e.driver.Resume(c)
	}
}

// unblock lets the other side of c's exchange go on once c has room again.
func (e *Engine) unblock(c *Conn) {
	other := (*Conn)(nil)
	if c.isNode() {
		if c.serves != nil {
			other = c.serves.client
		}
	} else if c.x != nil {
		other = c.x.node
	}
	if other == nil || !other.paused || c.full() {
		return
	}
	e.resume(other)
	if other.isNode() {
		e.timeNode(other)
		e.timeClient(c)
	} else if other.x != nil {
		e.timeClient(other)
	}
	e.again(other)
}

func (e *Engine) acquire() *exchange {
	if n := len(e.free); n > 0 {
		x := e.free[n-1]
		e.free = e.free[:n-1]
		return x
	}
	return new(exchange)
}

// release makes x ready for another request.
func (e *Engine) release(x *exchange) {
	if x.cancel != nil {
		x.cancel()
	}
	x.Exchange.Reset()
	head, nodeHead, request, body := x.head, x.nodeHead, x.request, x.body
	poison(head)
	poison(nodeHead)
	if cap(request) > keptBuffer {
		request = nil
	}
	if cap(body) > keptBuffer {
		body = nil
	}
	*x = exchange{Exchange: x.Exchange, head: head[:0], nodeHead: nodeHead[:0], request: request[:0], body: body[:0]}
	if len(e.free) < 1024 {
		e.free = append(e.free, x)
	}
}
