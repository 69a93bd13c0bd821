// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/plugins/reply"
)

// tokenRules are what a config asks of tokens, compiled. They are immutable.
type tokenRules struct {
	// publicKey verifies access tokens; nil is the provider's keys.
	publicKey any
	// algorithms are those that access tokens may be signed with. They are the config's choice, never the token's (RFC 8725
	// section 3.1).
	algorithms []jose.SignatureAlgorithm
	// secret verifies ID tokens that are signed with the client's secret; nil verifies none.
	secret []byte
	// claims is claim_schema, compiled; nil is none.
	claims *schema.Schema
	// lacksScopes is the body for tokens that lack one of required_scopes.
	lacksScopes []byte
	// keysLife is how long the provider's keys count.
	keysLife time.Duration
}

func newTokenRules(s *settings) (tokenRules, error) {
	rules := tokenRules{algorithms: asymmetric, keysLife: time.Duration(s.JWKExpiresIn) * time.Second}
	rules.lacksScopes = reply.JSON("error", "required scopes "+strings.Join(s.RequiredScopes, ", ")+" not present")
	if len(s.ClientSecret) > 0 {
		rules.secret = []byte(s.ClientSecret)
	}
	var err error
	if rules.claims, err = compileClaims(s.ClaimSchema); err != nil {
		return rules, err
	}
	if s.PublicKey != "" {
		if rules.publicKey, err = parsePublicKey(s.PublicKey); err != nil {
			return rules, fmt.Errorf(`property "public_key" is not a valid key: %w`, err)
		}
		if rules.algorithms = algorithmsOf(rules.publicKey); rules.algorithms == nil {
			return rules, errors.New(`property "public_key" is not a valid key: want RSA of 1024 bits or more, P-256, P-384, P-521 or Ed25519`)
		}
	}
	if expected := jose.SignatureAlgorithm(s.ExpectedAlgorithm); expected != "" && s.verifiesLocally() {
		if !slices.Contains(rules.algorithms, expected) {
			return rules, fmt.Errorf(`property "token_signing_alg_values_expected" validation failed: %q is not among %v`, expected, rules.algorithms)
		}
		rules.algorithms = []jose.SignatureAlgorithm{expected}
	}
	return rules, nil
}

// maxToken bounds a token, in bytes: nobody's token is longer, and what is longer is not looked at.
const maxToken = 16 << 10

// These are the errors of tokens: they tell a client what is wrong, and nothing that a stranger has written.
var (
	errMalformed   = errors.New("invalid jwt")
	errAlgorithm   = errors.New("token is signed by unexpected algorithm")
	errNoKey       = errors.New("the provider has no such key for the token")
	errSignature   = errors.New("jwt signature verification failed")
	errExpired     = errors.New("JWT expired")
	errNotYet      = errors.New("JWT is not valid yet")
	errTime        = errors.New("the times in the token are not numbers")
	errIssuer      = errors.New("the token comes from another issuer")
	errNoIssuer    = errors.New("it is not known who may have issued the token")
	errInactive    = errors.New("invalid token")
	errUnreachable = errors.New("the provider cannot be asked")
)

// parseToken takes a token apart that may be signed with one of the algorithms. What it says about keys itself (jwk, jku,
// x5c) is not looked at; what it declares critical makes it invalid, as does a member that is there twice.
func parseToken(text string, algorithms []jose.SignatureAlgorithm) (*jose.JSONWebSignature, error) {
	if len(text) > maxToken {
		return nil, errMalformed
	}
	token, err := jose.ParseSignedCompact(text, algorithms)
	var unexpected *jose.ErrUnexpectedSignatureAlgorithm
	switch {
	case errors.As(err, &unexpected):
		return nil, errAlgorithm
	case err != nil || len(token.Signatures) != 1:
		return nil, errMalformed
	}
	return token, nil
}

// verifyBy verifies a token with one key.
func verifyBy(key any, token *jose.JSONWebSignature) ([]byte, error) {
	payload, err := token.Verify(key)
	if err != nil {
		return nil, errSignature
	}
	return payload, nil
}

// verifyByKeys verifies a token with the key of the provider that it names, and returns the keys that held it too. A key
// that is not known may be new: the keys are fetched again, within limits.
func (p *provider) verifyByKeys(ctx context.Context, now time.Time, life time.Duration, token *jose.JSONWebSignature) ([]byte, *keySet, error) {
	keys, err := p.keys.get(ctx, now, life)
	if err != nil {
		return nil, nil, unreachable(err)
	}
	header := token.Signatures[0].Header
	algorithm := jose.SignatureAlgorithm(header.Algorithm)
	key := keys.find(header.KeyID, algorithm)
	if key == nil {
		if keys, err = p.keys.renew(ctx, now, keys); err != nil {
			return nil, nil, unreachable(err)
		}
		if key = keys.find(header.KeyID, algorithm); key == nil {
			return nil, nil, errNoKey
		}
	}
	payload, err := verifyBy(key, token)
	return payload, keys, err
}

// unreachable says that asking failed, unless nobody has asked yet.
func unreachable(err error) error {
	if errors.Is(err, errWait) {
		return err
	}
	return errors.Join(errUnreachable, err)
}

// lifetime is when a token counts, in seconds since 1970: from <= now < until.
type lifetime struct{ from, until float64 }

func (l lifetime) holds(now time.Time) bool {
	seconds := float64(now.UnixNano()) / 1e9
	return l.from <= seconds && seconds < l.until
}

const forever = 1 << 62

// lifetimeOf reads the claims exp and nbf, neither of which has to be there.
func lifetimeOf(claims map[string]any) (l lifetime, err error) {
	l.until = forever
	for claim, bound := range map[string]*float64{"exp": &l.until, "nbf": &l.from} {
		value, ok := claims[claim]
		if !ok {
			continue
		}
		if *bound, ok = value.(float64); !ok {
			return l, errTime
		}
	}
	return l, nil
}

// check returns why a lifetime does not hold, with the clocks being up to slack seconds apart.
func (l lifetime) check(now time.Time, slack float64) error {
	seconds := float64(now.UnixNano()) / 1e9
	switch {
	case l.until+slack <= seconds:
		return errExpired
	case l.from-slack > seconds:
		return errNotYet
	}
	return nil
}

// hasAudience reports whether a claim, a text or a list of them, names the audience.
func hasAudience(claim any, audience string) bool {
	list, ok := claim.([]any)
	if !ok {
		return claim == audience
	}
	return slices.Contains(list, any(audience))
}
