// SPDX-License-Identifier: Apache-2.0

package bodytransformer

import (
	"bytes"
	"compress/gzip"
	"io"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lua"
)

// transforming is what one exchange keeps between its hooks, when the body of its response is to change.
type transforming struct {
	format, contentType string
	gzipped             bool
	held                []byte
	// done says that the new body has been sent; passes, that the rest goes on as it is.
	done, passes bool
}

// FilterHeader implements gateway.HeaderFilter. A body in an encoding that nobody can read here passes.
func (t *transformer) FilterHeader(x *gateway.Exchange) {
	h := &x.Response.Header
	s := &transforming{format: t.response.format, contentType: h.Get("Content-Type")}
	if s.format == "" {
		s.format = formatOf(s.contentType)
	}
	switch encoding := h.Get("Content-Encoding"); {
	case encoding == "" || gateway.EqualFold(encoding, "identity"):
	case gateway.EqualFold(encoding, "gzip") || gateway.EqualFold(encoding, "x-gzip"):
		s.gzipped = true
	default:
		t.oddEncoding.Do(func() {
			t.log().Warn("body-transformer: bodies in this encoding pass unchanged", zap.String("encoding", encoding))
		})
		return
	}
	*x.State() = s
	x.Response.ClearBodyFields()
}

// FilterBody implements gateway.BodyFilter: it holds the body until it is complete, or as long as it may be.
func (t *transformer) FilterBody(x *gateway.Exchange, chunk []byte, last bool) []byte {
	s, _ := (*x.State()).(*transforming)
	switch {
	case s == nil || s.passes:
		return chunk
	case s.done:
		return nil
	}
	if len(s.held) > 0 || !last {
		s.held = append(s.held, chunk...)
		chunk = s.held
	}
	full := len(chunk) >= t.maxResponse
	if !last && !full {
		return nil
	}
	out := t.transformed(x, s, chunk)
	s.held = nil
	return out
}

// transformed returns the new body, or the one that is there when it cannot be transformed. That of a compressed body cannot
// go on, since the head has said that it is not compressed.
func (t *transformer) transformed(x *gateway.Exchange, s *transforming, held []byte) []byte {
	body := held[:min(len(held), t.maxResponse)]
	if s.gzipped && len(body) > 0 {
		var err error
		if body, err = gunzip(body, t.maxResponse); err != nil {
			t.log().Warn("body-transformer: a compressed body cannot be read", zap.Error(err))
			x.Break()
			return nil
		}
		held = body
	}
	in := lua.Input{Format: s.format, Body: body, ContentType: s.contentType}
	if in.Body == nil {
		in.Body = []byte{}
	}
	out, err := t.response.render(x, lua.BodyFilter, responseLimits(len(body)), in)
	if err != nil {
		t.badResponse.Do(func() {
			t.log().Warn("body-transformer: a response was not transformed; further ones are not logged", zap.Error(err))
		})
		s.passes = true
		return held
	}
	s.done = true
	return out
}

// gunzip decompresses no more than most bytes.
func gunzip(body []byte, most int) ([]byte, error) {
	in, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(in, int64(most)))
}
