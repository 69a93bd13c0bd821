// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
)

// Subrequest is a request that a plugin makes to the gateway itself in the name of the client that it serves. It is matched,
// runs its route's plugins and reaches a node as any other, and no wire carries it in.
type Subrequest struct {
	// Method and Target are those of the request line.
	Method, Target string
	// Host is the text of the Host field; empty is that of the client's request.
	Host string
	// Header needs no Content-Length. Fields that concern one connection are left out of it.
	Header Header
	Body   []byte
	// Limit is how many bytes the body of the response may have.
	Limit int64
}

// Subresponse is the whole response to a Subrequest.
type Subresponse struct {
	Status int
	Header Header
	Body   []byte
}

var (
	// ErrNested refuses a subrequest of a subrequest, so that no request can make itself again and again.
	ErrNested = errors.New("a subrequest cannot make subrequests")
	// ErrNoSubrequests says that nothing answers subrequests here.
	ErrNoSubrequests = errors.New("the gateway answers no subrequests")
	// ErrMalformed says that a subrequest cannot be sent as HTTP.
	ErrMalformed = errors.New("malformed request")
	// ErrResponseTooLarge says that a response is longer than its reader wanted to see.
	ErrResponseTooLarge = errors.New("response is too large")
	// ErrResponseBroken says that a response did not come to its end.
	ErrResponseBroken = errors.New("the response broke off")
)

// Subserver answers subrequests of an exchange. When ctx ends it gives up, with its error; otherwise an error is one of
// those above. It reads the exchange's Request and nothing else of it, and is back before it goes on.
type Subserver func(ctx context.Context, of *Exchange, r *Subrequest) (*Subresponse, error)

// AnswerSubrequests says who answers subrequests. It may be called at any time, and exchanges that have begun go on with
// who was said before.
func (g *Gateway) AnswerSubrequests(by Subserver) { g.subserver.Store(&by) }

// Subrequest makes a request to the gateway in the name of the exchange's client, and waits for the response: it is for
// hooks that may wait, and for endpoints.
func (x *Exchange) Subrequest(ctx context.Context, r *Subrequest) (*Subresponse, error) {
	switch {
	case x.IsSubrequest:
		return nil, ErrNested
	case x.subserver == nil:
		return nil, ErrNoSubrequests
	}
	return (*x.subserver)(ctx, x, r)
}
