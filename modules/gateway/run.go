// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"runtime/debug"
	"strconv"

	"go.uber.org/zap"
)

// Step is what an exchange wants of its wire.
type Step uint8

const (
	// StepForward: send the request to a node.
	StepForward Step = iota
	// StepReply: x.Response is complete.
	StepReply
	// StepBody: read the request body, up to x.BodyLimit() bytes, give it to x.SetBody and call Next again.
	StepBody
	// StepBlock: the next hook may wait. Call Next(true) where that is allowed.
	StepBlock
)

// stage is how far an exchange has come before its response; data-plane.md section 1 numbers the same steps.
type stage uint8

const (
	stageMatch stage = iota
	stageGlobalRewrite
	stageRouteRewrite
	stageConsumer
	stageAddedRewrite
	stageGlobalAccess
	stageRouteAccess
	stageUpstream
	stageDone
)

// Which of x.states a chain's plugins keep their state in.
const (
	globalStates = iota
	routeStates
)

// Next runs hooks until the wire has to do something. With mayBlock it runs Blocking hooks where they come; without, it
// returns StepBlock in front of each.
func (x *Exchange) Next(mayBlock bool) (step Step) {
	defer func() {
		if p := recover(); p != nil {
			x.panicked(p)
			step = StepReply
		}
	}()
	for x.stage != stageDone {
		step, stop := x.advance(mayBlock)
		if stop {
			return step
		}
	}
	return StepForward
}

// advance runs one stage. stop says that step is for the wire; otherwise the next stage is due.
func (x *Exchange) advance(mayBlock bool) (step Step, stop bool) {
	globals := x.Table.Globals()
	switch x.stage {
	case stageMatch:
		if limit := x.Table.ReadsBody(x); limit > 0 && !x.bodyKnown {
			x.bodyLimit = limit
			return StepBody, true
		}
		if x.match(); x.Route != nil {
			x.chain = x.Route.Chain
			if x.Route.Fault != 0 {
				x.log().Warn("route cannot be served", zap.String("route", x.Route.ID), zap.String("reason", x.Route.FaultReason))
				return x.reply(x.Route.Fault, nil), true
			}
		}
		x.prepareStates(globalStates, globals)
		x.prepareStates(routeStates, x.chain)
	case stageGlobalRewrite:
		step, stop = x.rewrite(globalStates, globals.rewriteHooks(), mayBlock)
	case stageRouteRewrite:
		step, stop = x.rewrite(routeStates, x.chain.rewriteHooks(), mayBlock)
	case stageConsumer:
		if x.Consumer == nil {
			break
		}
		if x.Consumer.Fault != 0 {
			return x.reply(x.Consumer.Fault, nil), true
		}
		x.chain = x.chain.forConsumer(x.Consumer)
		x.prepareStates(routeStates, x.chain)
	case stageAddedRewrite:
		step, stop = x.rewrite(routeStates, x.chain.addedHooks(), mayBlock)
	case stageGlobalAccess:
		step, stop = x.access(globalStates, globals.accessHooks(), mayBlock)
	case stageRouteAccess:
		step, stop = x.access(routeStates, x.chain.accessHooks(), mayBlock)
	case stageUpstream:
		step, stop = x.chooseUpstream()
	}
	if !stop {
		x.stage, x.pc = x.stage+1, 0
	}
	return step, stop
}

func (c *Chain) rewriteHooks() []*hook {
	if c == nil {
		return nil
	}
	return c.rewriters
}

func (c *Chain) addedHooks() []*hook {
	if c == nil {
		return nil
	}
	return c.added
}

func (c *Chain) accessHooks() []*hook {
	if c == nil {
		return nil
	}
	return c.accessors
}

func (x *Exchange) prepareStates(set int, chain *Chain) {
	if chain == nil {
		return
	}
	for len(x.states[set]) < chain.slots {
		x.states[set] = append(x.states[set], pluginState{})
	}
}

// rewrite runs the hooks of one stage from x.pc on. x.pc stays on a hook that is not done, so that Next can be called
// again.
func (x *Exchange) rewrite(set int, hooks []*hook, mayBlock bool) (Step, bool) {
	for ; x.pc < len(hooks); x.pc++ {
		h := hooks[x.pc]
		if !x.enter(set, h) {
			continue
		}
		if step, stop := x.require(h, h.accessor == nil, mayBlock); stop {
			return step, true
		}
		if h.rewriter.Rewrite(x) == Exit {
			return x.exited(h), true
		}
	}
	return 0, false
}

// access is rewrite's twin for the access stages. A request without a route ends here, after the global rules.
func (x *Exchange) access(set int, hooks []*hook, mayBlock bool) (Step, bool) {
	for ; x.pc < len(hooks); x.pc++ {
		h := hooks[x.pc]
		if !x.enter(set, h) {
			continue
		}
		if step, stop := x.require(h, true, mayBlock); stop {
			return step, true
		}
		if h.accessor.Access(x) == Exit {
			return x.exited(h), true
		}
	}
	if x.Route == nil {
		return x.reply(404, noRoute), true
	}
	return 0, false
}

// enter makes h the running plugin and reports whether it takes part in this exchange.
func (x *Exchange) enter(set int, h *hook) bool {
	state := &x.states[set][h.slot]
	x.current = state
	if set == globalStates && h.Plugin.PreferRoute && x.chain.Has(h.Plugin) {
		return false
	}
	if h.Filter == nil {
		return true
	}
	if state.filter == filterUnknown {
		state.filter = filterFalse
		if h.Filter(x) {
			state.filter = filterTrue
		}
	}
	return state.filter == filterTrue
}

// require returns what the wire has to do before h may run. readsNow says that this is the hook for which the body is
// read.
func (x *Exchange) require(h *hook, readsNow, mayBlock bool) (Step, bool) {
	if h.bodyLimit > 0 && readsNow && !x.bodyKnown {
		x.bodyLimit = h.bodyLimit
		return StepBody, true
	}
	if h.Plugin.Blocking && !mayBlock {
		return StepBlock, true
	}
	return 0, false
}

// exited ends the stages after a hook returned Exit.
func (x *Exchange) exited(h *hook) Step {
	body := x.Response.Body
	if h.ErrorResponse != nil && x.Response.Status >= 400 {
		body = h.ErrorResponse
		if h.ErrorIsJSON {
			x.Response.Header.Set("Content-Type", "application/json")
		}
	}
	return x.reply(x.Response.Status, body)
}

// reply completes the gateway's own response.
func (x *Exchange) reply(status int, body []byte) Step {
	x.stage = stageDone
	r := &x.Response
	r.Status, r.FromNode = status, false
	contentType := defaultContentType
	if body == nil && status >= 400 {
		body, contentType = statusPage(status), "text/html; charset=utf-8"
	}
	r.Body = body
	if len(body) > 0 && r.Header.Get("Content-Type") == "" {
		r.Header.Add("Content-Type", contentType)
	}
	return StepReply
}

// chooseUpstream settles where the request goes, as data-plane.md section 1 step 12 orders it.
func (x *Exchange) chooseUpstream() (Step, bool) {
	f := &x.Forward
	if f.Upstream == nil {
		f.Upstream = x.Route.Upstream
		if id := x.Route.UpstreamID; id != "" {
			f.Upstream = x.Table.Upstream(id)
			if f.Upstream == nil {
				return x.refuse(502, "upstream "+id+" does not exist"), true
			}
		}
	}
	switch {
	case f.Upstream == nil:
		return x.refuse(503, "the route has no upstream"), true
	case f.Upstream.Fault != 0:
		return x.refuse(f.Upstream.Fault, f.Upstream.FaultReason), true
	case f.Upstream.Balancer == nil:
		return x.refuse(503, "the upstream has no nodes"), true
	}
	x.setForwardedFields()
	return 0, false
}

func (x *Exchange) refuse(status int, reason string) Step {
	x.log().Warn("request cannot be forwarded",
		zap.String("route", x.Route.ID), zap.Int("status", status), zap.String("reason", reason))
	return x.reply(status, nil)
}

func (x *Exchange) beforeProxy() {
	if globals := x.Table.Globals(); globals != nil {
		for _, h := range globals.beforeProxies {
			if x.enter(globalStates, h) {
				h.beforeProxy.BeforeProxy(x)
			}
		}
	}
	if x.chain != nil {
		for _, h := range x.chain.beforeProxies {
			if x.enter(routeStates, h) {
				h.beforeProxy.BeforeProxy(x)
			}
		}
	}
}

// BeginResponse makes room for the head of a node's response: the wire then adds the node's fields, without those that
// concern one connection, to x.Response.Header and calls FilterHeader.
func (x *Exchange) BeginResponse(status int) {
	x.endAttempt(status, NoFailure)
	x.early.Reset()
	x.early, x.Response.Header = x.Response.Header, x.early
	x.Response.Status, x.Response.FromNode = status, true
	x.Response.Body = nil
}

// FilterHeader completes the head of the response: what hooks set early, the gateway's own fields, then the header
// filters. It is called once, when the head is known.
func (x *Exchange) FilterHeader() {
	h := &x.Response.Header
	for name := range x.early.All() {
		h.Del(name)
	}
	for name, value := range x.early.All() {
		h.Add(name, value)
	}
	if x.Settings.Server != "" {
		h.Set("Server", x.Settings.Server)
	}
	x.setUpstreamStatus()
	defer x.recoverFilter("header_filter")
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
	return globals != nil && len(globals.bodyFilters) > 0 || x.chain != nil && len(x.chain.bodyFilters) > 0
}

// FilterBody passes a chunk of the response body through the body filters and returns what is to be sent. The chunk may
// be changed; the result is valid until the next call.
func (x *Exchange) FilterBody(chunk []byte, last bool) []byte {
	defer x.recoverFilter("body_filter")
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
	return chunk
}

// Finish runs the log hooks and lets go of the node. The wire calls it once for each Begin, whatever happened, and then
// Reset before the exchange is used again.
func (x *Exchange) Finish() {
	x.endAttempt(x.Response.Status, NoFailure)
	if node := x.Forward.Node; node != nil {
		node.State.InFlight.Add(-1)
		x.Forward.Node = nil
	}
	defer x.recoverFilter("log")
	if globals := x.Table.Globals(); globals != nil {
		for _, h := range globals.loggers {
			if x.enterFilter(globalStates, h) {
				h.logger.Log(x)
			}
		}
	}
	if x.chain != nil {
		for _, h := range x.chain.loggers {
			if x.enterFilter(routeStates, h) {
				h.logger.Log(x)
			}
		}
	}
}

func (x *Exchange) panicked(p any) {
	x.log().Error("plugin panicked", zap.String("panic", fmt.Sprint(p)), zap.ByteString("stack", debug.Stack()))
	x.reply(500, nil)
}

func (x *Exchange) recoverFilter(phase string) {
	if p := recover(); p != nil {
		x.log().Error("plugin panicked", zap.String("phase", phase), zap.String("panic", fmt.Sprint(p)),
			zap.ByteString("stack", debug.Stack()))
	}
}

func (x *Exchange) log() *zap.Logger {
	if x.Settings == nil || x.Settings.Log == nil {
		return zap.NewNop()
	}
	return x.Settings.Log
}
