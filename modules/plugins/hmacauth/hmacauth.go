// SPDX-License-Identifier: Apache-2.0

// Package hmacauth is APISIX's hmac-auth plugin: it knows a consumer by a request that was signed with the consumer's
// key.
package hmacauth

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
)

//go:embed schema.json
var configSchema []byte

//go:embed consumer_schema.json
var consumerSchema []byte

const name = "hmac-auth"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:           name,
		Priority:       2530,
		Version:        0.1,
		Auth:           true,
		Schema:         configSchema,
		ConsumerSchema: consumerSchema,
		New:            compile,
		NewCredential:  compileCredential,
		UniqueField:    "key_id",
	})
}

var (
	missing = auth.Message("client request can't be validated: missing Authorization header")
	invalid = auth.Message("client request can't be validated")
)

// hmacAuth is one compiled config. It is immutable.
type hmacAuth struct {
	algorithms []algorithm
	skew       time.Duration
	// signed are the fields that a request has to sign.
	signed []string
	// maxBody is the largest body that is compared with its digest; 0 compares none.
	maxBody int64
	gate    auth.Gate
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		auth.Config
		AllowedAlgorithms   []string `json:"allowed_algorithms"`
		ClockSkew           int64    `json:"clock_skew"`
		SignedHeaders       []string `json:"signed_headers"`
		ValidateRequestBody bool     `json:"validate_request_body"`
		MaxReqBodySize      int64    `json:"max_req_body_size"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("hmac-auth: %w", err)
	}
	const maxSkew = 1<<63 - 1
	h := &hmacAuth{skew: maxSkew, signed: c.SignedHeaders, gate: c.Gate("hmac")}
	if c.ClockSkew < maxSkew/int64(time.Second) {
		h.skew = time.Duration(c.ClockSkew) * time.Second
	}
	if c.ValidateRequestBody {
		h.maxBody = c.MaxReqBodySize
	}
	for _, name := range c.AllowedAlgorithms {
		if i := slices.Index(algorithmNames[:], name); i >= 0 {
			h.algorithms = append(h.algorithms, algorithm(i))
		}
	}
	return h, nil
}

// ReadsBody implements gateway.BodyReader.
func (h *hmacAuth) ReadsBody() int64 { return h.maxBody }

// NeedsBody implements gateway.BodyDecider: nobody makes the gateway read a body without having signed the rest.
func (h *hmacAuth) NeedsBody(x *gateway.Exchange) bool {
	credential, _ := h.verify(x)
	return credential != nil
}

// Rewrite implements gateway.Rewriter.
func (h *hmacAuth) Rewrite(x *gateway.Exchange) gateway.Verdict {
	credential, refusal := h.verify(x)
	if credential == nil {
		return h.fail(x, refusal)
	}
	if h.maxBody > 0 {
		switch matches, err := h.bodyMatches(x); {
		case errors.Is(err, gateway.ErrBodyTooLarge):
			return x.Exit(413, nil)
		case err != nil:
			return x.Exit(400, nil)
		case !matches:
			return h.fail(x, invalid)
		}
	}
	if h.gate.Hide {
		x.Request.Header.Del(auth.Authorization)
	}
	return h.gate.Admit(x, credential)
}

// verify returns the credential that the head of the request was signed with, or why there is none.
func (h *hmacAuth) verify(x *gateway.Exchange) (*gateway.Credential, []byte) {
	field, found, several := auth.Only(&x.Request.Header, auth.Authorization)
	if !found {
		return nil, missing
	}
	p, ok := parse(field)
	if several || !ok {
		return nil, invalid
	}
	algorithm := algorithm(slices.Index(algorithmNames[:], p.algorithm))
	if !slices.Contains(h.algorithms, algorithm) || !h.inTime(x) || !p.lists(h.signed) {
		return nil, invalid
	}
	known := x.Table.Credential(name, p.keyID)
	if known == nil || !known.Config.(*credential).signed(x, &p, algorithm) {
		return nil, invalid
	}
	return known, nil
}

func (h *hmacAuth) inTime(x *gateway.Exchange) bool {
	text, found, several := auth.Only(&x.Request.Header, "Date")
	if !found || several {
		return false
	}
	date, err := http.ParseTime(text)
	return err == nil && x.Start.Truncate(time.Second).Sub(date).Abs() <= h.skew
}

// digestPrefix is the one algorithm of digests (RFC 3230).
const digestPrefix = "SHA-256="

func (h *hmacAuth) bodyMatches(x *gateway.Exchange) (bool, error) {
	field, found, several := auth.Only(&x.Request.Header, "Digest")
	if !found || several {
		return false, nil
	}
	body, err := x.Body()
	switch {
	case err != nil:
		return false, err
	case int64(len(body)) > h.maxBody:
		return false, gateway.ErrBodyTooLarge
	}
	sum := sha256.Sum256(body)
	var want [len(digestPrefix) + 44]byte
	base64.StdEncoding.Encode(want[copy(want[:], digestPrefix):], sum[:])
	return bytes.Equal(want[:], []byte(field)), nil
}

func (h *hmacAuth) fail(x *gateway.Exchange, body []byte) gateway.Verdict {
	verdict := h.gate.Fail(x, body)
	if verdict == gateway.Continue && h.gate.Hide {
		x.Request.Header.Del(auth.Authorization)
	}
	return verdict
}

var (
	_ gateway.Rewriter    = (*hmacAuth)(nil)
	_ gateway.BodyReader  = (*hmacAuth)(nil)
	_ gateway.BodyDecider = (*hmacAuth)(nil)
)
