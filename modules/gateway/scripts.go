// SPDX-License-Identifier: Apache-2.0

package gateway

// Scripting compiles what objects hold in Lua. The package that can do it registers itself, as plugins do; in a build
// without one such objects are refused.
type Scripting struct {
	// Filter compiles the `filter_func` of a route. The condition may be called from event loops; its error fails the request.
	Filter func(env Env, source string) (func(x *Exchange) (bool, error), error)
	// Script compiles the `script` of a route or service into what its chain consists of.
	Script func(env Env, source string) ([]Entry, error)
}

var scripting *Scripting

// RegisterScripting makes s what compiles Lua. It is called from an init function, once.
func RegisterScripting(s *Scripting) {
	if scripting != nil {
		panic("scripting is registered twice")
	}
	scripting = s
}

// RegisteredScripting returns what was registered, or nil.
func RegisteredScripting() *Scripting { return scripting }

// Scripts is a place for what scripts keep from one hook to a later one, whatever plugins they belong to. It belongs to
// package lua.
func (x *Exchange) Scripts() *any { return &x.scripts }

// FailFilter makes the response the gateway's own 500, without the fields that it has so far. A header filter calls it when
// it cannot do what it is configured to do.
func (x *Exchange) FailFilter(reason string) {
	x.Response.Header.Reset()
	x.Blame(ByGateway, PhaseFilter, reason)
	x.reply(500, nil)
	x.setOwnFields()
}

// HasStatusPage reports whether the body is the page that goes with a status when nothing better is known.
func (r *Response) HasStatusPage() bool {
	page, ok := statusPages.Load(r.Status)
	if !ok || len(r.Body) == 0 {
		return false
	}
	known := page.([]byte)
	return len(known) == len(r.Body) && &known[0] == &r.Body[0]
}

// SetStatusPage gives the response that page, or no body when its status is below 400.
func (r *Response) SetStatusPage() {
	r.Body = nil
	r.Header.Del("Content-Type")
	if r.Status >= 400 {
		r.Body = statusPage(r.Status)
		r.Header.Set("Content-Type", "text/html; charset=utf-8")
	}
}
