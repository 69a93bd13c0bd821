// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/andogate/ando/modules/plugins/plugintest"
)

// TestRefused: configs that cannot do what they say, in APISIX's words where it has any.
func TestRefused(t *testing.T) {
	p521 := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	jwk := string(must((&jose.JSONWebKey{Key: &ecKey().PublicKey}).MarshalJSON()))
	const session = `,"session":{"secret":"0123456789abcdef"}`
	login := func(more string) string {
		return `{"client_id":"a","client_secret":"b","discovery":"c"` + session + more + `}`
	}
	bearer := func(more string) string {
		return `{"client_id":"a","client_secret":"b","discovery":"c","bearer_only":true` + more + `}`
	}
	key := func(key any) string { return `,"client_rsa_private_key":` + quoted(privatePEM(key)) }
	plugintest.Check(t, name, []plugintest.Config{
		{login(""), ""},
		{bearer(""), ""},
		{`{"client_id":"a","discovery":"c","bearer_only":true,"use_jwks":true}`, ""},
		{bearer(`,"force_reauthorize":true`), `property "force_reauthorize" validation failed: every request would begin another login`},
		{bearer(`,"public_key":"x"`), `property "public_key" is not a valid key: no PEM block`},
		{bearer(`,"public_key":` + quoted(publicPEM(&rsaKey().PublicKey)) + `,"token_signing_alg_values_expected":"HS256"`), `property "token_signing_alg_values_expected" validation failed: "HS256" is not among [RS256`},
		{bearer(`,"public_key":` + quoted(publicPEM(&ecKey().PublicKey)) + `,"token_signing_alg_values_expected":"RS256"`), `property "token_signing_alg_values_expected" validation failed: "RS256" is not among [ES256]`},
		{bearer(`,"use_jwks":true,"token_signing_alg_values_expected":"none"`), `property "token_signing_alg_values_expected" validation failed: "none"`},
		{bearer(`,"claim_schema":{"type":7}`), `check claim_schema failed: `},
		{bearer(`,"introspection_addon_headers":[]`), `property "introspection_addon_headers" validation failed`},
		{bearer(`,"introspection_endpoint_auth_method":"magic"`), `property "introspection_endpoint_auth_method" validation failed: "magic" is not among [client_secret_basic`},
		{bearer(`,"introspection_endpoint_auth_method":"private_key_jwt"`), `property "introspection_endpoint_auth_method" "private_key_jwt" requires "client_rsa_private_key"`},
		{bearer(`,"introspection_endpoint_auth_method":"client_secret_jwt"`), `property "introspection_endpoint_auth_method" "client_secret_jwt" requires a "client_secret" of at least 32 bytes`},
		{bearer(`,"realm":"a\"b"`), `property "realm" validation failed`},
		{login(`,"redirect_uri":"javascript:x"`), `property "redirect_uri" validation failed: "javascript:x" is neither a path nor an http or https URL`},
		{login(`,"redirect_uri":"/a b"`), `property "redirect_uri" validation failed: "/a b" is not a URI`},
		{login(`,"post_logout_redirect_uri":"https://a\r\nX: y"`), `property "post_logout_redirect_uri" validation failed`},
		{login(`,"authorization_params":{"state":"x"}`), `property "authorization_params" validation failed: "state" is chosen by the plugin`},
		{login(`,"authorization_params":{"x":[]}`), `property "authorization_params" validation failed: "x" has to be a string, number or boolean`},
		{login(`,"proxy_opts":{"http_proxy":"proxy:80"}`), `property "proxy_opts.http_proxy" validation failed: want http://host:port`},
		{login(`,"proxy_opts":{"https_proxy":"http://proxy:80","https_proxy_authorization":"Bearer x"}`), `property "proxy_opts.https_proxy_authorization" validation failed: want "Basic "`},
		{strings.Replace(login(""), `abcdef"`, `abcdef","cookie_name":"a b"`, 1), `property "session.cookie_name" validation failed`},
		{strings.Replace(login(""), `abcdef"`, `abcdef","cookie_path":"/;x"`, 1), `property "session.cookie_path" validation failed`},
		{strings.Replace(login(""), `abcdef"`, `abcdef","storage":"redis"`, 1), `property "session" validation failed`},
		{strings.Replace(login(""), `abcdef"`, `abcde"`, 1), `property "session" validation failed: property "secret" validation failed`},

		{login(`,"token_endpoint_auth_method":"private_key_jwt","client_rsa_private_key":"x"`), `property "client_rsa_private_key" is not a valid key: no PEM block`},
		{login(`,"client_rsa_private_key":"not used"`), ""},
		{login(`,"token_endpoint_auth_method":"private_key_jwt","client_jwt_assertion_alg":"HS256"` + key(rsaKey())), `property "client_jwt_assertion_alg" "HS256" is symmetric and cannot be used with the private_key_jwt selected by "token_endpoint_auth_method"`},
		{strings.Replace(login(`,"token_endpoint_auth_method":"client_secret_jwt","client_jwt_assertion_alg":"RS256"`), `"b"`, `"`+webSecret+`"`, 1), `property "client_jwt_assertion_alg" "RS256" is asymmetric and cannot be used with the client_secret_jwt selected by "token_endpoint_auth_method"`},
		{strings.Replace(login(`,"token_endpoint_auth_method":"private_key_jwt","introspection_endpoint":"http://x","introspection_endpoint_auth_method":"client_secret_jwt","client_jwt_assertion_alg":"RS256"`+key(rsaKey())), `"b"`, `"`+webSecret+`"`, 1), `property "client_jwt_assertion_alg" is a single algorithm, but "token_endpoint_auth_method" selects private_key_jwt and "introspection_endpoint_auth_method" selects client_secret_jwt`},
		{login(`,"token_endpoint_auth_method":"private_key_jwt","client_jwt_assertion_alg":"ES256"` + key(rsaKey())), `property "client_jwt_assertion_alg" "ES256" requires an EC "client_rsa_private_key"`},
		{login(`,"token_endpoint_auth_method":"private_key_jwt","client_jwt_assertion_alg":"RS512"` + key(ecKey())), `property "client_jwt_assertion_alg" "RS512" requires an RSA "client_rsa_private_key"`},
		{login(`,"token_endpoint_auth_method":"private_key_jwt","client_jwt_assertion_alg":"ES256"` + key(p521)), `property "client_jwt_assertion_alg" "ES256" requires a "client_rsa_private_key" on curve "P-256", got "P-521"`},
		{login(`,"token_endpoint_auth_method":"private_key_jwt","client_jwt_assertion_alg":"ES512"` + key(p521)), ""},
		{login(`,"par":{"enabled":true,"endpoint_auth_method":"private_key_jwt"}`), `property "par.endpoint_auth_method" "private_key_jwt" requires "client_rsa_private_key" when "par.enabled" is true`},

		{login(`,"dpop":{"enabled":true}`), `property "dpop" validation failed`},
		{login(dpopConfig(ecKey(), jwk)), ""},
		{login(dpopConfig(ecKey(), `{"kty":"OKP"}`)), `property "dpop.public_jwk" validation failed: kty "OKP" is not supported`},
		{login(dpopConfig(ecKey(), `{"kty":"EC","crv":"P-256","x":"a"}`)), `property "dpop.public_jwk" validation failed: kty "EC" requires crv, x, y`},
		{login(dpopConfig(ecKey(), `{"kty":"EC","crv":"P-256","x":"a","y":7}`)), `property "dpop.public_jwk" validation failed: "y" must be a non-empty string`},
		{login(dpopConfig(rsaKey(), jwk)), `property "dpop.signing_alg" "PS256" requires an RSA "dpop.public_jwk"`},
		{login(dpopConfig(ecKey(), `{"kty":"EC","crv":"P-384","x":"a","y":"b"}`)), `property "dpop.signing_alg" "ES256" requires "dpop.public_jwk" crv "P-256", got "P-384"`},
		{login(dpopConfig(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), jwk)), `property "dpop.public_jwk" is not the public key of "dpop.private_key"`},
	})
}

// TestRefusedFirst: what is missing for the way the plugin is used is said before anything else is.
func TestRefusedFirst(t *testing.T) {
	for config, want := range map[string]string{
		`{"client_id":"a","client_secret":"b","discovery":"c"}`: `property "session.secret" is required when "bearer_only" is false`,
		`{"session":{}}`: `property "client_secret" is required`,
		`{"session":{},"introspection_endpoint_auth_method":"private_key_jwt"}`:                                       `property "client_secret" is required`,
		`{"bearer_only":true,"introspection_endpoint":"x","token_endpoint_auth_method":"private_key_jwt"}`:            `property "client_secret" is required`,
		`{"session":{},"token_endpoint_auth_method":"private_key_jwt"}`:                                               ``,
		`{"session":{},"use_pkce":true}`:                                                                              ``,
		`{"bearer_only":true,"public_key":"x"}`:                                                                       ``,
		`{"bearer_only":true,"use_jwks":true}`:                                                                        ``,
		`{"bearer_only":true,"introspection_endpoint_auth_method":"private_key_jwt"}`:                                 ``,
		`{"session":{},"client_secret":"x","use_par":true}`:                                                           `property "use_par" is not allowed, use "par.enabled" instead`,
		`{"session":{},"client_secret":"x","dpop_private_key":"k"}`:                                                   `property "dpop_private_key" is not allowed, use "dpop.private_key" instead`,
		`{"session":{},"client_secret":"x","pushed_authorization_request_endpoint_auth_method":"client_secret_post"}`: `property "pushed_authorization_request_endpoint_auth_method" is not allowed, use "par.endpoint_auth_method" instead`,
		`7`: ``,
	} {
		got := ""
		if err := refuse(json.RawMessage(config)); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", config, got, want)
		}
	}
}
