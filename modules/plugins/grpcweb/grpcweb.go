// SPDX-License-Identifier: Apache-2.0

// Package grpcweb is APISIX's grpc-web plugin: browsers, which cannot speak gRPC, call the methods of gRPC services.
package grpcweb

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: "grpc-web", Priority: 505, Version: 0.1, Schema: configSchema, New: compile,
	})
}

// mediaTypes are those of gRPC-Web: true is text, which is base64.
var mediaTypes = map[string]bool{
	"application/grpc-web":            false,
	"application/grpc-web+proto":      false,
	"application/grpc-web-text":       true,
	"application/grpc-web-text+proto": true,
}

// grpcWeb is one compiled config. It is immutable.
type grpcWeb struct {
	allowHeaders string
	maxBody      int64
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		AllowHeaders string `json:"cors_allow_headers"`
		MaxBody      int64  `json:"max_req_body_size"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("grpc-web: %w", err)
	}
	return &grpcWeb{c.AllowHeaders, c.MaxBody}, nil
}

// call is what one exchange keeps of a call that goes out.
type call struct {
	mediaType string
	text      bool
	// frames says that the response is that of gRPC, which is put into the client's.
	frames bool
	// out is the text that is sent.
	out []byte
}

// target returns the path of the method: what of the request's lies behind the route's prefix. ok is false when the route
// has no prefix.
func target(x *gateway.Exchange) (path string, ok bool) {
	rest, ok := "", false
	for _, param := range x.Params {
		if param.Name == ":ext" {
			rest, ok = param.Value, true
		}
	}
	if !ok {
		var prefix string
		if prefix, ok = strings.CutSuffix(x.MatchedURI, "*"); ok {
			rest, ok = strings.CutPrefix(x.Request.Path, prefix)
		}
	}
	u := url.URL{Path: "/" + strings.TrimPrefix(rest, "/")}
	return u.EscapedPath(), ok
}

// accept returns what is to become of a request, or the status that refuses it; 204 answers a preflight.
func accept(x *gateway.Exchange) (*call, int) {
	switch x.Request.Method {
	case "OPTIONS":
		return nil, 204
	case "POST":
	default:
		return nil, 405
	}
	mediaType, _, _ := strings.Cut(x.Request.Header.Get("Content-Type"), ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	text, ok := mediaTypes[mediaType]
	if _, prefixed := target(x); !ok || !prefixed {
		return nil, 400
	}
	return &call{mediaType: mediaType, text: text}, 0
}

// ReadsBody implements gateway.BodyReader.
func (p *grpcWeb) ReadsBody() int64 { return p.maxBody }

// NeedsBody implements gateway.BodyDecider.
func (p *grpcWeb) NeedsBody(x *gateway.Exchange) bool {
	_, refused := accept(x)
	return refused == 0
}

// Access implements gateway.Accessor.
func (p *grpcWeb) Access(x *gateway.Exchange) gateway.Verdict {
	c, refused := accept(x)
	if refused != 0 {
		return x.Exit(refused, nil)
	}
	body, err := x.Body()
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge):
		return x.Exit(413, nil)
	case err != nil || len(body) == 0:
		return x.Exit(400, nil)
	}
	if c.text {
		if body, err = decodeText(body); err != nil {
			return x.Exit(400, nil)
		}
	}
	x.ReplaceBody(body)
	x.Forward.Target, _ = target(x)
	x.Request.Header.Set("Content-Type", "application/grpc")
	x.Request.Header.Set("TE", "trailers")
	*x.State() = c
	return gateway.Continue
}

// cors finds the plugin that decides about origins where a route has it.
var cors = sync.OnceValue(func() *gateway.Plugin { return gateway.RegisteredPlugins()["cors"] })

// FilterHeader implements gateway.HeaderFilter. Refusals have the fields too, or a browser would not show them.
func (p *grpcWeb) FilterHeader(x *gateway.Exchange) {
	h := &x.Response.Header
	if x.Request.Method == "OPTIONS" {
		h.Set("Access-Control-Allow-Methods", "POST")
		h.Set("Access-Control-Allow-Headers", p.allowHeaders)
	}
	if !x.Carries(cors()) {
		h.Set("Access-Control-Allow-Origin", "*")
	}
	h.Set("Access-Control-Expose-Headers", "grpc-message,grpc-status")
	c, _ := (*x.State()).(*call)
	if c == nil || !x.Response.FromNode || x.Response.Status != 200 || !isGRPC(h.Get("Content-Type")) {
		return
	}
	c.frames = true
	x.Response.ClearBodyFields()
	h.Del("Trailer")
	h.Set("Content-Type", c.mediaType)
}

func isGRPC(contentType string) bool {
	const prefix = "application/grpc"
	return len(contentType) >= len(prefix) && gateway.EqualFold(contentType[:len(prefix)], prefix)
}

// FilterBody implements gateway.BodyFilter. What comes goes on at once, since it may be all of a message.
func (p *grpcWeb) FilterBody(x *gateway.Exchange, chunk []byte, last bool) []byte {
	c, _ := (*x.State()).(*call)
	if c == nil || !c.frames {
		return chunk
	}
	if last {
		chunk = append(chunk[:len(chunk):len(chunk)], trailerFrame(&x.Response)...)
		x.Response.Trailer.Reset()
	}
	if !c.text {
		return chunk
	}
	c.out = appendText(c.out[:0], chunk)
	return c.out
}

var (
	_ gateway.Accessor     = (*grpcWeb)(nil)
	_ gateway.BodyReader   = (*grpcWeb)(nil)
	_ gateway.BodyDecider  = (*grpcWeb)(nil)
	_ gateway.HeaderFilter = (*grpcWeb)(nil)
	_ gateway.BodyFilter   = (*grpcWeb)(nil)
)
