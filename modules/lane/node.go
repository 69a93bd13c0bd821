// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"strconv"

	"github.com/andogate/ando/modules/gateway"
)

// forward sends the exchange's request to the next node.
func (e *Engine) forward(x *exchange) {
	if scheme := x.ForwardScheme(); !speaksHTTP1(scheme) {
		// A plugin has chosen it, too late to hand the request over.
		e.refuseScheme(x, scheme)
		return
	}
	node := x.Pick()
	if node == nil {
		e.reply(x)
		return
	}
	p := e.poolOf(node)
	to := targetOf(x)
	if c := p.take(&to); c != nil {
		c.fresh = false
		e.sendRequest(x, c)
		return
	}
	if e.clock.After(p.expires) && !p.resolving {
		e.resolve(p, node)
	}
	if !p.addr.IsValid() {
		p.waiting = append(p.waiting, waiter{x, x.client})
		return
	}
	e.dial(x, p)
}

func (e *Engine) dial(x *exchange, p *pool) {
	c := &Conn{state: nodeConnects, pool: p, fresh: true, target: targetOf(x).keep()}
	if err := e.driver.Dial(c, p.addr); err != nil {
		e.attemptFailed(x, gateway.FailedConnect, true)
		return
	}
	e.add(c)
	c.serves, x.node = x, c
	c.deadline = e.now + seconds(x.Timeout().Connect)
}

// Connected says that a Dial has come to its end.
func (e *Engine) Connected(c *Conn, err error) {
	if c.gone {
		return
	}
	if err != nil {
		e.nodeFailed(c, gateway.FailedConnect)
		return
	}
	switch {
	case c.serves == nil:
		e.close(c)
	case c.target.secure:
		e.shakeHands(c)
	default:
		e.sendRequest(c.serves, c)
	}
}

// sendRequest begins to send the request on a connection that is ready for it.
func (e *Engine) sendRequest(x *exchange, c *Conn) {
	c.serves, x.node = x, c
	c.state, c.untouched = nodeHead, true
	c.scan = scanner{}
	c.uses++
	if len(x.request) == 0 {
		x.request = appendRequest(x, x.request)
	}
	c.out = append(e.output(c), x.request...)
	e.driver.Flush(c)
	if x.bodyDone {
		e.timeNode(c)
		return
	}
	client := x.client
	client.state = clientStreams
	e.timeNode(c)
	e.proceed(x)
	e.resume(client)
	e.again(client)
}

// appendRequest writes the head of the request as the node gets it, and as much of the body as is at hand.
func appendRequest(x *exchange, b []byte) []byte {
	b = append(b, x.ForwardMethod()...)
	b = append(b, ' ')
	b = appendTarget(b, x.ForwardTarget())
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, x.ForwardHost()...)
	b = append(b, "\r\n"...)
	for name, value := range x.Request.Header.All() {
		b = appendField(b, name, value)
	}
	switch {
	case x.Forward.BodyReplaced:
		return appendSized(b, x.Forward.Body)
	case x.bodyDone && (x.framing.Body.Kind != Empty || len(x.body) > 0):
		return appendSized(b, x.body)
	case x.framing.Body.Kind == Chunked:
		b = append(b, "Transfer-Encoding: chunked\r\n\r\n"...)
		if len(x.body) > 0 {
			b = appendChunk(b, x.body)
		}
		return b
	case x.framing.Body.Kind == Sized:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, x.Request.ContentLength, 10)
		b = append(b, "\r\n\r\n"...)
		return append(b, x.body...)
	}
	return append(b, "\r\n"...)
}

func appendSized(b, body []byte) []byte {
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, body...)
}

func appendChunk(b, data []byte) []byte {
	b = strconv.AppendInt(b, int64(len(data)), 16)
	b = append(b, "\r\n"...)
	b = append(b, data...)
	return append(b, "\r\n"...)
}

// appendTarget writes a request target. What may not stand in one as it is, which clients send all the same and plugins
// may make, is percent-encoded.
func appendTarget(b []byte, target string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(target) {
		switch c := target[i]; c {
		case '"', '<', '>', '\\', '^', '`', '{', '|', '}':
			b = append(b, '%', digits[c>>4], digits[c&15])
		default:
			if c <= ' ' || c >= 0x7f {
				b = append(b, '%', digits[c>>4], digits[c&15])
			} else {
				b = append(b, c)
			}
		}
	}
	return b
}

// keptBody is how much of the body of a request that may be repeated is kept for that.
const keptBody = 16 << 10

// sendBody passes a piece of the request body on.
func (e *Engine) sendBody(x *exchange, data []byte, done bool) {
	c := x.node
	if c == nil || x.Forward.BodyReplaced {
		return
	}
	if x.streamed = x.streamed || !idempotent(x.ForwardMethod()) || len(x.body)+len(data) > keptBody; !x.streamed {
		x.body = append(x.body, data...)
	}
	c.out = e.output(c)
	if x.framing.Body.Kind != Chunked {
		e.pass(c, data)
	} else {
		e.passChunk(c, data)
		if done {
			c.out = append(e.output(c), "0\r\n\r\n"...)
			e.driver.Flush(c)
		}
	}
}

// nodeInput processes input of a node and returns what cannot be processed yet.
func (e *Engine) nodeInput(c *Conn, b []byte) (rest []byte) {
	for len(b) > 0 && !c.gone {
		switch c.state {
		case nodeShakes:
			c.shaking.feed(b)
			return nil
		case nodeHead:
			c.untouched = false
			var more bool
			if b, more = e.nodeHead(c, b); more {
				return b
			}
		case nodeBody:
			b = e.nodeBody(c, b)
		default:
			// Bytes that nobody asked for: whatever comes next on this connection cannot be trusted.
			e.close(c)
			return nil
		}
	}
	return b
}

// nodeHead takes a response head off the front of b.
func (e *Engine) nodeHead(c *Conn, b []byte) (rest []byte, more bool) {
	x := c.serves
	n, refusal := c.scan.scan(b, maxResponseHead)
	if refusal != nil {
		e.nodeFailed(c, gateway.FailedBroken)
		return nil, true
	}
	if n == 0 {
		return b, true
	}
	x.nodeHead = append(x.nodeHead[:0], b[:n]...)
	e.fields.Reset()
	head, refusal := parseResponse(x.nodeHead, x.ForwardMethod(), &e.fields, &e.responseLimits)
	if refusal != nil || head.Status == 101 {
		e.nodeFailed(c, gateway.FailedBroken)
		return nil, true
	}
	b = b[n:]
	if head.Status < 200 {
		// It is only a hint, and not worth piling up for a client that does not read.
		if head.Status == 103 && x.Request.ProtoMinor == 1 && !x.client.full() {
			e.sendInterim(x, head.Status)
		}
		return b, false
	}
	c.head = head
	x.BeginResponse(head.Status)
	for name, value := range e.fields.All() {
		x.Response.Header.Add(name, value)
	}
	e.timeNode(c)
	if x.heldLimit = x.HoldsResponse(); x.heldLimit > 0 {
		return e.holdResponse(x, c, b)
	}
	e.respond(x, c, b)
	// Without a body the response is over. The connection may even have begun with the next request, of which b is no
	// answer.
	if c.state != nodeBody {
		return nil, true
	}
	return b, false
}

// maxResponseHead bounds the head of a node's response; above it the client gets 502.
const maxResponseHead = 64 << 10

func (e *Engine) sendInterim(x *exchange, status int) {
	c := x.client
	c.out = appendStatusLine(e.output(c), status)
	for name, value := range e.fields.All() {
		c.out = appendField(c.out, name, value)
	}
	c.out = append(c.out, "\r\n"...)
	e.driver.Flush(c)
}

// respond sends the head of a node's response. rest is what came behind it.
func (e *Engine) respond(x *exchange, c *Conn, rest []byte) {
	client := x.client
	x.FilterHeader()
	if !x.Response.FromNode {
		// A header filter panicked: what it left is the gateway's own answer.
		x.node, c.serves = nil, nil
		e.close(c)
		e.sendReply(x)
		e.again(client)
		return
	}
	if !x.bodyDone {
		// The node has answered before it had the whole request: neither connection can be used again.
		x.last = true
	}
	x.noBody = x.Request.Method == "HEAD" || !bodyAllowed(x.Response.Status)
	_, declared := x.Response.Header.Lookup("Content-Length")
	length := c.head.Length
	if c.head.Body.Kind == Empty && !x.noBody {
		// A node that is asked for the head alone tells how long a body is that nobody gets.
		length = 0
	}
	chunks := !x.noBody && (length < 0 || !declared)
	if chunks && x.Request.ProtoMinor == 0 {
		chunks, x.last = false, true
		length = -1
	} else if chunks {
		length = -1
	}
	x.chunks = chunks
	out := e.appendHead(x, e.output(client))
	switch {
	case chunks:
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	case length >= 0 && declared:
		x.sized = true
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, length, 10)
		out = append(out, "\r\n"...)
	}
	client.out = append(out, "\r\n"...)
	x.replied = true
	e.driver.Flush(client)
	if c.head.Body.Kind == Empty {
		e.nodeDone(x, c, rest)
		return
	}
	c.state = nodeBody
}

// nodeBody takes a piece of the response body off the front of b.
func (e *Engine) nodeBody(c *Conn, b []byte) (rest []byte) {
	x := c.serves
	data, n, done, refusal := c.head.Body.Next(b)
	if refusal != nil {
		e.nodeFailed(c, gateway.FailedBroken)
		return nil
	}
	e.timeNode(c)
	if x.held && !e.holdPart(x, c, data) {
		return nil
	}
	if len(data) > 0 && !x.held {
		if x.FiltersBody() {
			data = x.FilterBody(data, false)
			e.raw = false
		}
		e.sendChunk(x, data)
		if x.Broken() {
			e.cut(x)
			return nil
		}
	}
	b = b[n:]
	if done {
		e.nodeDone(x, c, b)
		return nil
	}
	if x.client.full() {
		// The client is slow: the node waits, and it is the client whose time runs.
		e.pause(c)
		e.timeNode(c)
		e.timeClient(x.client)
	}
	return b
}

// sendChunk sends a piece of the response body.
func (e *Engine) sendChunk(x *exchange, data []byte) {
	if len(data) == 0 || x.noBody {
		return
	}
	x.written += int64(len(data))
	if x.chunks {
		e.passChunk(x.client, data)
	} else {
		e.pass(x.client, data)
	}
}

// passChunk is pass for one chunk of a chunked body.
func (e *Engine) passChunk(c *Conn, data []byte) {
	if len(data) == 0 {
		return
	}
	c.out = strconv.AppendInt(e.output(c), int64(len(data)), 16)
	c.out = append(c.out, "\r\n"...)
	e.pass(c, data)
	c.out = append(e.output(c), "\r\n"...)
	e.driver.Flush(c)
}

// nodeDone ends a response. surplus is what came behind it.
func (e *Engine) nodeDone(x *exchange, c *Conn, surplus []byte) {
	for name, value := range c.head.Body.Trailers {
		if trailerAllowed(name) {
			x.Response.Trailer.Add(name, value)
		}
	}
	client := x.client
	if x.held {
		e.leaveNode(x, c, surplus)
		x.HeldResponse(x.Response.Body)
		e.sendReply(x)
		e.again(client)
		return
	}
	client.out = e.output(client)
	if x.FiltersBody() {
		e.raw = false
		e.sendChunk(x, x.FilterBody(nil, true))
		if x.Broken() {
			e.cut(x)
			return
		}
	}
	if x.chunks {
		client.out = append(client.out, "0\r\n"...)
		for name, value := range x.Response.Trailer.All() {
			client.out = appendField(client.out, name, value)
		}
		client.out = append(client.out, "\r\n"...)
		e.driver.Flush(client)
	}
	e.leaveNode(x, c, surplus)
	e.finish(x)
	e.again(client)
}

func (e *Engine) nodeEOF(c *Conn) {
	switch {
	case c.state == nodeIdle:
		e.close(c)
	case c.state == nodeBody && c.head.Body.Kind == UntilClose && (c.session == nil || c.session.ended):
		e.nodeDone(c.serves, c, nil)
	default:
		e.nodeFailed(c, gateway.FailedBroken)
	}
}

// nodeFailed ends a node's connection that did not do what it should, and decides what becomes of its exchange.
func (e *Engine) nodeFailed(c *Conn, failure gateway.Failure) {
	x := c.serves
	c.serves = nil
	if c.state == nodeShakes && failure == gateway.FailedBroken {
		failure = gateway.FailedConnect
	}
	stale := failure == gateway.FailedBroken && !c.fresh && c.untouched
	if x != nil {
		x.blameNode(c, failure)
	}
	e.close(c)
	if x == nil {
		return
	}
	x.node = nil
	if x.client.state == clientStreams {
		// What else the client sends waits for the next node.
		x.client.state, x.client.deadline = clientWaits, 0
	}
	if x.held {
		e.breakHeld(x, failure.String())
		return
	}
	repeatable := c.state <= nodeShakes || idempotent(x.ForwardMethod()) && !x.streamed
	if stale && repeatable && !x.replied {
		// The node closed an idle connection just when it was used; that says nothing about the node.
		x.request = x.request[:0]
		e.dial(x, c.pool)
		return
	}
	e.attemptFailed(x, failure, repeatable)
}

func (e *Engine) attemptFailed(x *exchange, failure gateway.Failure, repeatable bool) {
	if x.replied {
		e.cut(x)
		return
	}
	if x.Failed(failure, repeatable && !x.streamed) {
		x.request = x.request[:0]
		e.forward(x)
		return
	}
	client := x.client
	e.reply(x)
	e.again(client)
}

// cut ends a response of which only a part has been sent, so that the client cannot take it for the whole: without its
// last chunk, short of its length, or, where only the end of the connection would end it, with a reset.
func (e *Engine) cut(x *exchange) {
	client, node := x.client, x.node
	if node != nil {
		x.node, node.serves = nil, nil
		e.close(node)
	}
	if !x.chunks && !x.sized {
		client.Reset = true
		e.abandon(client)
		return
	}
	x.last = true
	e.finish(x)
	e.again(client)
}

// idempotent reports whether a method may be repeated without the client's doing (RFC 9110 section 9.2.2).
func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}
