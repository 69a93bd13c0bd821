// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"io"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// hold reads the node's response to its end, up to limit bytes of body, before it runs the header filters and answers.
func (w *wire) hold(a *attempt, limit int64) {
	x := &w.x
	body, err := io.ReadAll(io.LimitReader(readerFunc(a.read), limit+1))
	takeTrailers(&x.Response.Trailer, a.response.Trailer)
	a.end()
	switch {
	case err != nil && w.r.Context().Err() != nil:
		w.lost()
		w.w.WriteHeader(statusClientGone)
		return
	case err != nil:
		w.log().Warn("node broke off its response", zap.String("node", x.Forward.Node.Addr), zap.Error(err))
		x.BreakHeld(gateway.FailedBroken.String())
	case int64(len(body)) > limit:
		x.BreakHeld("the response is too long")
	default:
		x.HeldResponse(body)
	}
	w.sendOwn()
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
