// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// settings are what a config says, with its defaults filled in.
type settings struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Discovery    string `json:"discovery"`
	Scope        string `json:"scope"`
	Realm        string `json:"realm"`
	UnauthAction string `json:"unauth_action"`

	Timeout   int64           `json:"timeout"`
	SSLVerify bool            `json:"ssl_verify"`
	Proxy     proxySettings   `json:"proxy_opts"`
	Session   sessionSettings `json:"session"`

	RedirectURI           string          `json:"redirect_uri"`
	LogoutPath            string          `json:"logout_path"`
	PostLogoutRedirectURI string          `json:"post_logout_redirect_uri"`
	RevokeOnLogout        bool            `json:"revoke_tokens_on_logout"`
	UsePKCE               bool            `json:"use_pkce"`
	UseNonce              bool            `json:"use_nonce"`
	AuthorizationParams   map[string]any  `json:"authorization_params"`
	ForceReauthorize      bool            `json:"force_reauthorize"`
	RefreshInterval       *int64          `json:"refresh_session_interval"`
	RenewAccessToken      bool            `json:"renew_access_token_on_expiry"`
	AccessTokenExpiresIn  int64           `json:"access_token_expires_in"`
	AccessTokenLeeway     int64           `json:"access_token_expires_leeway"`
	IATSlack              int64           `json:"iat_slack"`
	AcceptNone            bool            `json:"accept_none_alg"`
	ClaimSchema           json.RawMessage `json:"claim_schema"`

	BearerOnly             bool     `json:"bearer_only"`
	PublicKey              string   `json:"public_key"`
	UseJWKS                bool     `json:"use_jwks"`
	ExpectedAlgorithm      string   `json:"token_signing_alg_values_expected"`
	JWKExpiresIn           int64    `json:"jwk_expires_in"`
	IgnoreVerified         bool     `json:"jwt_verification_cache_ignore"`
	IntrospectionEndpoint  string   `json:"introspection_endpoint"`
	IntrospectionAuth      string   `json:"introspection_endpoint_auth_method"`
	IntrospectionInterval  int64    `json:"introspection_interval"`
	IntrospectionExpiry    string   `json:"introspection_expiry_claim"`
	IntrospectionAddFields []string `json:"introspection_addon_headers"`
	RequiredScopes         []string `json:"required_scopes"`
	Claims                 struct {
		Issuer struct {
			Valid []string `json:"valid_issuers"`
		} `json:"issuer"`
		Audience struct {
			Claim         string `json:"claim"`
			Required      bool   `json:"required"`
			MatchClientID bool   `json:"match_with_client_id"`
		} `json:"audience"`
	} `json:"claim_validator"`

	TokenAuth         string       `json:"token_endpoint_auth_method"`
	PrivateKey        string       `json:"client_rsa_private_key"`
	PrivateKeyID      string       `json:"client_rsa_private_key_id"`
	AssertionLifetime int64        `json:"client_jwt_assertion_expires_in"`
	AssertionAlg      string       `json:"client_jwt_assertion_alg"`
	AssertionAudience string       `json:"client_jwt_assertion_audience"`
	PAR               parSettings  `json:"par"`
	DPoP              dpopSettings `json:"dpop"`

	SetAccessToken  bool `json:"set_access_token_header"`
	InAuthorization bool `json:"access_token_in_authorization_header"`
	SetIDToken      bool `json:"set_id_token_header"`
	SetRawIDToken   bool `json:"set_raw_id_token_header"`
	SetUserinfo     bool `json:"set_userinfo_header"`
	SetRefreshToken bool `json:"set_refresh_token_header"`
}

type proxySettings struct {
	HTTP               string `json:"http_proxy"`
	HTTPS              string `json:"https_proxy"`
	HTTPAuthorization  string `json:"http_proxy_authorization"`
	HTTPSAuthorization string `json:"https_proxy_authorization"`
	None               string `json:"no_proxy"`
}

type parSettings struct {
	Enabled  bool   `json:"enabled"`
	Endpoint string `json:"endpoint"`
	Auth     string `json:"endpoint_auth_method"`
}

type dpopSettings struct {
	Enabled    bool            `json:"enabled"`
	Algorithm  string          `json:"signing_alg"`
	PrivateKey string          `json:"private_key"`
	PublicJWK  json.RawMessage `json:"public_jwk"`
}

// takesTokens reports whether access tokens are looked for in requests, apart from sessions.
func (s *settings) takesTokens() bool {
	return s.BearerOnly || s.IntrospectionEndpoint != "" || s.verifiesLocally()
}

// verifiesLocally reports whether access tokens are JWTs that the gateway verifies itself.
func (s *settings) verifiesLocally() bool { return s.PublicKey != "" || s.UseJWKS }

// timeout bounds a call. APISIX once stored milliseconds, and goes on to take whole thousands for such.
func (s *settings) timeout() time.Duration {
	if s.Timeout >= 1000 && s.Timeout%1000 == 0 {
		return time.Duration(s.Timeout) * time.Millisecond
	}
	return time.Duration(s.Timeout) * time.Second
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	rp := &relyingParty{log: env.Log}
	if err := json.Unmarshal(config, &rp.settings); err != nil {
		return nil, fmt.Errorf("openid-connect: %w", err)
	}
	s := &rp.settings
	// cache_segment is a part of it, so segments are apart as well.
	rp.scope = sha256.Sum256(config)
	if s.Claims.Audience.Claim == "" {
		s.Claims.Audience.Claim = "aud"
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	calls, err := newCaller(s)
	if err != nil {
		return nil, err
	}
	rp.provider = providerOf(calls, s.Discovery)
	if rp.client, err = newClient(s, calls); err != nil {
		return nil, err
	}
	if rp.tokens, err = newTokenRules(s); err != nil {
		return nil, err
	}
	if rp.redirectPath, err = pathOf(s.RedirectURI); err != nil {
		return nil, fmt.Errorf("property \"redirect_uri\" validation failed: %w", err)
	}
	if !s.BearerOnly {
		if rp.sessions, err = newSessions(s); err != nil {
			return nil, err
		}
	}
	return rp, nil
}

// check refuses what the schema cannot: see refuse for what comes before it.
func (s *settings) check() error {
	if s.ForceReauthorize {
		return fmt.Errorf(`property "force_reauthorize" validation failed: every request would begin another login, without an end`)
	}
	if strings.ContainsFunc(s.Realm, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return fmt.Errorf(`property "realm" validation failed: %q has to be printable ASCII without quotation marks and backslashes`, s.Realm)
	}
	for name, value := range s.AuthorizationParams {
		if slices.Contains(ownParams, name) {
			return fmt.Errorf(`property "authorization_params" validation failed: %q is chosen by the plugin`, name)
		}
		switch value.(type) {
		case string, float64, bool:
		default:
			return fmt.Errorf(`property "authorization_params" validation failed: %q has to be a string, number or boolean`, name)
		}
	}
	for _, field := range []struct{ name, value string }{{"post_logout_redirect_uri", s.PostLogoutRedirectURI}, {"redirect_uri", s.RedirectURI}} {
		if strings.ContainsFunc(field.value, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf(`property %q validation failed: %q is not a URI`, field.name, field.value)
		}
	}
	return nil
}

// ownParams are what an authorization request must say for its answer to be believed, or to come back at all.
var ownParams = []string{
	"client_id", "response_type", "redirect_uri", "state", "nonce", "code_challenge", "code_challenge_method", "request_uri", "dpop_jkt",
}

// pathOf returns the path of a URI or of a path, as requests for it will have it.
func pathOf(uri string) (string, error) {
	if uri == "" {
		return "", nil
	}
	if !strings.HasPrefix(uri, "/") {
		parsed, err := url.Parse(uri)
		if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" {
			return "", fmt.Errorf("%q is neither a path nor an http or https URL", uri)
		}
		if parsed.Path == "" {
			// No request has it: as in APISIX, such a redirect_uri leads elsewhere.
			return uri, nil
		}
		uri = parsed.EscapedPath()
	}
	path, _, _ := strings.Cut(uri, "?")
	canonical, _, err := gateway.CanonicalPath(path)
	return canonical, err
}

// compileClaims compiles claim_schema; nil is none.
func compileClaims(raw json.RawMessage) (*schema.Schema, error) {
	if raw == nil {
		return nil, nil
	}
	compiled, err := schema.Compile(raw)
	if err != nil {
		return nil, fmt.Errorf("check claim_schema failed: %w", err)
	}
	return compiled, nil
}
