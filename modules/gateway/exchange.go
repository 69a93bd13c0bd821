// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"time"
)

// Wire carries the bytes of one exchange: net/http or a lane. It drives the exchange; these are the few things that a
// hook may ask of it.
type Wire interface {
	// Context ends when the client has gone or the exchange is over. Blocking hooks pass it on.
	Context() context.Context
	// ReadBody reads the whole request body. It may wait, so only a hook of a Blocking plugin gets here; others have the
	// body read for them (BodyReader). A body longer than limit gives ErrBodyTooLarge, can be read again with a higher
	// limit, and can still be forwarded.
	ReadBody(limit int64) ([]byte, error)
}

// ErrBodyTooLarge says that a request body is longer than its reader wanted to see.
var ErrBodyTooLarge = errors.New("request body is too large")

// ErrMalformedBody says that the framing of a request body is broken: nothing after it on the connection has a meaning.
var ErrMalformedBody = errors.New("malformed request body")

// Exchange is one request and its response. It belongs to one goroutine at a time and is used again for the next
// request, so nothing in it may be kept: clone what must outlive it.
//
// A wire drives it:
//
//	x.Begin(table, settings, wire)        // x.Request is filled
//	for {
//		switch x.Next(mayBlock) {
//		case StepBody:                    // read up to x.BodyLimit() bytes, x.SetBody, Next again
//		case StepBlock:                   // Next(true) on a goroutine that may wait
//		case StepForward:                 // x.Pick, send, then x.BeginResponse, x.HoldsResponse and x.FilterHeader, or x.Failed
//		case StepReply:                   // x.FilterHeader, send x.Response
//		}
//	}
//	x.FilterBody(chunk, last)             // for the body of either
//	x.Finish()                            // always, once
//	x.Reset()                             // before the next Begin
//
// What FilterHeader leaves counts: when x.Response.FromNode is false the wire sends x.Response.Body and drops what the
// node still has to say, and x.Response.Status decides, with the method, whether there is a body at all: HEAD, 204 and 304
// have none, and no body filter runs. Otherwise FilterBody is called with last set exactly once, even for an empty body,
// and the wire closes the client's connection without ending the message when x.Broken says so. A Content-Length that is
// still in x.Response.Header is the node's and must come true; otherwise framing is the wire's choice.
//
// While Next runs on a goroutine of its own the wire leaves the exchange alone, Finish included; it ends the Context to
// hurry it.
type Exchange struct {
	Table    Table
	Settings *Settings
	// Route is nil when no route matched.
	Route *Route
	// Consumer is nil until an auth plugin has attached one; Credential is the short id of the credential it came by.
	Consumer   *Consumer
	Credential string

	Request  Request
	Response Response
	// Forward is what is sent to the node; rewriting plugins change it.
	Forward Forward

	// Params, MatchedURI and MatchedHost are set by Match: path parameters, and the patterns of the route that matched.
	Params                  []Param
	MatchedURI, MatchedHost string
	// Volatile is set by Match when the outcome rests on more than method, host and path.
	Volatile bool

	// Start is when the request head was complete.
	Start time.Time
	// IsSubrequest says that the request is a Subrequest. The wire sets it after Begin.
	IsSubrequest bool

	wire Wire
	seq  uint64
	// subserver answers subrequests; nil is nobody.
	subserver *Subserver
	chain     *Chain
	stage     stage
	pc        int
	// matched: Peek has run.
	matched bool

	states  [2][]pluginState
	current *pluginState

	body      []byte
	bodyErr   error
	bodyKnown bool
	// bodyLimit is what the body was, or is to be, read up to; hookLimit is what the running plugin wants to see.
	bodyLimit, hookLimit int64
	bodyFacts            any
	broken               bool

	// encoding is what the response's body is encoded with; nil is nothing.
	encoding Encoding

	early   Header
	vars    []customVar
	scripts any
	memo    memo
	blame   Blame
}

// pluginState is what one plugin keeps in one exchange.
type pluginState struct {
	value  any
	filter filterState
}

type filterState uint8

const (
	filterUnknown filterState = iota
	filterTrue
	filterFalse
)

type customVar struct{ name, value string }

// Begin starts the exchange: x.Request has been filled in, and nothing else. Without settings those of a gateway that was
// told nothing hold. The wire may be nil in tests of hooks that ask nothing of it.
func (x *Exchange) Begin(table Table, settings *Settings, wire Wire) {
	if settings == nil {
		settings = defaultSettings
	}
	x.Table, x.Settings, x.wire = table, settings, wire
	x.stage, x.pc = stageMatch, 0
	if x.Start.IsZero() {
		x.Start = time.Now()
	}
	x.claimFields()
}

var defaultSettings = DefaultSettings()

// Reset makes the exchange ready for the next request and keeps its memory.
func (x *Exchange) Reset() {
	x.Request.reset()
	x.Response.reset()
	x.Forward.reset()
	x.early.Reset()
	for set := range x.states {
		clear(x.states[set])
		x.states[set] = x.states[set][:0]
	}
	clear(x.Params)
	clear(x.vars)
	*x = Exchange{
		Request: x.Request, Response: x.Response, Forward: x.Forward, early: x.early, states: x.states,
		Params: x.Params[:0], vars: x.vars[:0], memo: x.memo,
	}
}

// Context ends when the client has gone or the exchange is over. Only hooks of Blocking plugins have a use for it.
func (x *Exchange) Context() context.Context { return x.wire.Context() }

// State is a place for the running plugin to keep something from one hook to a later one of the same exchange. Global
// rules and the route have separate places.
func (x *Exchange) State() *any { return &x.current.value }

// SetVar sets a variable that expressions, templates and logs see under its name, without "$".
func (x *Exchange) SetVar(name, value string) {
	for i := range x.vars {
		if x.vars[i].name == name {
			x.vars[i].value = value
			return
		}
	}
	x.vars = append(x.vars, customVar{name, value})
}

// CustomVar returns a variable set with SetVar.
func (x *Exchange) CustomVar(name string) (string, bool) {
	for i := range x.vars {
		if x.vars[i].name == name {
			return x.vars[i].value, true
		}
	}
	return "", false
}

// Body returns the whole request body. The slice is the exchange's. See [BodyReader] for who may call it.
func (x *Exchange) Body() ([]byte, error) {
	limit := x.hookLimit
	if limit == 0 {
		limit = defaultBodyLimit
	}
	if x.lacksBody(limit) {
		x.bodyLimit = limit
		x.SetBody(x.wire.ReadBody(limit))
	}
	switch {
	case x.bodyErr != nil:
		return nil, x.bodyErr
	case int64(len(x.body)) > limit:
		return nil, ErrBodyTooLarge
	}
	return x.body, nil
}

// BodyUpTo is Body with another limit: for an endpoint, which finds its own out.
func (x *Exchange) BodyUpTo(limit int64) ([]byte, error) {
	x.hookLimit = limit
	return x.Body()
}

// lacksBody reports whether the body has to be read, or read on, for a reader of up to limit bytes.
func (x *Exchange) lacksBody(limit int64) bool {
	return !x.bodyKnown || x.bodyErr == ErrBodyTooLarge && x.bodyLimit < limit
}

// defaultBodyLimit bounds a body that a Blocking hook reads without having said how much: APISIX's
// max_post_args_readable_size.
const defaultBodyLimit = 64 << 20

// BodyBuffered returns the request body if it has been read, and whether it has: what conditions may look at.
func (x *Exchange) BodyBuffered() ([]byte, bool) { return x.body, x.bodyKnown && x.bodyErr == nil }

// BodyLimit is how many bytes the wire reads for [StepBody]. After an ErrBodyTooLarge it may ask once more, for more: what
// was read the first time counts.
func (x *Exchange) BodyLimit() int64 { return x.bodyLimit }

// SetBody gives the exchange the request body that its wire read. err is ErrBodyTooLarge or what reading gave.
func (x *Exchange) SetBody(body []byte, err error) {
	x.body, x.bodyErr, x.bodyKnown = body, err, true
	x.bodyFacts = nil
}

// BodyFacts is a place for what conditions found out about the request's content, so that a body is parsed once and not
// for every condition. It is emptied when the body is replaced. It belongs to package expr.
func (x *Exchange) BodyFacts() *any { return &x.bodyFacts }

// ReplaceBody makes body what is forwarded in the place of the client's. The plugin sets Content-Type and the like.
func (x *Exchange) ReplaceBody(body []byte) {
	x.SetBody(body, nil)
	x.Forward.Body, x.Forward.BodyReplaced = body, true
}

// AttachConsumer says who sent the request. credential is empty when the consumer itself carries the key. The fields
// that tell the node are set from here alone; see data-plane.md section 5.
func (x *Exchange) AttachConsumer(consumer *Consumer, credential string) {
	x.Consumer, x.Credential = consumer, credential
	h := &x.Request.Header
	dropIdentityFields(h)
	h.Add("X-Consumer-Username", consumer.Name)
	if credential != "" {
		h.Add("X-Credential-Identifier", credential)
	}
	if id := consumer.Labels["custom_id"]; id != "" {
		h.Add("X-Consumer-Custom-ID", id)
	}
}

// Exit ends the request from a Rewriter or Accessor: the hook returns its result. A nil body gives the status page for
// 400 and above and an empty one below. The body is not copied and must not change any more.
func (x *Exchange) Exit(status int, body []byte) Verdict {
	x.Response.Status, x.Response.Body = status, body
	return Exit
}
