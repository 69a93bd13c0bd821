// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"bytes"

	gopher "github.com/yuin/gopher-lua"
	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// Rewriter changes responses that the gateway makes itself: what core.response.exit would send goes through its chunks. It is
// safe for concurrent use.
type Rewriter struct {
	program *Program
	chunks  []*Chunk
}

// NewRewriter returns a rewriter. Each chunk gets status, body and header, and returns them.
func NewRewriter(log func() *zap.Logger, chunks ...*Chunk) *Rewriter {
	return &Rewriter{NewProgram(nil, log), chunks}
}

// Rewrite lets each chunk in turn change the response. What one that fails would have done is left out, and logged.
func (r *Rewriter) Rewrite(x *gateway.Exchange) {
	for _, chunk := range r.chunks {
		err := r.program.with(x, HeaderFilter, OnLoop, func(s *state) error { return s.rewrite(chunk) })
		if err != nil {
			r.program.log().Error("lua: an exit function failed", zap.Error(err))
		}
	}
}

func (s *state) rewrite(chunk *Chunk) error {
	r := &s.x.Response
	header := headersTable(s.l, &r.Header, "")
	wasPage := r.HasStatusPage()
	if wasPage {
		// The type is the page's, which is yet to be chosen.
		header.RawSetString("content-type", gopher.LNil)
	}
	args := []gopher.LValue{gopher.LNumber(r.Status), s.exitBody(), header}
	results, err := s.call(s.l.NewFunctionFromProto(chunk.proto), 3, args...)
	if f, ok := first(results).(*gopher.LFunction); ok && err == nil {
		// The chunk returned the function in the place of calling it.
		results, err = s.call(f, 3, args...)
	}
	if err != nil {
		return err
	}
	var body []byte
	switch v := results[1].(type) {
	case *gopher.LNilType:
	case *gopher.LTable:
		if body, err = encodeJSON(s.l, v); err != nil {
			return err
		}
		body = append(body, '\n')
	default:
		body = []byte(toText(s.l, v))
	}
	if status, ok := results[0].(gopher.LNumber); ok && status >= 200 && status <= 999 {
		r.Status = int(status)
	}
	if body == nil {
		r.SetStatusPage()
	} else {
		if wasPage || r.Header.Get("Content-Type") == "" {
			r.Header.Set("Content-Type", "text/plain; charset=utf-8")
		}
		r.Body = body
	}
	if changed, ok := results[2].(*gopher.LTable); ok {
		eachKey(s.l, changed, func(key, value gopher.LValue) { s.setChanged(toText(s.l, key), value) })
	}
	return nil
}

func first(results []gopher.LValue) gopher.LValue {
	if len(results) == 0 {
		return gopher.LNil
	}
	return results[0]
}

// setChanged sets a field that is not what it was.
func (s *state) setChanged(name string, value gopher.LValue) {
	h := &s.x.Response.Header
	switch v := value.(type) {
	case *gopher.LTable:
		i := 0
		same := true
		for old := range h.Values(name) {
			i++
			same = same && v.RawGetInt(i) == gopher.LString(old)
		}
		if same && i == v.Len() {
			return
		}
	case gopher.LString:
		if old, ok := h.Lookup(name); ok && old == string(v) {
			return
		}
	}
	setHeader(s.l, h, name, value, true)
}

// exitBody is the body as a chunk gets it: a table where a plugin gave one, a text, or nil for the page of a status.
func (s *state) exitBody() gopher.LValue {
	r := &s.x.Response
	if len(r.Body) == 0 || r.HasStatusPage() {
		return gopher.LNil
	}
	s.spendBytes(s.l, len(r.Body))
	if bytes.HasSuffix(r.Body, []byte("\n")) && (r.Body[0] == '{' || r.Body[0] == '[') {
		if v, err := decodeJSON(s.l, string(r.Body)); err == nil {
			return v
		}
	}
	return gopher.LString(r.Body)
}
