// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"runtime/debug"

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
	// StepBlock: the next hook may wait, or has to. Call Next(true) where that is allowed.
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
// returns StepBlock in front of each, and behind one that has to wait.
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

// Peek matches the request, if that has not been done, and returns its route: for a wire that has to know before the
// first hook runs whether it can serve it. It must not be called when Table.ReadsBody asks for a body that is not there.
func (x *Exchange) Peek() *Route {
	if !x.matched {
		x.matched = true
		x.match()
	}
	return x.Route
}

// advance runs one stage. stop says that step is for the wire; otherwise the next stage is due.
func (x *Exchange) advance(mayBlock bool) (step Step, stop bool) {
	globals := x.Table.Globals()
	switch x.stage {
	case stageMatch:
		if status := x.clientFault(); status != 0 {
			return x.reply(status, nil), true
		}
		x.prepareStates(globalStates, globals)
		if limit := x.Table.ReadsBody(x); limit > 0 && x.lacksBody(limit) {
			return x.askBody(limit), true
		}
		if x.Peek(); x.Route == nil {
			break
		}
		if x.Route.Fault != 0 {
			x.log().Warn("route cannot be served", zap.String("route", x.Route.ID), zap.String("reason", x.Route.FaultReason))
			x.blameStatus(x.Route.Fault, PhaseMatch, x.Route.FaultReason)
			return x.reply(x.Route.Fault, nil), true
		}
		x.chain = x.Route.Chain
		x.prepareStates(routeStates, x.chain)
	case stageGlobalRewrite:
		step, stop = x.rewrite(globalStates, globals.rewriteHooks(), mayBlock)
	case stageRouteRewrite:
		step, stop = x.rewrite(routeStates, x.chain.rewriteHooks(), mayBlock)
	case stageConsumer:
		if x.Consumer == nil || x.Route == nil {
			break
		}
		if x.Consumer.Fault != 0 {
			x.blameStatus(x.Consumer.Fault, PhasePlugin, "the consumer's group is missing")
			return x.reply(x.Consumer.Fault, nil), true
		}
		x.joinConsumer()
	case stageAddedRewrite:
		step, stop = x.rewrite(routeStates, x.chain.addedHooks(), mayBlock)
	case stageGlobalAccess:
		step, stop = x.access(globalStates, globals.accessHooks(), mayBlock)
	case stageRouteAccess:
		step, stop = x.access(routeStates, x.chain.accessHooks(), mayBlock)
	case stageUpstream:
		if limit := max(globals.filterLimit(), x.chain.filterLimit()); limit > 0 && x.lacksBody(limit) {
			return x.askBody(limit), true
		}
		if step, stop = x.chooseUpstream(); !stop && !x.Route.Onward {
			x.setForwardedFields()
		}
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

// filterLimit is how much of the request body the chain's filters look at. A filter that decides only after the request
// was forwarded finds the body read.
func (c *Chain) filterLimit() int64 {
	if c == nil {
		return 0
	}
	return c.filterReads
}

// joinConsumer goes on with the chain that the consumer's plugins have joined. A filter is evaluated once per config, so
// what that of a replaced config said does not count for the new one.
func (x *Exchange) joinConsumer() {
	x.chain = x.chain.forConsumer(x.Consumer)
	x.prepareStates(routeStates, x.chain)
	if x.chain != nil {
		for _, slot := range x.chain.replaced {
			x.states[routeStates][slot].filter = filterUnknown
		}
	}
}

func (x *Exchange) askBody(limit int64) Step {
	x.bodyLimit = limit
	return StepBody
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
		if x.filterLacksBody(set, h) {
			return x.askBody(h.FilterReadsBody), true
		}
		if !x.enter(set, h) {
			continue
		}
		if step, stop := x.require(h, h.accessor == nil, mayBlock); stop {
			return step, true
		}
		verdict := h.rewriter.Rewrite(x)
		if verdict == Wait {
			if !mayBlock {
				return StepBlock, true
			}
			verdict = h.rewriter.Rewrite(x)
		}
		if verdict == Exit {
			return x.exited(h), true
		}
	}
	return 0, false
}

// access is rewrite's twin for the access stages. A request without a route ends here, after the global rules.
func (x *Exchange) access(set int, hooks []*hook, mayBlock bool) (Step, bool) {
	for ; x.pc < len(hooks); x.pc++ {
		h := hooks[x.pc]
		if x.filterLacksBody(set, h) {
			return x.askBody(h.FilterReadsBody), true
		}
		if !x.enter(set, h) {
			continue
		}
		if step, stop := x.require(h, true, mayBlock); stop {
			return step, true
		}
		verdict := h.accessor.Access(x)
		if verdict == Wait {
			if !mayBlock {
				return StepBlock, true
			}
			verdict = h.accessor.Access(x)
		}
		if verdict == Exit {
			return x.exited(h), true
		}
	}
	if x.Route == nil {
		x.Blame(ByClient, PhaseMatch, "no route")
		return x.reply(404, noRoute), true
	}
	return 0, false
}

func (x *Exchange) filterLacksBody(set int, h *hook) bool {
	return h.FilterReadsBody > 0 && x.states[set][h.slot].filter == filterUnknown && x.lacksBody(h.FilterReadsBody)
}

// enter makes h the running plugin and reports whether it takes part in this exchange.
func (x *Exchange) enter(set int, h *hook) bool {
	state := &x.states[set][h.slot]
	x.current, x.hookLimit = state, h.bodyLimit
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
	if h.bodyLimit > 0 && readsNow && x.lacksBody(h.bodyLimit) && (h.bodyDecider == nil || h.bodyDecider.NeedsBody(x)) {
		return x.askBody(h.bodyLimit), true
	}
	if h.blocks && !mayBlock {
		return StepBlock, true
	}
	return 0, false
}

// Reject ends the exchange with a status page, before the first Next or in the place of another: what the wire itself
// holds against the request. x.Response is then to be sent as for [StepReply].
func (x *Exchange) Reject(status int) { x.reply(status, nil) }

// exited ends the stages after a hook returned Exit.
func (x *Exchange) exited(h *hook) Step {
	body := x.Response.Body
	x.blameStatus(x.Response.Status, PhasePlugin, h.Plugin.Name)
	if x.Response.Status == 0 {
		x.Blame(ByGateway, PhasePlugin, h.Plugin.Name)
		x.log().Error("plugin ended the request without a response", zap.String("plugin", h.Plugin.Name))
		return x.reply(500, nil)
	}
	if h.ErrorResponse != nil && x.Response.Status >= 400 {
		body = h.ErrorResponse
	}
	return x.reply(x.Response.Status, body)
}

// reply completes the gateway's own response.
func (x *Exchange) reply(status int, body []byte) Step {
	x.stage = stageDone
	r := &x.Response
	r.Status, r.FromNode = status, false
	if body == nil && status >= 400 {
		body = statusPage(status)
		r.Header.Set("Content-Type", "text/html; charset=utf-8")
	}
	r.Body = body
	if len(body) > 0 && r.Header.Get("Content-Type") == "" {
		r.Header.Add("Content-Type", defaultContentType)
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
	case x.Route.Onward:
		return 0, false
	case f.Upstream == nil:
		return x.refuse(503, "the route has no upstream"), true
	case f.Upstream.Fault != 0:
		return x.refuse(f.Upstream.Fault, f.Upstream.FaultReason), true
	case f.Upstream.Balancer == nil:
		return x.refuse(503, "the upstream has no nodes"), true
	}
	return 0, false
}

func (x *Exchange) refuse(status int, reason string) Step {
	x.log().Warn("request cannot be forwarded",
		zap.String("route", x.Route.ID), zap.Int("status", status), zap.String("reason", reason))
	x.blameStatus(status, PhaseBalance, reason)
	return x.reply(status, nil)
}

// beforeProxy leaves out the global rules of an exchange that is no request: nothing was prepared for them.
func (x *Exchange) beforeProxy() {
	if globals := x.Table.Globals(); globals != nil {
		for _, h := range globals.beforeProxies {
			if x.enterFilter(globalStates, h) {
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

func (x *Exchange) panicked(p any) {
	x.logPanic(p)
	x.Blame(ByGateway, PhasePlugin, "panic")
	x.reply(500, nil)
}

func (x *Exchange) logPanic(p any) {
	x.log().Error("plugin panicked", zap.String("panic", fmt.Sprint(p)), zap.ByteString("stack", debug.Stack()))
}

func (x *Exchange) log() *zap.Logger {
	if x.Settings.Log == nil {
		return zap.NewNop()
	}
	return x.Settings.Log
}
