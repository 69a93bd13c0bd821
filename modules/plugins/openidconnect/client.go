// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The methods by which a client authenticates (OpenID Connect Core 1.0 section 9).
const (
	secretBasic   = "client_secret_basic"
	secretPost    = "client_secret_post"
	privateKeyJWT = "private_key_jwt"
	secretJWT     = "client_secret_jwt"
	noSecret      = "none"
)

// client makes the calls to a provider that are made in the client's name. It is immutable.
type client struct {
	caller
	id, secret string
	// tokenAuth, introspectionAuth and parAuth are the methods as configured.
	tokenAuth, introspectionAuth, parAuth string
	// private and shared sign assertions with the client's key and with its secret; nil has none.
	private, shared *assertionSigner
	audience        string
	lifetime        time.Duration
	// dpop is nil when access tokens are bearer tokens.
	dpop *dpop
}

// assertionSigner signs assertions (RFC 7523 section 2.2).
type assertionSigner struct {
	jose.Signer
	algorithm string
}

func newClient(s *settings, calls caller) (*client, error) {
	if err := s.checkClientAuth(); err != nil {
		return nil, err
	}
	c := &client{
		caller: calls, id: s.ClientID, secret: s.ClientSecret,
		tokenAuth: s.TokenAuth, introspectionAuth: s.IntrospectionAuth, parAuth: s.PAR.Auth,
		audience: s.AssertionAudience, lifetime: time.Duration(s.AssertionLifetime) * time.Second,
	}
	var err error
	if c.private, err = s.privateSigner(); err != nil {
		return nil, err
	}
	if c.shared, err = s.sharedSigner(); err != nil {
		return nil, err
	}
	c.dpop, err = newDPoP(&s.DPoP)
	return c, err
}

// can reports whether the client has what a method needs.
func (c *client) can(method string) bool {
	switch method {
	case secretBasic, secretPost, noSecret:
		return true
	case privateKeyJWT:
		return c.private != nil
	case secretJWT:
		return c.shared != nil
	}
	return false
}

// tokenMethod returns how the client authenticates at the token endpoint: as configured, unless the provider says that it
// takes only others; then it is the first of those that the client can.
func (c *client) tokenMethod(m *metadata) string {
	if c.can(c.tokenAuth) && (len(m.TokenAuthMethods) == 0 || slices.Contains(m.TokenAuthMethods, c.tokenAuth)) {
		return c.tokenAuth
	}
	if i := slices.IndexFunc(m.TokenAuthMethods, c.can); i >= 0 {
		return m.TokenAuthMethods[i]
	}
	return secretBasic
}

// authenticate adds the client's credentials to a request.
func (c *client) authenticate(m *metadata, method, endpoint string, form url.Values, h http.Header) error {
	switch method {
	case secretBasic:
		// The names are encoded first, as RFC 6749 section 2.3.1 wants it.
		pair := url.QueryEscape(c.id) + ":" + url.QueryEscape(c.secret)
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	case noSecret:
		form.Set("client_id", c.id)
	case secretPost:
		form.Set("client_id", c.id)
		if c.secret != "" {
			form.Set("client_secret", c.secret)
		}
	case privateKeyJWT, secretJWT:
		assertion, err := c.assertion(m, method, endpoint)
		if err != nil {
			return err
		}
		form.Set("client_id", c.id)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	}
	return nil
}

func (c *client) assertion(m *metadata, method, endpoint string) (string, error) {
	signer := c.private
	if method == secretJWT {
		signer = c.shared
	}
	if signer == nil {
		return "", fmt.Errorf("can't use %s without a key", method)
	}
	if m != nil && len(m.TokenAuthAlgs) > 0 && !slices.Contains(m.TokenAuthAlgs, signer.algorithm) {
		return "", fmt.Errorf("client_jwt_assertion_alg (%s) is not among token_endpoint_auth_signing_alg_values_supported", signer.algorithm)
	}
	audience, now := c.audience, time.Now()
	if audience == "" {
		audience = endpoint
	}
	return signJSON(signer, map[string]any{
		"iss": c.id, "sub": c.id, "aud": audience, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(c.lifetime).Unix(),
	})
}

func signJSON(signer jose.Signer, claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// post sends a form with the client's credentials to an endpoint. header may be nil.
func (c *client) post(ctx context.Context, m *metadata, endpoint, method string, form url.Values, header http.Header) (answer, error) {
	if err := checkEndpoint(endpoint); err != nil {
		return answer{}, err
	}
	form, header = maps.Clone(form), maps.Clone(header)
	if header == nil {
		header = make(http.Header)
	}
	if err := c.authenticate(m, method, endpoint, form, header); err != nil {
		return answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	req.Header = header
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	return c.do(req)
}

// tokens are what a token endpoint gave. Empty is what it did not give.
type tokens struct {
	access, refresh, id string
	// life is how long the access token counts, in seconds; 0 when it was not said.
	life int64
	// nonce is the one for the next proof, when the provider asks for one.
	nonce string
}

// grant asks the token endpoint for tokens. With proofs of possession it asks once more when the provider wants another
// nonce in them (RFC 9449 section 8).
func (c *client) grant(ctx context.Context, m *metadata, form url.Values, nonce string) (tokens, error) {
	ask := func() (answer, error) {
		var header http.Header
		if c.dpop != nil {
			proof, err := c.dpop.proof(m, http.MethodPost, m.Token, "", nonce)
			if err != nil {
				return answer{}, err
			}
			header = http.Header{"Dpop": {proof}}
		}
		return c.post(ctx, m, m.Token, c.tokenMethod(m), form, header)
	}
	got, err := ask()
	if err == nil && c.wantsNonce(&got, &nonce) {
		got, err = ask()
	}
	if err != nil {
		return tokens{}, fmt.Errorf("accessing token endpoint failed: %w", err)
	}
	if got.status != http.StatusOK {
		return tokens{}, fmt.Errorf("token endpoint: %w", got.failure())
	}
	t, err := parseTokens(got.body)
	if err != nil {
		return tokens{}, err
	}
	if c.dpop != nil {
		if !strings.EqualFold(t.kind, "DPoP") && t.access != "" {
			return tokens{}, errors.New("token endpoint returned an access token without token_type DPoP")
		}
		if next := got.header.Get("DPoP-Nonce"); next != "" {
			nonce = next
		}
		t.nonce = nonce
	}
	return t.tokens, nil
}

// wantsNonce reports whether an answer asks for a proof with another nonce, and takes it down.
func (c *client) wantsNonce(got *answer, nonce *string) bool {
	if c.dpop == nil || got.status != http.StatusBadRequest && got.status != http.StatusUnauthorized {
		return false
	}
	next := got.header.Get("DPoP-Nonce")
	if next == "" || next == *nonce {
		return false
	}
	*nonce = next
	return true
}

type tokenAnswer struct {
	tokens
	kind string
}

func parseTokens(text []byte) (t tokenAnswer, err error) {
	var told struct {
		Access  string          `json:"access_token"`
		Refresh string          `json:"refresh_token"`
		ID      string          `json:"id_token"`
		Type    string          `json:"token_type"`
		Expires json.RawMessage `json:"expires_in"`
	}
	if json.Unmarshal(text, &told) != nil {
		return t, errors.New("token endpoint: JSON decoding failed")
	}
	t.access, t.refresh, t.id, t.kind = told.Access, told.Refresh, told.ID, told.Type
	// Some say it in a string.
	if seconds, err := strconv.ParseFloat(strings.Trim(string(told.Expires), `"`), 64); err == nil && seconds > 0 && seconds < 1<<31 {
		t.life = int64(seconds)
	}
	return t, nil
}
