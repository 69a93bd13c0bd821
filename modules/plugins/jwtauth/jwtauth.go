// SPDX-License-Identifier: Apache-2.0

// Package jwtauth is APISIX's jwt-auth plugin: it knows a consumer by a JSON Web Token (RFC 7519) that was signed with
// the consumer's key.
package jwtauth

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
)

//go:embed schema.json
var configSchema []byte

//go:embed consumer_schema.json
var consumerSchema []byte

const name = "jwt-auth"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:           name,
		Priority:       2510,
		Version:        0.1,
		Auth:           true,
		Schema:         configSchema,
		ConsumerSchema: consumerSchema,
		New:            compile,
		NewCredential:  compileCredential,
		UniqueField:    "key",
	})
}

var (
	missingToken = auth.Message("Missing JWT token in request")
	invalidToken = auth.Message("JWT token invalid")
	missingKey   = auth.Message("missing user key in JWT token")
	unknownKey   = auth.Message("Invalid user key in JWT token")
	notVerified  = auth.Message("failed to verify jwt")
)

// maxToken bounds a token, in bytes: nobody's token is longer, and what is longer is not looked at.
const maxToken = 16 << 10

// proven are the tokens that were verified.
var proven auth.Cache

// jwtAuth is one compiled config. It is immutable.
type jwtAuth struct {
	header, query, cookie string
	keyClaim              string
	// required are the claims that a token must have.
	required claimSet
	store    bool
	gate     auth.Gate
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		auth.Config
		Header         string   `json:"header"`
		Query          string   `json:"query"`
		Cookie         string   `json:"cookie"`
		KeyClaimName   string   `json:"key_claim_name"`
		StoreInCtx     bool     `json:"store_in_ctx"`
		ClaimsToVerify []string `json:"claims_to_verify"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("jwt-auth: %w", err)
	}
	j := &jwtAuth{
		header: c.Header, query: c.Query, cookie: c.Cookie, keyClaim: c.KeyClaimName, store: c.StoreInCtx,
		gate: c.Gate("Bearer"),
	}
	if slices.Contains(c.ClaimsToVerify, "exp") {
		j.required |= hasExp
	}
	if slices.Contains(c.ClaimsToVerify, "nbf") {
		j.required |= hasNbf
	}
	return j, nil
}

// source is where a token was found.
type source uint8

const (
	nowhere source = iota
	inHeader
	inQuery
	inCookie
)

// find returns the token of a request. There may be one only in each place: of two, whoever reads the request next may
// take the other, so they are an invalid one.
func (j *jwtAuth) find(x *gateway.Exchange) (token string, from source) {
	if field, found, several := auth.Only(&x.Request.Header, j.header); found {
		if several {
			return "", inHeader
		}
		return auth.WithoutBearer(field), inHeader
	}
	if token, times := x.Request.Arg(j.query); times > 0 {
		if times > 1 {
			return "", inQuery
		}
		return token, inQuery
	}
	if token, found := x.Request.Cookie(j.cookie); found {
		return token, inCookie
	}
	return "", nowhere
}

func (j *jwtAuth) hide(x *gateway.Exchange, from source) {
	switch from {
	case inHeader:
		x.Request.Header.Del(j.header)
	case inQuery:
		x.Request.DelArg(j.query)
	case inCookie:
		x.Request.DelCookie(j.cookie)
	}
}

// Rewrite implements gateway.Rewriter.
func (j *jwtAuth) Rewrite(x *gateway.Exchange) gateway.Verdict {
	text, from := j.find(x)
	switch {
	case from == nowhere:
		return j.fail(x, missingToken)
	case len(text) == 0 || len(text) > maxToken:
		return j.fail(x, invalidToken)
	}
	sum := auth.Sum(text)
	known, proof := proven.Find(x, name, j.keyClaim, &sum)
	if known == nil {
		var refusal []byte
		if known, proof, refusal = j.verify(x, text); known == nil {
			return j.fail(x, refusal)
		}
		proof.Sum = sum
		proven.Add(proof)
	}
	if claimSet(proof.Flags)&j.required != j.required {
		return j.fail(x, notVerified)
	}
	if j.store {
		x.SetVar("jwt_auth_payload", payloadOf(text))
	}
	if j.gate.Hide {
		j.hide(x, from)
	}
	return j.gate.Admit(x, known)
}

// verify takes a token apart and returns whose it is, with the proof but for its hash, or why it is nobody's.
func (j *jwtAuth) verify(x *gateway.Exchange, text string) (*gateway.Credential, *auth.Proof, []byte) {
	t, err := parse(text)
	if err != nil {
		return nil, nil, invalidToken
	}
	claims, err := t.claims(j.keyClaim)
	switch {
	case err != nil:
		return nil, nil, invalidToken
	case !claims.hasKey:
		return nil, nil, missingKey
	}
	known := x.Table.Credential(name, claims.key)
	if known == nil || claims.key == "" {
		return nil, nil, unknownKey
	}
	c := known.Config.(*credential)
	// The consumer's config says which algorithm it is, never the token (RFC 8725 section 3.1).
	if t.algorithm != c.algorithm || !c.verify(t.signed, t.signature) {
		return nil, nil, notVerified
	}
	proof := &auth.Proof{
		Scope: j.keyClaim, Key: c.key, Config: c, From: auth.NoFrom, Until: auth.NoUntil, Flags: uint8(claims.set),
	}
	if claims.set&hasNbf != 0 {
		proof.From = claims.nbf - c.leeway
	}
	if claims.set&hasExp != 0 {
		proof.Until = claims.exp + c.leeway
	}
	if claims.notNumeric || !proof.Valid(x.Start) {
		return nil, nil, notVerified
	}
	return known, proof, nil
}

func (j *jwtAuth) fail(x *gateway.Exchange, body []byte) gateway.Verdict {
	verdict := j.gate.Fail(x, body)
	if verdict == gateway.Continue && j.gate.Hide {
		j.hide(x, inHeader)
		j.hide(x, inQuery)
		j.hide(x, inCookie)
	}
	return verdict
}

var _ gateway.Rewriter = (*jwtAuth)(nil)
