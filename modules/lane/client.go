// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"slices"
	"strconv"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// clientInput processes input of a client and returns what cannot be processed yet.
func (e *Engine) clientInput(c *Conn, b []byte) (rest []byte) {
	for len(b) > 0 && !c.gone {
		switch c.state {
		case clientIdle:
			if e.mustHold(c) {
				e.hold(c)
				return b
			}
			var more bool
			if b, more = e.clientHead(c, b); more {
				return b
			}
		case clientCollects, clientStreams, clientDrains:
			if c.blocked() {
				return b
			}
			b = e.clientBody(c, b)
		case clientLingers:
			return nil
		default:
			return b
		}
	}
	return b
}

// clientHead takes a request head off the front of b. more says that it is not complete, or that the connection left.
func (e *Engine) clientHead(c *Conn, b []byte) (rest []byte, more bool) {
	if c.scan == (scanner{}) {
		if !c.skipped {
			whole := len(b)
			if b, more = skipEmptyLine(b); more {
				return b, true
			}
			c.skipped = len(b) < whole
		}
		if len(b) == 0 {
			return nil, true
		}
		c.deadline = e.now + e.timeouts.Head
		if b[0] == 'P' && isPreface(b) {
			e.handOver(c, b)
			return nil, true
		}
	}
	n, refusal := c.scan.scan(b, e.limits.HeadBytes)
	if refusal != nil {
		e.refuse(c, refusal)
		return nil, true
	}
	if n == 0 {
		return b, true
	}
	c.skipped = false
	x := e.acquire()
	x.client, c.x = c, x
	x.head = append(x.head, b[:n]...)
	r := &x.Request
	r.Scheme = "http"
	if c.session != nil {
		r.Scheme, r.TLS = "https", &c.session.state
	}
	r.Client, r.Peer, r.Local = c.remote, c.remote, c.local
	x.framing, refusal = parseRequest(x.head, r, e.limits)
	if refusal != nil {
		e.refuse(c, refusal)
		return nil, true
	}
	if x.framing.Upgrade {
		e.giveUp(x, b)
		return nil, true
	}
	x.bodyDone = x.framing.Body.Kind == Empty
	x.last = x.framing.Close || e.draining || c.site.closing.Load()
	x.Start = e.clock
	c.deadline = 0
	serves := c.site.serving.Load()
	if serves == nil || serves.Hosts != nil && !serves.Hosts.Has(r.Host) {
		e.giveUp(x, b)
		return nil, true
	}
	x.serves = serves
	serves.Gateway.Begin(&x.Exchange, x)
	if !laneCan(x) {
		e.giveUp(x, b)
		return nil, true
	}
	c.state = clientWaits
	e.begin(x)
	e.step(x, x.Next(false))
	return b[n:], false
}

// laneCan reports whether a lane can serve the request's route: its nodes must speak HTTP/1.1. A route that only the
// request body decides is not known in time.
func laneCan(x *exchange) bool {
	if x.Table.ReadsBody(&x.Exchange) > 0 {
		return false
	}
	route := x.Peek()
	if route == nil {
		return true
	}
	upstream := route.Upstream
	if route.UpstreamID != "" {
		upstream = x.Table.Upstream(route.UpstreamID)
	}
	return upstream == nil || speaksHTTP1(upstream.Scheme)
}

// giveUp hands a connection over before any hook has seen the request that read begins with.
func (e *Engine) giveUp(x *exchange, read []byte) {
	c := x.client
	c.x = nil
	e.release(x)
	e.handOver(c, read)
}

// isPreface reports whether b may be the connection preface of HTTP/2 (RFC 9113 section 3.4).
func isPreface(b []byte) bool {
	const preface = "PRI * HTTP/2.0\r\n"
	return text(b[:min(len(b), len(preface))]) == preface[:min(len(b), len(preface))] && len(b) > 3
}

func (e *Engine) handOver(c *Conn, read []byte) {
	c.gone = true
	e.forget(c)
	if s := c.session; s != nil {
		// The driver's buffer, in which more may have come, is only good until Data returns.
		s.memory.in = slices.Clone(s.memory.in)
	}
	e.driver.HandOver(c, read)
}

// step does what an exchange asks for.
func (e *Engine) step(x *exchange, step gateway.Step) {
	for {
		switch step {
		case gateway.StepReply:
			e.reply(x)
		case gateway.StepForward:
			e.forward(x)
		case gateway.StepBlock:
			e.park(x)
		case gateway.StepBody:
			if x.bodyDone {
				x.SetBody(x.body, nil)
				step = x.Next(false)
				continue
			}
			x.client.state = clientCollects
			e.proceed(x)
		}
		return
	}
}

// proceed tells a client that waits for it to send the body (RFC 9110 section 10.1.1).
func (e *Engine) proceed(x *exchange) {
	if x.framing.Expect {
		x.framing.Expect = false
		e.write(x.client, []byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
	e.timeClient(x.client)
}

// clientBody takes a piece of the request body off the front of b.
func (e *Engine) clientBody(c *Conn, b []byte) (rest []byte) {
	x := c.x
	data, n, done, refusal := x.framing.Body.Next(b)
	if refusal != nil {
		e.refuseBody(x, refusal)
		return nil
	}
	x.bodyDone = done
	e.timeClient(c)
	if c.state != clientDrains {
		x.read += int64(len(data))
	}
	switch c.state {
	case clientCollects:
		x.body = append(x.body, data...)
		limit := x.BodyLimit()
		if x.reader != nil {
			limit = x.readLimit
		}
		over := int64(len(x.body)) > limit
		if !done && !over {
			break
		}
		c.deadline = 0
		if x.reader != nil {
			c.state = clientParked
			x.answerReader(over)
			break
		}
		c.state = clientWaits
		if over {
			x.SetBody(nil, gateway.ErrBodyTooLarge)
		} else {
			x.SetBody(x.body, nil)
		}
		e.step(x, x.Next(false))
	case clientStreams:
		e.sendBody(x, data, done)
		if done {
			c.state = clientWaits
		} else if c.blocked() {
			e.pause(c)
		}
		e.timeClient(c)
		if x.node != nil {
			e.timeNode(x.node)
		}
	case clientDrains:
		if done {
			e.finish(x)
		}
	}
	return b[n:]
}

// refuse answers input that is no acceptable request, and ends the connection.
func (e *Engine) refuse(c *Conn, refusal *Refusal) {
	x := c.x
	if x == nil {
		x = e.acquire()
		x.client, c.x = c, x
		x.Request.Method = "GET"
	}
	x.Start = e.clock
	x.last, x.bodyDone = true, true
	serves := c.site.serving.Load()
	if serves == nil {
		e.close(c)
		return
	}
	x.serves = serves
	serves.Gateway.Begin(&x.Exchange, x)
	x.Blame(gateway.ByClient, gateway.PhaseHead, refusal.Why)
	x.Reject(refusal.Status)
	e.reply(x)
}

// refuseBody ends an exchange whose body turned out to be malformed.
func (e *Engine) refuseBody(x *exchange, refusal *Refusal) {
	if x.replied || x.parked {
		e.abandon(x.client)
		return
	}
	if node := x.node; node != nil {
		x.node, node.serves = nil, nil
		e.close(node)
	}
	x.last, x.bodyDone = true, true
	x.Blame(gateway.ByClient, gateway.PhaseBody, refusal.Why)
	x.Reject(refusal.Status)
	e.reply(x)
}

// reply sends the gateway's own response.
func (e *Engine) reply(x *exchange) {
	x.FilterHeader()
	e.sendReply(x)
}

// sendReply sends a response of the gateway's own whose head is complete.
func (e *Engine) sendReply(x *exchange) {
	c := x.client
	body := x.Response.Body
	if x.FiltersBody() {
		body = x.FilterBody(body, true)
	}
	head := x.Request.Method == "HEAD"
	if !x.bodyDone && x.framing.Expect {
		// The client has not sent the body and will not: nothing to drain, but nobody can tell where a next request begins.
		x.last = true
	}
	out := e.appendHead(x, e.output(c))
	if bodyAllowed(x.Response.Status) {
		out = append(out, "Content-Length: "...)
		x.length = int64(len(body))
		length := x.length
		if x.Broken() {
			// One more than there will be.
			length++
		}
		out = strconv.AppendInt(out, length, 10)
		out = append(out, "\r\n"...)
	}
	out = append(out, "\r\n"...)
	if !head && bodyAllowed(x.Response.Status) {
		out = append(out, body...)
		x.written = int64(len(body))
	}
	c.out = out
	x.replied = true
	e.driver.Flush(c)
	if x.Broken() {
		x.sized = true
		e.cut(x)
		return
	}
	if x.bodyDone || x.last {
		e.finish(x)
		return
	}
	c.state = clientDrains
	e.timeClient(c)
}

func bodyAllowed(status int) bool { return status >= 200 && status != 204 && status != 304 }

// appendHead writes the status line and the fields of x.Response, without framing and the final empty line.
func (e *Engine) appendHead(x *exchange, out []byte) []byte {
	if x.counted {
		x.headAt = time.Now()
	}
	out = appendStatusLine(out, x.Response.Status)
	dated := false
	for name, value := range x.Response.Header.All() {
		if len(name) == 14 && gateway.EqualFold(name, "Content-Length") {
			continue
		}
		dated = dated || len(name) == 4 && gateway.EqualFold(name, "Date")
		out = appendField(out, name, value)
	}
	if !dated {
		out = append(out, e.date()...)
	}
	if x.serves != nil && x.serves.AltSvc != "" && x.client.session != nil {
		out = appendField(out, "Alt-Svc", x.serves.AltSvc)
	}
	switch {
	case x.last:
		out = append(out, "Connection: close\r\n"...)
	case x.Request.ProtoMinor == 0:
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	return out
}

// finish ends an exchange whose response has been written, and readies the connection for the next.
func (e *Engine) finish(x *exchange) {
	c := x.client
	c.x = nil
	last := x.last
	c.fresh, c.parts = false, x.framing.Close && x.bodyDone && c.session == nil
	e.end(x)
	if c.gone {
		return
	}
	if last {
		e.linger(c)
		return
	}
	c.state = clientIdle
	c.deadline = e.now + e.timeouts.Write
	if c.unsent() == 0 {
		c.deadline = e.now + e.timeouts.Idle
		e.dropOutput(c)
	}
	e.resume(c)
}

// linger ends a connection once its output is sent and the client has closed.
func (e *Engine) linger(c *Conn) {
	c.state = clientLingers
	c.deadline = e.now + e.timeouts.Write
	c.in = nil
	e.resume(c)
	c.sayGoodbye()
	e.driver.Flush(c)
	if c.unsent() == 0 {
		e.lastSent(c)
	}
}

// lastSent goes on with lingering when everything has been sent.
func (e *Engine) lastSent(c *Conn) {
	if c.eof || c.parts {
		e.close(c)
		return
	}
	c.deadline = e.now + e.timeouts.Linger
	e.driver.CloseWrite(c)
}

// clientEOF: a half-closed client still gets its answers; one that left in the middle of a request does not.
func (e *Engine) clientEOF(c *Conn) {
	if c.held {
		return
	}
	switch c.state {
	case clientIdle:
		if c.unsent() == 0 {
			e.close(c)
			return
		}
		e.linger(c)
	case clientLingers:
		if c.unsent() == 0 {
			e.close(c)
		}
	case clientDrains:
		// It has its answer, or will have.
		c.x.last = true
		e.finish(c.x)
	case clientCollects, clientStreams:
		e.abandon(c)
	}
}

// abandon ends a client's connection in the middle of whatever it did.
func (e *Engine) abandon(c *Conn) {
	x := c.x
	if x != nil && x.node != nil && x.replied && !x.chunks && !x.sized {
		// The client must not take what it has of the response for the whole.
		c.Reset = true
	}
	e.close(c)
	if x == nil {
		return
	}
	c.x = nil
	if node := x.node; node != nil {
		x.node, node.serves = nil, nil
		e.close(node)
	}
	if x.cancel != nil {
		x.cancel()
	}
	if x.parked {
		// Until it is back the exchange is the goroutine's.
		x.abandoned = true
		x.cutReader()
		return
	}
	if !x.replied {
		x.Response.Status = 499
	}
	x.blameClient(c)
	e.end(x)
}
