// SPDX-License-Identifier: Apache-2.0

package gateway

import "strconv"

// BeginResponse makes room for the head of a node's response: the wire then adds the node's fields, without those that
// concern one connection, to x.Response.Header and calls FilterHeader.
func (x *Exchange) BeginResponse(status int) {
	x.endAttempt(status, NoFailure)
	x.blame = Blame{}
	if status >= 500 {
		x.Blame(ByUpstream, PhaseAnswer, "")
	}
	x.early.Reset()
	x.early, x.Response.Header = x.Response.Header, x.early
	x.Response.Status, x.Response.FromNode = status, true
	x.Response.Body = nil
	x.Response.Trailer.Reset()
}

// FilterHeader completes the head of the response: what hooks set early, the gateway's own fields, then the header
// filters. It is called once, when the head is known. When a filter panics the response becomes the gateway's own 500.
func (x *Exchange) FilterHeader() {
	h := &x.Response.Header
	for name := range x.early.All() {
		if !EqualFold(name, "Set-Cookie") {
			h.Del(name)
		}
	}
	for name, value := range x.early.All() {
		h.Add(name, value)
	}
	x.setOwnFields()
	defer func() {
		if p := recover(); p != nil {
			h.Reset()
			x.panicked(p)
			x.setOwnFields()
		}
	}()
	if globals := x.Table.Globals(); globals != nil {
		for _, hook := range globals.headerFilters {
			if x.enterFilter(globalStates, hook) {
				hook.headerFilter.FilterHeader(x)
			}
		}
	}
	if x.chain != nil {
		for _, hook := range x.chain.headerFilters {
			if x.enterFilter(routeStates, hook) {
				hook.headerFilter.FilterHeader(x)
			}
		}
	}
	x.beginEncoding()
}

// SetBefore reports whether a hook set a field of the response before there was one: what it has now of that name is not
// the node's.
func (x *Exchange) SetBefore(name string) bool {
	_, ok := x.early.Lookup(name)
	return ok
}

func (x *Exchange) setOwnFields() {
	if x.Settings.Server != "" {
		x.Response.Header.Set("Server", x.Settings.Server)
	}
	x.setUpstreamStatus()
}

// setUpstreamStatus tells the client what nodes answered when that is a server error, or always if so configured.
func (x *Exchange) setUpstreamStatus() {
	attempts := x.Forward.Attempts
	if len(attempts) == 0 {
		return
	}
	if last := attempts[len(attempts)-1].Status; last < 500 && !x.Settings.ShowUpstreamStatus {
		return
	}
	text := make([]byte, 0, 5*len(attempts))
	for i := range attempts {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = strconv.AppendInt(text, int64(attempts[i].Status), 10)
	}
	x.Response.Header.Set("X-APISIX-Upstream-Status", string(text))
}

// enterFilter is enter for the hooks after the response head, which also run when the exchange ended before its plugin
// states were prepared.
func (x *Exchange) enterFilter(set int, h *hook) bool {
	if h.slot >= len(x.states[set]) {
		return false
	}
	return x.enter(set, h)
}

// FiltersBody reports whether any hook sees the body. When none does the wire need not call FilterBody.
func (x *Exchange) FiltersBody() bool {
	globals := x.Table.Globals()
	return x.encoding != nil || globals != nil && len(globals.bodyFilters) > 0 || x.chain != nil && len(x.chain.bodyFilters) > 0
}

// FilterBody passes a chunk of the response body through the body filters and returns what is to be sent: valid until the
// next call, and not to be changed, as it may be shared. When the response is Broken nothing more comes out.
func (x *Exchange) FilterBody(chunk []byte, last bool) (filtered []byte) {
	if x.broken {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			x.logPanic(p)
			filtered, x.broken = nil, true
			x.Blame(ByGateway, PhaseFilter, "panic")
		}
	}()
	if globals := x.Table.Globals(); globals != nil {
		for _, h := range globals.bodyFilters {
			if x.enterFilter(globalStates, h) {
				chunk = h.bodyFilter.FilterBody(x, chunk, last)
			}
		}
	}
	if x.chain != nil {
		for _, h := range x.chain.bodyFilters {
			if x.enterFilter(routeStates, h) {
				chunk = h.bodyFilter.FilterBody(x, chunk, last)
			}
		}
	}
	if x.encoding != nil && !x.broken {
		chunk = x.encode(chunk, last)
	}
	if x.broken {
		return nil
	}
	return chunk
}

// Break ends the response where it is. A body filter calls it when it can neither filter the rest of the body nor leave
// it as it is; a panic in one does the same.
func (x *Exchange) Break() {
	x.broken = true
	x.Blame(ByGateway, PhaseFilter, "body filter gave up")
}

// Broken says that the rest of the body must not be sent, nor may the response look complete: the wire closes the client's
// connection.
func (x *Exchange) Broken() bool { return x.broken }

// Finish runs the log hooks and lets go of the node. The wire calls it once for each Begin, whatever happened, and then
// Reset before the exchange is used again. When the client went before there was a response its status is nginx's 499.
func (x *Exchange) Finish() {
	x.endAttempt(0, NoFailure)
	if node := x.Forward.Node; node != nil {
		node.State.InFlight.Add(-1)
		x.Forward.Node = nil
	}
	if x.Response.Status == 0 {
		x.Response.Status = statusClientGone
		if x.blame.By == Nobody {
			x.Blame(ByClient, PhaseWait, "client has gone")
		}
	}
	if globals := x.Table.Globals(); globals != nil {
		for _, h := range globals.loggers {
			x.runLogger(globalStates, h)
		}
	}
	if x.chain != nil {
		for _, h := range x.chain.loggers {
			x.runLogger(routeStates, h)
		}
	}
	x.endEncoding()
}

const statusClientGone = 499

// runLogger runs one log hook. They do not depend on each other, so a panic in one takes nothing from the others.
func (x *Exchange) runLogger(set int, h *hook) {
	defer func() {
		if p := recover(); p != nil {
			x.logPanic(p)
		}
	}()
	if x.enterFilter(set, h) {
		h.logger.Log(x)
	}
}
