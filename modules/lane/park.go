// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"context"
	"errors"
	"io"

	"github.com/andogate/ando/modules/gateway"
)

// park runs the rest of the hooks on a goroutine. The exchange is the goroutine's until it comes back through the loop's
// inbox; what the client sends meanwhile waits.
func (e *Engine) park(x *exchange) {
	x.client.state, x.parked = clientParked, true
	ctx, cancel := context.WithCancel(context.Background())
	x.ctx, x.cancel = ctx, cancel
	go func() {
		step := x.Next(true)
		e.driver.Post(func() { e.unpark(x, step) })
	}()
}

func (e *Engine) unpark(x *exchange, step gateway.Step) {
	x.parked = false
	if x.abandoned {
		x.Response.Status = 499
		x.Blame(gateway.ByClient, gateway.PhasePlugin, "client has gone")
		e.end(x)
		return
	}
	c := x.client
	c.state = clientWaits
	e.step(x, step)
	e.again(c)
}

// Context implements gateway.Wire. Hooks that run on the loop do not wait, and so have no use for one.
func (x *exchange) Context() context.Context {
	if x.ctx == nil {
		return context.Background()
	}
	return x.ctx
}

// errUndeclaredBody is a programming error of a plugin: on a loop the body is only there when BodyReader said so.
var errUndeclaredBody = errors.New("the plugin has not declared that it reads the request body")

// bodyRead is the answer to a ReadBody.
type bodyRead struct {
	body []byte
	err  error
}

// ReadBody implements gateway.Wire: a parked hook asks the loop for the body and waits.
func (x *exchange) ReadBody(limit int64) ([]byte, error) {
	if !x.parked {
		return nil, errUndeclaredBody
	}
	answer := make(chan bodyRead, 1)
	e := x.client.engine
	e.driver.Post(func() { e.readFor(x, limit, answer) })
	select {
	case read := <-answer:
		return read.body, read.err
	case <-x.ctx.Done():
		return nil, io.ErrUnexpectedEOF
	}
}

// readFor has the body collected for a goroutine that waits for it.
func (e *Engine) readFor(x *exchange, limit int64, answer chan bodyRead) {
	x.reader, x.readLimit = answer, limit
	over := int64(len(x.body)) > limit
	switch {
	case x.abandoned:
		x.cutReader()
	case x.bodyDone || over:
		x.answerReader(over)
	default:
		x.client.state = clientCollects
		e.proceed(x)
		e.again(x.client)
	}
}

func (x *exchange) answerReader(over bool) {
	read := bodyRead{body: x.body}
	if over {
		read = bodyRead{err: gateway.ErrBodyTooLarge}
	}
	x.reader <- read
	x.reader = nil
}

// cutReader tells who waits for the body that the rest of it will not come.
func (x *exchange) cutReader() {
	if x.reader != nil {
		x.reader <- bodyRead{err: io.ErrUnexpectedEOF}
		x.reader = nil
	}
}
