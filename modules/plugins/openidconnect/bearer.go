// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
	"github.com/andogate/ando/modules/plugins/reply"
)

// proof is what is known of an access token whose signature, or whose provider, has spoken for it.
type proof struct {
	lifetime
	// keys are those that verified it; nil when they were not the provider's.
	keys *keySet
	// payload is a JSON object, the same as claims.
	payload []byte
	claims  map[string]any
}

// bearer decides about a request with an access token.
func (rp *relyingParty) bearer(x *gateway.Exchange, v *visit, token string) gateway.Verdict {
	sum := rp.sumOf(x, token)
	known := admitted.find(&sum, x.Start)
	if known == nil || known.keys != nil && known.keys != rp.provider.keys.newest() {
		p, err := rp.prove(x, v, &sum, token)
		if err != nil {
			return rp.unproven(x, err)
		}
		if verdict, refused := rp.refuseClaims(x, p); refused {
			return verdict
		}
		known = newAdmission(&sum, p)
		if !rp.IgnoreVerified || !rp.verifiesLocally() {
			admitted.add(known)
		}
	}
	if !rp.BearerOnly {
		rp.sessions.hideAny(x)
	}
	rp.tell(x, token, known.userinfo)
	auth.SetExternalUser(x, known.user)
	return gateway.Continue
}

// prove verifies a token here, or has the provider do it.
func (rp *relyingParty) prove(x *gateway.Exchange, v *visit, sum *[32]byte, token string) (*proof, error) {
	if rp.verifiesLocally() {
		return rp.verifyToken(v.ctx, x.Start, token)
	}
	return rp.introspect(x, v, sum, token)
}

// maxUnasked is how long a token counts without being verified again.
const maxUnasked = 10 * time.Minute

// verifyToken verifies a JWT by the config's key or by the provider's, and who issued it when.
func (rp *relyingParty) verifyToken(ctx context.Context, now time.Time, text string) (*proof, error) {
	token, err := parseToken(text, rp.tokens.algorithms)
	if err != nil {
		return nil, err
	}
	issuers := rp.Claims.Issuer.Valid
	if rp.tokens.publicKey == nil || issuers == nil {
		m, err := rp.provider.describe(ctx, now)
		switch {
		case errors.Is(err, errWait):
			return nil, err
		case err != nil && issuers == nil:
			return nil, errors.Join(errNoIssuer, err)
		case err != nil:
			return nil, unreachable(err)
		}
		if issuers == nil {
			issuers = []string{m.Issuer}
		}
	}
	p := new(proof)
	if key := rp.tokens.publicKey; key != nil {
		p.payload, err = verifyBy(key, token)
	} else {
		p.payload, p.keys, err = rp.provider.verifyByKeys(ctx, now, rp.tokens.keysLife, token)
	}
	if err != nil {
		return nil, err
	}
	if p.claims, err = object(p.payload); err != nil {
		return nil, errMalformed
	}
	if p.lifetime, err = lifetimeOf(p.claims); err != nil {
		return nil, err
	}
	if err := p.check(now, 0); err != nil {
		return nil, err
	}
	if issuer, ok := p.claims["iss"].(string); !ok || !slices.Contains(issuers, issuer) {
		return nil, errIssuer
	}
	p.until = min(p.until, float64(now.Add(maxUnasked).Unix()))
	return p, nil
}

// introspections are under way; requests with one token share one.
var introspections group[*proof]

// introspect asks the provider about a token (RFC 7662).
func (rp *relyingParty) introspect(x *gateway.Exchange, v *visit, sum *[32]byte, token string) (*proof, error) {
	if v.ctx == nil {
		return nil, errWait
	}
	var m *metadata
	endpoint := rp.IntrospectionEndpoint
	if endpoint == "" {
		var err error
		if m, err = rp.provider.describe(v.ctx, x.Start); err != nil {
			return nil, unreachable(err)
		}
		endpoint = m.Introspection
	}
	form := url.Values{"token": {strings.Clone(token)}}
	header := make(http.Header)
	for _, name := range rp.IntrospectionAddFields {
		for value := range x.Request.Header.Values(name) {
			header.Add(strings.Clone(name), strings.Clone(value))
		}
	}
	now := x.Start
	return introspections.do(v.ctx, *sum, 0, func(ctx context.Context) (*proof, error) {
		got, err := rp.client.post(ctx, m, endpoint, rp.IntrospectionAuth, form, header)
		switch {
		case err != nil:
			return nil, unreachable(err)
		case got.status != http.StatusOK:
			return nil, unreachable(got.failure())
		}
		p := &proof{payload: got.body}
		if p.claims, err = object(got.body); err != nil {
			return nil, unreachable(errors.New("JSON decoding of the introspection failed"))
		}
		if p.claims["active"] != true {
			return nil, errInactive
		}
		p.until = rp.introspectedUntil(p.claims, now)
		return p, nil
	})
}

// introspectedUntil is how long an answer counts: as long as the claim says that config or RFC 7662 name, at most for
// introspection_interval, and not at all when the claim is not there. "exp" is a time, another claim a number of seconds.
func (rp *relyingParty) introspectedUntil(claims map[string]any, now time.Time) float64 {
	claim := rp.IntrospectionExpiry
	if claim == "" {
		claim = "exp"
	}
	seconds, ok := claims[claim].(float64)
	if !ok {
		return 0
	}
	if claim == "exp" {
		seconds -= float64(now.Unix())
	}
	if rp.IntrospectionInterval > 0 {
		seconds = min(seconds, float64(rp.IntrospectionInterval))
	}
	return float64(now.Unix()) + seconds
}

// unproven answers a token that nobody speaks for.
func (rp *relyingParty) unproven(x *gateway.Exchange, err error) gateway.Verdict {
	if errors.Is(err, errWait) {
		return gateway.Wait
	}
	for _, told := range []error{errUnreachable, errNoIssuer} {
		if errors.Is(err, told) {
			rp.warn("an access token cannot be verified", err)
			return rp.refuseToken(x, told.Error())
		}
	}
	return rp.refuseToken(x, err.Error())
}

var (
	noAudience    = reply.JSON("error", "required audience claim not present")
	otherAudience = reply.JSON("error", "mismatched audience")
)

// refuseClaims answers a token that is good, but not for this.
func (rp *relyingParty) refuseClaims(x *gateway.Exchange, p *proof) (verdict gateway.Verdict, refused bool) {
	if !hasScopes(p.claims["scope"], rp.RequiredScopes) {
		return x.Exit(http.StatusForbidden, rp.tokens.lacksScopes), true
	}
	rules := &rp.Claims.Audience
	audience, present := p.claims[rules.Claim]
	present = present && audience != nil
	switch {
	case rules.Required && !present:
		return x.Exit(http.StatusForbidden, noAudience), true
	case rules.MatchClientID && present && !hasAudience(audience, rp.ClientID):
		return x.Exit(http.StatusForbidden, otherAudience), true
	}
	if rp.tokens.claims == nil {
		return 0, false
	}
	if err := validateClaims(rp.tokens.claims, p.payload); err != nil {
		return rp.refuseToken(x, err.Error()), true
	}
	return 0, false
}

func validateClaims(rules *schema.Schema, payload []byte) error {
	value, err := schema.Decode(payload)
	if err != nil {
		return err
	}
	return rules.Validate(value)
}

// hasScopes reports whether a claim, words in a text or a list of them, has every scope.
func hasScopes(claim any, required []string) bool {
	var granted []string
	switch claim := claim.(type) {
	case string:
		granted = strings.Fields(claim)
	case []any:
		for _, scope := range claim {
			if text, ok := scope.(string); ok {
				granted = append(granted, text)
			}
		}
	}
	for _, scope := range required {
		if !slices.Contains(granted, scope) {
			return false
		}
	}
	return true
}

// newAdmission makes a proof one that can be remembered.
func newAdmission(sum *[32]byte, p *proof) *admission {
	var compact bytes.Buffer
	if json.Compact(&compact, p.payload) != nil {
		compact.Reset()
	}
	return &admission{
		sum: *sum, lifetime: p.lifetime, keys: p.keys,
		user: compact.String(), userinfo: base64.StdEncoding.EncodeToString(compact.Bytes()),
	}
}
