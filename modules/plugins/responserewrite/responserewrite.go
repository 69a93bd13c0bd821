// SPDX-License-Identifier: Apache-2.0

// Package responserewrite is APISIX's response-rewrite plugin: it changes the status, the header and the body of
// responses.
package responserewrite

import (
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
)

//go:embed schema.json
var configSchema []byte

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:     "response-rewrite",
		Priority: 899,
		Version:  0.1,
		Schema:   configSchema,
		New:      compile,
	})
}

// rewrite is one compiled config. It is immutable but for the two things that are logged once.
type rewrite struct {
	log    func() *zap.Logger
	match  gateway.Predicate
	status int
	fields fieldChanges

	// replaces says that body, which may be empty, is sent instead of the response's.
	replaces bool
	body     []byte
	filters  []filter
	// maxBody is how many bytes of a body are held for the filters.
	maxBody int

	oddEncoding, longBody sync.Once
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Status     int             `json:"status_code"`
		Headers    json.RawMessage `json:"headers"`
		Body       *string         `json:"body"`
		BodyBase64 bool            `json:"body_base64"`
		Vars       json.RawMessage `json:"vars"`
		Filters    []struct {
			Regex   string `json:"regex"`
			Replace string `json:"replace"`
			Scope   string `json:"scope"`
			Options string `json:"options"`
		} `json:"filters"`
		MaxBody int `json:"max_resp_body_size"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	r := &rewrite{log: env.Log, status: c.Status, maxBody: c.MaxBody}
	var err error
	if r.fields, err = compileFields(c.Headers); err != nil {
		return nil, err
	}
	if c.Body != nil {
		r.replaces, r.body = true, []byte(*c.Body)
	}
	if c.BodyBase64 {
		if r.body, err = decodeBase64(r.body); err != nil {
			return nil, err
		}
	}
	if len(c.Vars) > 0 {
		vars, err := expr.Compile(c.Vars)
		if err != nil {
			return nil, fmt.Errorf("failed to validate the 'vars' expression: %w", err)
		}
		r.match = vars.Match
	}
	for _, f := range c.Filters {
		compiled, err := compileFilter(f.Regex, f.Options, f.Replace, f.Scope == "global")
		if err != nil {
			return nil, fmt.Errorf("regex \"%s\" validation failed: %w", f.Regex, err)
		}
		r.filters = append(r.filters, compiled)
	}
	return r, nil
}

var errBase64 = errors.New("invalid base64 content")

// decodeBase64 takes padding as optional, as APISIX does.
func decodeBase64(text []byte) ([]byte, error) {
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(string(text), "="))
	if err != nil || len(text) == 0 {
		return nil, errBase64
	}
	return decoded, nil
}

// rewriting is what one exchange keeps between its hooks, when its body is to change.
type rewriting struct {
	gzipped bool
	held    []byte
	// done says that the body was sent, or that the rest passes as it is.
	done, passes bool
}

// FilterHeader implements gateway.HeaderFilter.
func (r *rewrite) FilterHeader(x *gateway.Exchange) {
	if r.match != nil && !r.match(x) {
		return
	}
	if r.status != 0 {
		x.Response.Status = r.status
	}
	if s := r.begin(&x.Response.Header); s != nil {
		*x.State() = s
		x.Response.ClearBodyFields()
	}
	r.fields.apply(x)
}

// begin returns nil when the body stays as it is.
func (r *rewrite) begin(h *gateway.Header) *rewriting {
	if r.replaces {
		return &rewriting{}
	}
	if len(r.filters) == 0 {
		return nil
	}
	if length, err := strconv.Atoi(h.Get("Content-Length")); err == nil && length > r.maxBody {
		r.warnLong()
		return nil
	}
	switch encoding := h.Get("Content-Encoding"); {
	case encoding == "" || gateway.EqualFold(encoding, "identity"):
		return &rewriting{}
	case gateway.EqualFold(encoding, "gzip") || gateway.EqualFold(encoding, "x-gzip"):
		return &rewriting{gzipped: true}
	default:
		r.oddEncoding.Do(func() {
			r.log().Warn("response-rewrite: bodies in this encoding pass unchanged", zap.String("encoding", encoding))
		})
		return nil
	}
}

func (r *rewrite) warnLong() {
	r.longBody.Do(func() {
		r.log().Warn("response-rewrite: longer bodies than max_resp_body_size are not filtered",
			zap.Int("max_resp_body_size", r.maxBody))
	})
}

// FilterBody implements gateway.BodyFilter.
func (r *rewrite) FilterBody(x *gateway.Exchange, chunk []byte, last bool) []byte {
	s, _ := (*x.State()).(*rewriting)
	switch {
	case s == nil || s.passes:
		return chunk
	case r.replaces:
		if s.done {
			return nil
		}
		s.done = true
		return r.body
	case len(s.held)+len(chunk) > r.maxBody:
		return r.release(x, s, chunk)
	case len(s.held) > 0 || !last:
		s.held = append(s.held, chunk...)
		chunk = s.held
	}
	if !last {
		return nil
	}
	return r.substitute(x, s, chunk)
}

// release gives up on a body that is longer than the bound: it goes on as it is. One that was compressed cannot, since the
// head has said that it is not.
func (r *rewrite) release(x *gateway.Exchange, s *rewriting, chunk []byte) []byte {
	r.warnLong()
	if s.gzipped {
		x.Break()
		return nil
	}
	s.passes = true
	held := append(s.held, chunk...)
	s.held = nil
	return held
}

func (r *rewrite) substitute(x *gateway.Exchange, s *rewriting, body []byte) []byte {
	if s.gzipped && len(body) > 0 {
		var err error
		if body, err = gunzip(body, r.maxBody); err != nil {
			r.log().Warn("response-rewrite: a compressed body cannot be read", zap.Error(err))
			x.Break()
			return nil
		}
	}
	for i := range r.filters {
		changed, err := r.filters[i].apply(body)
		if err != nil {
			r.log().Warn("response-rewrite: a filter was left out", zap.Error(err))
			continue
		}
		body = changed
	}
	return body
}

var (
	_ gateway.HeaderFilter = (*rewrite)(nil)
	_ gateway.BodyFilter   = (*rewrite)(nil)
)
