// SPDX-License-Identifier: Apache-2.0

package gateway

// HoldsResponse returns how many bytes the body of a node's response may have that the wire reads to its end before the
// client gets to see anything, since a [ResponseReader] asks for that; 0 is a response that is passed on as it comes. The
// wire asks when the fields of the node are in x.Response.Header. It then calls [Exchange.HeldResponse] or, when the body
// has no end or a later one, [Exchange.BreakHeld], in the place of FilterHeader, and sends x.Response as for [StepReply]:
// its Body, through the body filters.
func (x *Exchange) HoldsResponse() (limit int64) {
	if hooks := x.Table.Globals().responseHooks(); len(hooks) > 0 {
		limit = x.responseLimit(globalStates, hooks)
	}
	if hooks := x.chain.responseHooks(); len(hooks) > 0 {
		limit = max(limit, x.responseLimit(routeStates, hooks))
	}
	return limit
}

func (c *Chain) responseHooks() []*hook {
	if c == nil {
		return nil
	}
	return c.responseReaders
}

func (x *Exchange) responseLimit(set int, hooks []*hook) (limit int64) {
	defer func() {
		if p := recover(); p != nil {
			// The header filter that lacks the body says what that means.
			x.logPanic(p)
		}
	}()
	for _, h := range hooks {
		if x.enterFilter(set, h) {
			limit = max(limit, h.responseReader.ReadsResponse(x))
		}
	}
	return limit
}

// HeldResponse takes the whole body of the node's response and runs the header filters. The trailers are in
// x.Response.Trailer by now.
func (x *Exchange) HeldResponse(body []byte) {
	x.Response.Body = body
	x.Response.Header.Del("Content-Length")
	x.Response.Header.Del("Trailer")
	x.FilterHeader()
}

// BreakHeld gives up on a response that is held: reason, a few words for logs, says why. The client gets a 502.
func (x *Exchange) BreakHeld(reason string) {
	x.Blame(ByUpstream, PhaseReceive, reason)
	x.Response.Header.Reset()
	x.Response.Trailer.Reset()
	x.reply(502, nil)
	x.FilterHeader()
}
