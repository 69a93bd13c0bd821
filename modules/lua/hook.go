// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"net/http"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// Hook returns the program as what a plugin's New returns: it has the hook of that phase and no other. Where name is not
// empty it is that of the functions in the tables that the chunks return.
//
// Rewrite and Access run on a goroutine of their own, where they may wait and have much time: see [Apart]. The other hooks
// run where they are called, with little: see [OnLoop]. A function that fails there fails the response, or is logged where
// that has gone.
func Hook(p *Program, phase Phase, name string) any {
	h := hook{p, phase, name}
	switch phase {
	case Rewrite:
		return &rewriteHook{blocking{h}}
	case Access:
		return &accessHook{blocking{h}}
	case BeforeProxy:
		return &beforeProxyHook{h}
	case HeaderFilter:
		return &headerHook{h}
	case BodyFilter:
		return &bodyHook{h}
	case Log:
		return &logHook{h}
	}
	panic("lua: no hook runs when a route is looked for")
}

type hook struct {
	program *Program
	phase   Phase
	name    string
}

func (h *hook) call(x *gateway.Exchange, limits Limits) (Outcome, error) {
	if h.name != "" {
		return h.program.CallMember(x, h.phase, limits, h.name)
	}
	return h.program.Call(x, h.phase, limits)
}

func (h *hook) failed(err error) {
	h.program.log().Error("lua: a function failed", zap.Stringer("phase", h.phase), zap.Error(err))
}

// run is for hooks that cannot end the request.
func (h *hook) run(x *gateway.Exchange) bool {
	if _, err := h.call(x, OnLoop); err != nil {
		h.failed(err)
		return false
	}
	return true
}

// blocking is a hook that may wait.
type blocking struct{ hook }

// Blocks implements gateway.Blocker.
func (*blocking) Blocks() bool { return true }

func (h *blocking) decide(x *gateway.Exchange) gateway.Verdict {
	outcome, err := h.call(x, Apart)
	switch {
	case err != nil:
		h.failed(err)
		return x.Exit(http.StatusInternalServerError, nil)
	case outcome.Ended:
		return x.Exit(outcome.Status, outcome.Body)
	}
	return gateway.Continue
}

type rewriteHook struct{ blocking }

// Rewrite implements gateway.Rewriter.
func (h *rewriteHook) Rewrite(x *gateway.Exchange) gateway.Verdict { return h.decide(x) }

type accessHook struct{ blocking }

// Access implements gateway.Accessor.
func (h *accessHook) Access(x *gateway.Exchange) gateway.Verdict { return h.decide(x) }

type beforeProxyHook struct{ hook }

// BeforeProxy implements gateway.BeforeProxy.
func (h *beforeProxyHook) BeforeProxy(x *gateway.Exchange) { h.run(x) }

type headerHook struct{ hook }

// FilterHeader implements gateway.HeaderFilter.
func (h *headerHook) FilterHeader(x *gateway.Exchange) {
	if !h.run(x) {
		x.FailFilter("lua")
	}
}

type bodyHook struct{ hook }

// FilterHeader implements gateway.HeaderFilter: nobody knows how long the body will be.
func (h *bodyHook) FilterHeader(x *gateway.Exchange) { x.Response.Header.Del("Content-Length") }

// FilterBody implements gateway.BodyFilter.
func (h *bodyHook) FilterBody(x *gateway.Exchange, chunk []byte, last bool) []byte {
	dropped := x.State()
	if *dropped == true {
		return nil
	}
	out, ended, err := h.program.FilterBody(x, chunk, last, h.name)
	if err != nil {
		h.failed(err)
		x.Break()
		return nil
	}
	if ended {
		*dropped = true
	}
	return out
}

type logHook struct{ hook }

// Log implements gateway.Logger.
func (h *logHook) Log(x *gateway.Exchange) { h.run(x) }

var (
	_ gateway.Rewriter     = (*rewriteHook)(nil)
	_ gateway.Blocker      = (*rewriteHook)(nil)
	_ gateway.Accessor     = (*accessHook)(nil)
	_ gateway.BeforeProxy  = (*beforeProxyHook)(nil)
	_ gateway.HeaderFilter = (*headerHook)(nil)
	_ gateway.HeaderFilter = (*bodyHook)(nil)
	_ gateway.BodyFilter   = (*bodyHook)(nil)
	_ gateway.Logger       = (*logHook)(nil)
)
