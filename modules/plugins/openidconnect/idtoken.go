// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// verifyIDToken returns the claims of an ID token that came from the token endpoint (OpenID Connect Core 1.0 section
// 3.1.3.7). nonce is that of the login, or empty.
func (rp *relyingParty) verifyIDToken(ctx context.Context, m *metadata, now time.Time, text, nonce string) (map[string]any, error) {
	payload, err := rp.verifySigned(ctx, m, now, text)
	if err != nil {
		return nil, err
	}
	claims, err := object(payload)
	if err != nil {
		return nil, errMalformed
	}
	if claims["iss"] != m.Issuer {
		return nil, errIssuer
	}
	if subject, ok := claims["sub"].(string); !ok || subject == "" {
		return nil, errors.New(`no "sub" claim found`)
	}
	if nonce != "" && claims["nonce"] != nonce {
		return nil, errors.New("nonce is not equal to the nonce that was sent in the request")
	}
	if err := rp.checkTimes(claims, now); err != nil {
		return nil, err
	}
	if !hasAudience(claims["aud"], rp.ClientID) {
		return nil, errors.New("token audience does not match")
	}
	// A token for several may have been made for one of the others.
	if authorized, ok := claims["azp"]; ok && authorized != rp.ClientID {
		return nil, errors.New("the token was made for another client")
	}
	return claims, nil
}

func (rp *relyingParty) checkTimes(claims map[string]any, now time.Time) error {
	slack := float64(rp.IATSlack)
	issued, ok := claims["iat"].(float64)
	switch {
	case !ok:
		return errors.New(`no "iat" claim found`)
	case issued > float64(now.Unix())+slack:
		return errNotYet
	case claims["exp"] == nil:
		return errors.New(`no "exp" claim found`)
	}
	life, err := lifetimeOf(claims)
	if err != nil {
		return err
	}
	return life.check(now, slack)
}

// verifySigned returns the payload of a token that the provider has given to nobody but us. It is signed as the discovery
// document says; one that is not signed counts only where the config says so, since it came over a connection to the
// provider. With an algorithm that uses the client's secret nobody else can have made it.
func (rp *relyingParty) verifySigned(ctx context.Context, m *metadata, now time.Time, text string) ([]byte, error) {
	if payload, ok := unsigned(text); ok && rp.AcceptNone {
		return payload, nil
	}
	algorithms := asymmetric
	if len(m.IDTokenAlgs) > 0 {
		algorithms = nil
		for _, name := range m.IDTokenAlgs {
			algorithm := jose.SignatureAlgorithm(name)
			if slices.Contains(asymmetric, algorithm) || slices.Contains(symmetric, algorithm) && rp.tokens.secret != nil {
				algorithms = append(algorithms, algorithm)
			}
		}
	}
	token, err := parseToken(text, algorithms)
	if err != nil {
		return nil, err
	}
	algorithm := jose.SignatureAlgorithm(token.Signatures[0].Header.Algorithm)
	switch {
	case slices.Contains(symmetric, algorithm):
		return verifyBy(rp.tokens.secret, token)
	case rp.tokens.publicKey != nil && slices.Contains(algorithmsOf(rp.tokens.publicKey), algorithm):
		return verifyBy(rp.tokens.publicKey, token)
	}
	payload, _, err := rp.provider.verifyByKeys(ctx, now, rp.tokens.keysLife, token)
	return payload, err
}

// unsigned returns the payload of a token that says it is not signed (RFC 7519 section 6).
func unsigned(text string) ([]byte, bool) {
	if len(text) > maxToken {
		return nil, false
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 || parts[2] != "" {
		return nil, false
	}
	head, err := base64.RawURLEncoding.DecodeString(parts[0])
	var told struct {
		Algorithm string `json:"alg"`
	}
	if err != nil || json.Unmarshal(head, &told) != nil || told.Algorithm != "none" {
		return nil, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	return payload, err == nil
}

// payloadOf returns the claims of a token that has been verified before.
func payloadOf(text string) []byte {
	_, rest, _ := strings.Cut(text, ".")
	payload, _, _ := strings.Cut(rest, ".")
	claims, _ := base64.RawURLEncoding.DecodeString(payload)
	return claims
}
