// SPDX-License-Identifier: Apache-2.0

// Package oasvalidator is APISIX's oas-validator plugin: it holds requests to an OpenAPI description.
//
// Schemas are evaluated by admin/schema, like those of request-validation, so that refusals have APISIX's texts and nothing is
// compiled while a request waits.
package oasvalidator

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

//go:embed metadata_schema.json
var metadataSchema []byte

const name = "oas-validator"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 512, Version: 0.1, Schema: configSchema, MetadataSchema: metadataSchema,
		New: compile, NewMetadata: compileMetadata,
	})
}

// validator is one compiled config. It is immutable.
type validator struct {
	log func() *zap.Logger
	// Either document is not nil, or source says where it comes from.
	document *document
	source   *source

	skips    skips
	rejects  bool
	verbose  bool
	status   int
	max      int64
	refusal  []byte
	tooLarge []byte
}

// skips are the parts of a request that nobody looks at.
type skips struct{ path, query, header, body bool }

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Spec       *string           `json:"spec"`
		URL        string            `json:"spec_url"`
		Fields     map[string]string `json:"spec_url_request_headers"`
		Verify     bool              `json:"ssl_verify"`
		Timeout    int64             `json:"timeout"`
		Verbose    bool              `json:"verbose_errors"`
		SkipBody   bool              `json:"skip_request_body_validation"`
		SkipHeader bool              `json:"skip_request_header_validation"`
		SkipQuery  bool              `json:"skip_query_param_validation"`
		SkipPath   bool              `json:"skip_path_params_validation"`
		Rejects    bool              `json:"reject_if_not_match"`
		Status     int               `json:"rejection_status_code"`
		Max        int64             `json:"max_req_body_size"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("oas-validator: %w", err)
	}
	v := &validator{
		log: env.Log, skips: skips{c.SkipPath, c.SkipQuery, c.SkipHeader, c.SkipBody},
		rejects: c.Rejects, verbose: c.Verbose, status: c.Status, max: c.Max,
		refusal:  reply.JSON("message", refused),
		tooLarge: reply.JSON("message", "error reading the request body. err: it is longer than "+strconv.FormatInt(c.Max, 10)+" bytes"),
	}
	var err error
	if c.Spec != nil {
		v.document, err = inlineDocument(*c.Spec)
	} else {
		v.source, err = sourceFor(c.URL, c.Fields, c.Verify, time.Duration(c.Timeout)*time.Millisecond)
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// refused begins what a client is told, and is all of it without verbose_errors.
const refused = "failed to validate request. "

const defaultTTL = time.Hour

// compileMetadata returns how long a description that was fetched is good for, a time.Duration.
func compileMetadata(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		TTL int64 `json:"spec_url_ttl"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("oas-validator: %w", err)
	}
	const most = int64(100 * 365 * 24 * time.Hour / time.Second)
	return time.Duration(min(c.TTL, most)) * time.Second, nil
}

// ReadsBody implements gateway.BodyReader.
func (v *validator) ReadsBody() int64 {
	if v.skips.body {
		return 0
	}
	return v.max
}

// NeedsBody implements gateway.BodyDecider. A document that may be another one by the time that Access runs says nothing.
func (v *validator) NeedsBody(x *gateway.Exchange) bool {
	if v.document == nil {
		return true
	}
	match, ok := v.document.match(x.Request.Method, x.Request.Path)
	return ok && match.operation.body != nil
}

// waited is the State of an exchange that has waited for its document.
type waited struct{}

var notParsed = reply.JSON("message", "failed to parse openapi spec")

// Access implements gateway.Accessor.
func (v *validator) Access(x *gateway.Exchange) gateway.Verdict {
	doc := v.document
	if doc == nil {
		ttl, known := x.Table.Metadata(name).(time.Duration)
		if !known {
			ttl = defaultTTL
		}
		_, mayWait := (*x.State()).(waited)
		if mayWait {
			v.source.await(x.Context())
		}
		var err error
		switch doc, err = v.source.get(ttl); {
		case errors.Is(err, errUnknown) && !mayWait:
			*x.State() = waited{}
			return gateway.Wait
		case err != nil:
			v.log().Error("oas-validator has no description to go by", zap.String("spec_url", v.source.shown), zap.Error(err))
			return x.Exit(http.StatusInternalServerError, notParsed)
		}
	}
	err := doc.check(x, v.skips)
	switch {
	case err == nil:
		return gateway.Continue
	case errors.Is(err, gateway.ErrBodyTooLarge):
		return x.Exit(http.StatusRequestEntityTooLarge, v.tooLarge)
	case errors.Is(err, errUnreadable):
		return x.Exit(http.StatusBadRequest, nil)
	case !v.rejects:
		v.log().Warn("request does not fit its OpenAPI description",
			zap.String("method", x.Request.Method), zap.String("uri", x.Request.Path), zap.Error(err))
		return gateway.Continue
	case v.verbose:
		return x.Exit(v.status, reply.JSON("message", refused+err.Error()))
	}
	return x.Exit(v.status, v.refusal)
}

var (
	_ gateway.Accessor    = (*validator)(nil)
	_ gateway.BodyReader  = (*validator)(nil)
	_ gateway.BodyDecider = (*validator)(nil)
)
