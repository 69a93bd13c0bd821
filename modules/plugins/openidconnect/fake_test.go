// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// claims are a JSON object.
type claims = map[string]any

// fakeProvider says what a test has it say: what a good provider never would. Its members may be changed between requests.
type fakeProvider struct {
	*httptest.Server

	mu sync.Mutex
	// metadata replaces members of the discovery document; nil removes one.
	metadata claims
	keys     []jose.JSONWebKey
	// idToken is what a code is changed for; nil is a good one.
	idToken func(nonce string) string
	// tokens replaces members of the answer of the token endpoint, tokenStatus and tokenHead its status and head.
	tokens      claims
	tokenStatus int
	tokenHead   func(r *http.Request, h http.Header) int
	user        claims
	introspects claims
	// nonce is that of the last login, asked what came, the last at the end.
	asked map[string][]*http.Request
	down  bool
}

var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	otherRSA = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func newFakeProvider(t testing.TB) *fakeProvider {
	t.Helper()
	p := &fakeProvider{
		asked: make(map[string][]*http.Request), user: claims{"sub": "jack", "name": "Jack"},
		keys: []jose.JSONWebKey{
			{Key: &rsaKey().PublicKey, KeyID: "rsa", Use: "sig", Algorithm: "RS256"},
			{Key: &ecKey().PublicKey, KeyID: "ec", Use: "sig"},
		},
	}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// change changes what the provider says while it may be asked.
func (p *fakeProvider) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// last returns the last request to a path, how many there were, and its form.
func (p *fakeProvider) last(path string) (*http.Request, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.asked[path]
	if len(all) == 0 {
		return &http.Request{Header: http.Header{}, Form: url.Values{}}, 0
	}
	return all[len(all)-1], len(all)
}

// ServeHTTP implements http.Handler.
func (p *fakeProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[r.URL.Path] = append(p.asked[r.URL.Path], r)
	if p.down {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	answer := func(status int, value any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(value)
	}
	switch r.URL.Path {
	case "/discovery":
		document := claims{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"userinfo_endpoint": p.URL + "/userinfo", "introspection_endpoint": p.URL + "/introspect", "revocation_endpoint": p.URL + "/revoke",
			"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "HS256"},
		}
		answer(200, merge(document, p.metadata))
	case "/keys":
		answer(200, jose.JSONWebKeySet{Keys: p.keys})
	case "/token":
		p.token(w, r, answer)
	case "/userinfo":
		answer(200, p.user)
	case "/introspect":
		answer(200, p.introspects)
	case "/revoke":
		w.WriteHeader(200)
	case "/par":
		answer(201, claims{"request_uri": "urn:pushed:1", "expires_in": 60})
	default:
		w.WriteHeader(404)
	}
}

func (p *fakeProvider) token(w http.ResponseWriter, r *http.Request, answer func(int, any)) {
	if p.tokenHead != nil {
		if status := p.tokenHead(r, w.Header()); status != 0 {
			answer(status, claims{"error": "use_dpop_nonce"})
			return
		}
	}
	if p.tokenStatus != 0 {
		answer(p.tokenStatus, claims{"error": "invalid_grant", "error_description": "what about " + r.Form.Encode()})
		return
	}
	// A code is the nonce of its login: a test has no browser that could log in.
	idToken := p.sign(jose.RS256, rsaKey(), "rsa", p.idClaims(r.Form.Get("code")))
	if p.idToken != nil {
		idToken = p.idToken(r.Form.Get("code"))
	}
	answer(200, merge(claims{"access_token": "access-1", "refresh_token": "refresh-1", "id_token": idToken, "token_type": "Bearer", "expires_in": 300}, p.tokens))
}

func merge(to, from claims) claims {
	to = maps.Clone(to)
	for name, value := range from {
		if value == nil {
			delete(to, name)
		} else {
			to[name] = value
		}
	}
	return to
}

// idClaims are those of a good ID token.
func (p *fakeProvider) idClaims(nonce string) claims {
	now := time.Now().Unix()
	return claims{"iss": p.URL, "sub": "jack", "aud": "web", "nonce": nonce, "iat": now, "exp": now + 300}
}

// accessClaims are those of a good access token.
func (p *fakeProvider) accessClaims(more claims) claims {
	return merge(claims{"iss": p.URL, "sub": "jack", "exp": time.Now().Unix() + 300}, more)
}

// sign makes a token.
func (p *fakeProvider) sign(algorithm jose.SignatureAlgorithm, key any, kid string, payload any) string {
	return signHead(algorithm, key, claims{"kid": kid}, payload)
}

func signHead(algorithm jose.SignatureAlgorithm, key any, head claims, payload any) string {
	options := new(jose.SignerOptions).WithType("JWT")
	for name, value := range head {
		if value != "" {
			options.WithHeader(jose.HeaderKey(name), value)
		}
	}
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options))
	text, ok := payload.(string)
	if !ok {
		text = string(must(json.Marshal(payload)))
	}
	return must(must(signer.Sign([]byte(text))).CompactSerialize())
}

// patience is for machines that have more to do than this test.
const patience = `,"timeout":60`

// config returns a config with the members that every one has, and more.
func (p *fakeProvider) config(more string) string {
	if !strings.Contains(more, `"timeout":`) {
		more += patience
	}
	return fmt.Sprintf(`{"openid-connect":{"client_id":%q,"client_secret":%q,"discovery":%q%s}}`, webClient, webSecret, p.URL+"/discovery", more)
}

// bearerConfig is for access tokens alone.
func (p *fakeProvider) bearerConfig(more string) string {
	return p.config(`,"bearer_only":true` + more)
}

// loginConfig is for browsers.
func (p *fakeProvider) loginConfig(more string) string {
	return p.config(fmt.Sprintf(`,"redirect_uri":"/back","use_nonce":true,"session":{"secret":%q}%s`, secret16, more))
}
