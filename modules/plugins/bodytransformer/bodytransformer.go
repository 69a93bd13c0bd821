// SPDX-License-Identifier: Apache-2.0

// Package bodytransformer is APISIX's body-transformer plugin: it makes the bodies of requests and responses anew, after
// templates.
package bodytransformer

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lua"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

const name = "body-transformer"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{Name: name, Priority: 1080, Version: 0.1, Schema: configSchema, New: compile})
}

// transformer is one compiled config. It is safe for concurrent use.
type transformer struct {
	log               func() *zap.Logger
	request, response *transform
	maxRequest        int64
	maxResponse       int

	// These are logged once per config.
	oddEncoding, badResponse sync.Once
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Request     *transformConfig `json:"request"`
		Response    *transformConfig `json:"response"`
		MaxRequest  int64            `json:"max_req_body_size"`
		MaxResponse int              `json:"max_resp_body_size"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("body-transformer: %w", err)
	}
	t := &transformer{log: env.Log, maxRequest: c.MaxRequest, maxResponse: c.MaxResponse}
	var err error
	if c.Request != nil {
		if t.request, err = c.Request.compile("request", env.Log); err != nil {
			return nil, err
		}
	}
	if c.Response != nil {
		if t.response, err = c.Response.compile("response", env.Log); err != nil {
			return nil, err
		}
	}
	// A chain asks for hooks by their presence: a config that leaves responses alone must not have theirs.
	switch {
	case t.response == nil:
		return &requestOnly{t}, nil
	case t.request == nil:
		return &responseOnly{t}, nil
	}
	return t, nil
}

type requestOnly struct{ t *transformer }

func (r *requestOnly) Rewrite(x *gateway.Exchange) gateway.Verdict { return r.t.Rewrite(x) }
func (r *requestOnly) Blocks() bool                                { return true }
func (r *requestOnly) ReadsBody() int64                            { return r.t.maxRequest }

type responseOnly struct{ t *transformer }

func (r *responseOnly) FilterHeader(x *gateway.Exchange) { r.t.FilterHeader(x) }

func (r *responseOnly) FilterBody(x *gateway.Exchange, chunk []byte, last bool) []byte {
	return r.t.FilterBody(x, chunk, last)
}

// Blocks implements gateway.Blocker: a template may take long for a long body.
func (t *transformer) Blocks() bool { return true }

// ReadsBody implements gateway.BodyReader.
func (t *transformer) ReadsBody() int64 { return t.maxRequest }

// requestLimits bound one request's template: the body is read, decoded and written once or twice.
func requestLimits(body int) lua.Limits {
	limits := lua.Apart
	limits.Bytes += 8 * body
	limits.Steps += body
	return limits
}

// responseLimits bound one response's template, which runs on an event loop.
func responseLimits(body int) lua.Limits {
	return lua.Limits{Steps: 1_000_000 + body, Bytes: 64<<20 + 8*body}
}

// Rewrite implements gateway.Rewriter.
func (t *transformer) Rewrite(x *gateway.Exchange) gateway.Verdict {
	body, err := x.Body()
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge):
		return x.Exit(http.StatusRequestEntityTooLarge, nil)
	case err != nil:
		return x.Exit(http.StatusBadRequest, nil)
	}
	in := lua.Input{Format: t.request.format, ContentType: x.Request.Header.Get("Content-Type")}
	if len(body) > 0 {
		in.Body = body
	}
	switch {
	case x.Request.Method == http.MethodGet:
		in.Format = "args"
	case in.Format == "":
		in.Format = formatOf(in.ContentType)
	}
	out, err := t.request.render(x, lua.Rewrite, requestLimits(len(body)), in)
	if err != nil {
		status := http.StatusServiceUnavailable
		if errors.As(err, new(*lua.DecodeError)) {
			status = http.StatusBadRequest
		}
		t.log().Warn("body-transformer: a request cannot be transformed", zap.Error(err))
		return x.Exit(status, reply.JSON("message", err.Error()))
	}
	x.ReplaceBody(out)
	return gateway.Continue
}

var (
	_ gateway.Rewriter     = (*transformer)(nil)
	_ gateway.BodyReader   = (*transformer)(nil)
	_ gateway.Blocker      = (*transformer)(nil)
	_ gateway.HeaderFilter = (*transformer)(nil)
	_ gateway.BodyFilter   = (*transformer)(nil)
	_ gateway.Rewriter     = (*requestOnly)(nil)
	_ gateway.BodyReader   = (*requestOnly)(nil)
	_ gateway.Blocker      = (*requestOnly)(nil)
	_ gateway.HeaderFilter = (*responseOnly)(nil)
	_ gateway.BodyFilter   = (*responseOnly)(nil)
)
