// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// Metrics counts the exchanges of a site. Its methods are called on the loops, by several at a time, and must not wait.
// A request that is no HTTP, which net/http would have answered without telling anybody, is not counted.
type Metrics interface {
	// Began is called when an exchange begins.
	Began(x *gateway.Exchange)
	// Ended is called once for each Began, when x.Response.Status is final.
	Ended(x *gateway.Exchange, measured Measured)
}

// Measured is the size of an exchange.
type Measured struct {
	// Took is how long the exchange lasted, ToHead how long until its response head was written; 0 when none was.
	Took, ToHead time.Duration
	// RequestBytes is roughly how long the request was, body included, as Caddy estimates it. ResponseBytes counts the
	// response's body.
	RequestBytes, ResponseBytes int64
}

// begin counts an exchange.
func (e *Engine) begin(x *exchange) {
	if metrics := x.serves.Metrics; metrics != nil {
		x.counted = true
		metrics.Began(&x.Exchange)
	}
}

// end runs the log hooks of an exchange, says what became of it, and makes it ready for another request.
func (e *Engine) end(x *exchange) {
	x.Finish()
	if serves := x.serves; serves != nil && (x.counted || serves.Log != nil) {
		took := time.Since(x.Start)
		if x.counted {
			e.measure(x, took)
		}
		if serves.Log != nil {
			e.record(x, took)
		}
	}
	e.release(x)
}

func (e *Engine) measure(x *exchange, took time.Duration) {
	measured := Measured{Took: took, RequestBytes: e.requestBytes(x), ResponseBytes: x.written}
	if !x.headAt.IsZero() {
		measured.ToHead = x.headAt.Sub(x.Start)
	}
	x.serves.Metrics.Ended(&x.Exchange, measured)
}

// requestBytes estimates the size of the request as Caddy does: without what separates its parts, a name that is repeated
// once, without the fields that net/http and Caddy's server take out, and with the one that they add.
func (e *Engine) requestBytes(x *exchange) int64 {
	n := len(x.Request.Target) + len(x.Request.Method) + len("HTTP/1.1") + len(x.Request.RawHost)
	var uncached, cached bool
	names := e.names[:0]
	_, rest := cutLine(x.head)
	for len(rest) > 2 {
		var line []byte
		line, rest = cutLine(rest)
		name, value, refusal := parseField(line, len(line))
		if refusal != nil || dropped(name) {
			continue
		}
		n += len(value)
		if slices.ContainsFunc(names, func(other []byte) bool { return len(other) == len(name) && is(name, text(other)) }) {
			continue
		}
		n += len(name)
		names = append(names, name)
		switch {
		case len(name) == 6 && is(name, "Pragma"):
			uncached = string(value) == "no-cache"
		case len(name) == 13 && is(name, "Cache-Control"):
			cached = true
		}
	}
	clear(names)
	e.names = names
	if uncached && !cached {
		n += len("Cache-Control") + len("no-cache")
	}
	return int64(n) + max(0, x.Request.ContentLength)
}

// cutLine takes a line off the front of a head.
func cutLine(head []byte) (line, rest []byte) {
	for i, c := range head {
		if c == '\n' {
			return head[:i-1], head[i+1:]
		}
	}
	return head, nil
}

// dropped reports whether a field is not among those that handlers of Caddy's server see.
func dropped(name []byte) bool {
	switch len(name) {
	case 4:
		if is(name, "Host") {
			return true
		}
	case 17:
		if is(name, "Transfer-Encoding") {
			return true
		}
	}
	for _, c := range name {
		if c == '_' || c == '.' {
			return true
		}
	}
	return false
}

// record leaves a record of the exchange to the journal.
func (e *Engine) record(x *exchange, took time.Duration) {
	if e.journal == nil {
		e.journal = newJournal(func() { e.driver.Post(e.goOn) })
	}
	c := x.client
	r := e.journal.blank()
	r.Serving, r.Start, r.Took, r.Status = x.serves, x.Start, took, x.Response.Status
	r.Read, r.Written, r.remote = x.read, x.written, c.remote
	if c.session != nil {
		r.TLS = &c.session.state
		if altSvc := x.serves.AltSvc; altSvc != "" {
			r.addResponse("Alt-Svc", altSvc)
		}
	}
	r.Summary.Take(&x.Exchange)
	if x.replied {
		x.recordResponse(r)
	}
	r.head, x.head = x.head, r.head
	e.journal.push(r)
}

func (x *exchange) recordResponse(r *Record) {
	own := !x.Response.FromNode || x.held
	for name, value := range x.Response.Header.All() {
		if own && len(name) == 14 && gateway.EqualFold(name, "Content-Length") {
			continue
		}
		r.addResponse(name, value)
	}
	if own && bodyAllowed(x.Response.Status) {
		r.addResponse("Content-Length", "")
		r.text = strconv.AppendInt(r.text, x.length, 10)
		r.ends[len(r.ends)-1] = len(r.text)
	}
	if x.chunks {
		announced := x.Response.Header.Get("Trailer")
		for name, value := range x.Response.Trailer.All() {
			if !lists(announced, name) {
				name = http.TrailerPrefix + name
			}
			r.addResponse(name, value)
		}
	}
}

func lists(list, name string) bool {
	for item := range options(list) {
		if gateway.EqualFold(item, name) {
			return true
		}
	}
	return false
}

func appendInt(b []byte, n int) []byte { return strconv.AppendInt(b, int64(n), 10) }

// blameClient records that it was the client which ended the exchange, unless the exchange was already lost.
func (x *exchange) blameClient(c *Conn) {
	if x.Blamed().By != gateway.Nobody {
		return
	}
	phase := gateway.PhaseWait
	switch {
	case x.replied:
		phase = gateway.PhaseReply
	case c.state == clientCollects || c.state == clientStreams:
		phase = gateway.PhaseBody
	}
	if c.engine.draining {
		x.Blame(gateway.ByGateway, phase, "shutting down")
		return
	}
	x.Blame(gateway.ByClient, phase, "client has gone, or takes nothing")
}

// blameNode records where the attempt on a node stands that has just failed.
func (x *exchange) blameNode(c *Conn, failure gateway.Failure) {
	switch {
	case x.replied:
		x.Blame(gateway.ByUpstream, gateway.PhaseReceive, failure.String())
	case c.state <= nodeShakes:
		x.Forward.Phase = gateway.PhaseConnect
	case x.client.state == clientStreams || c.unsent() > 0:
		x.Forward.Phase = gateway.PhaseSend
	default:
		x.Forward.Phase = gateway.PhaseWait
	}
}

// hold lets a client wait whose request could not be logged yet.
func (e *Engine) hold(c *Conn) {
	e.pause(c)
	if c.held {
		return
	}
	c.held, c.deadline = true, 0
	e.held = append(e.held, c)
	if len(e.held) == 1 {
		e.journal.hold()
	}
}

// mustHold reports whether c has to wait with its next request until the lines of others have been written.
func (e *Engine) mustHold(c *Conn) bool {
	if e.journal == nil || !e.journal.full() {
		return false
	}
	serves := c.site.serving.Load()
	return serves != nil && serves.Log != nil
}

// goOn lets go of the clients that were held.
func (e *Engine) goOn() {
	held := e.held
	e.held = nil
	for _, c := range held {
		if c.gone {
			continue
		}
		c.held, c.deadline = false, e.now+e.timeouts.Head
		e.resume(c)
		e.again(c)
	}
}
