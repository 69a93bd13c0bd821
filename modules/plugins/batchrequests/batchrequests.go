// SPDX-License-Identifier: Apache-2.0

// Package batchrequests is APISIX's batch-requests plugin: an endpoint that takes many requests in one, and answers with all
// their responses.
package batchrequests

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/reply"
)

//go:embed schema.json
var configSchema []byte

//go:embed metadata_schema.json
var metadataSchema []byte

const (
	name = "batch-requests"
	// endpoint is where the API is, for routes with public-api.
	endpoint = "/apisix/batch-requests"
	// maxAnswers bounds the bodies of the responses to one batch, all together.
	maxAnswers = 64 << 20
)

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: name, Priority: 4010, Version: 0.1, GlobalScope: true, Schema: configSchema, MetadataSchema: metadataSchema,
		New:         func(gateway.Env, json.RawMessage) (any, error) { return struct{}{}, nil },
		NewMetadata: compileMetadata,
		Endpoints:   []gateway.Endpoint{{Methods: []string{http.MethodPost}, Path: endpoint, Serve: serve}},
	})
}

// limits are the plugin's metadata: bytes of a batch, and requests in it.
type limits struct {
	MaxBody  int64 `json:"max_body_size"`
	MaxItems int   `json:"max_pipeline_items"`
}

// defaultLimits are those without metadata.
var defaultLimits = &limits{MaxBody: 1 << 20, MaxItems: 1000}

func compileMetadata(_ gateway.Env, config json.RawMessage) (any, error) {
	l := new(limits)
	if err := json.Unmarshal(config, l); err != nil {
		return nil, fmt.Errorf("batch-requests: %w", err)
	}
	return l, nil
}

func limitsOf(x *gateway.Exchange) *limits {
	if l, ok := x.Table.Metadata(name).(*limits); ok {
		return l
	}
	return defaultLimits
}

// serve answers a batch. Its requests are made one after the other, as in APISIX, where they go down one connection: a later
// one may rest on what an earlier one has done.
func serve(x *gateway.Exchange) gateway.Verdict {
	if x.IsSubrequest {
		return refuse(x, 400, "bad request body: a batch cannot hold another batch")
	}
	limits := limitsOf(x)
	body, err := x.BodyUpTo(limits.MaxBody)
	switch {
	case errors.Is(err, gateway.ErrBodyTooLarge):
		return refuse(x, 413, tooLarge(x.Request.ContentLength, limits.MaxBody))
	case err != nil:
		return refuse(x, 400, "invalid request body: "+err.Error())
	case len(body) == 0:
		return refuse(x, 400, "no request body, you should give at least one pipeline setting")
	}
	b, err := readBatch(body, limits.MaxItems)
	if err != nil {
		return refuse(x, 400, err.Error())
	}
	requests := make([]*gateway.Subrequest, len(b.Pipeline))
	for i := range b.Pipeline {
		requests[i] = b.subrequest(x, &b.Pipeline[i])
	}
	answer, left := []byte{'['}, int64(maxAnswers)
	for i, r := range requests {
		if i > 0 {
			answer = append(answer, ',')
		}
		r.Limit = left
		response, err := ask(x, r, b.timeout())
		if err != nil {
			if x.Context().Err() != nil {
				// Nobody waits for the rest.
				return refuse(x, 400, "request failed: the client has gone")
			}
			answer = appendFailure(answer, err)
			continue
		}
		left -= int64(len(response.Body))
		answer = appendResponse(answer, r.Method, response)
	}
	x.Response.Header.Set("Content-Type", "application/json")
	return x.Exit(200, append(answer, "]\n"...))
}

// ask makes one request, for which there is that much time.
func ask(x *gateway.Exchange, r *gateway.Subrequest, timeout time.Duration) (*gateway.Subresponse, error) {
	ctx, cancel := context.WithTimeout(x.Context(), timeout)
	defer cancel()
	return x.Subrequest(ctx, r)
}

func tooLarge(size, limit int64) string {
	if size < 0 {
		return fmt.Sprintf("request size is greater than the maximum size %d allowed", limit)
	}
	return fmt.Sprintf("request size %d is greater than the maximum size %d allowed", size, limit)
}

func refuse(x *gateway.Exchange, status int, text string) gateway.Verdict {
	x.Response.Header.Set("Content-Type", "application/json")
	return x.Exit(status, reply.JSON("error_msg", text))
}
