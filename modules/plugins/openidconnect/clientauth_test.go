// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func privatePEM(key any) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))}))
}

// verified returns head and claims of a token that a key verifies.
func verified(t *testing.T, text string, key any, algorithms ...jose.SignatureAlgorithm) (jose.Header, claims) {
	t.Helper()
	token, err := jose.ParseSignedCompact(text, algorithms)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	payload, err := token.Verify(key)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return token.Signatures[0].Protected, must(object(payload))
}

// TestClientAuth: how the gateway authenticates at the token endpoint, as the config and the provider will have it.
func TestClientAuth(t *testing.T) {
	p := newFakeProvider(t)
	const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	key := `,"client_rsa_private_key":` + quoted(privatePEM(rsaKey()))
	for _, c := range []struct {
		what, config string
		supported    []string
		want         string
	}{
		{"by default", ``, nil, "basic"},
		{"basic, which is supported", ``, []string{secretPost, secretBasic}, "basic"},
		{"basic, which is not", ``, []string{"tls_client_auth", secretPost}, "post"},
		{"nothing that it can", ``, []string{"tls_client_auth"}, "basic"},
		{"post", `,"token_endpoint_auth_method":"client_secret_post"`, nil, "post"},
		{"unknown", `,"token_endpoint_auth_method":"tls_client_auth"`, []string{secretPost}, "post"},
		{"none", `,"token_endpoint_auth_method":"none"`, nil, "none"},
		{"private_key_jwt", `,"token_endpoint_auth_method":"private_key_jwt","client_rsa_private_key_id":"k1"` + key, nil, "RS256"},
		{"private_key_jwt without a key", `,"token_endpoint_auth_method":"private_key_jwt"`, nil, "basic"},
		{"client_secret_jwt", `,"token_endpoint_auth_method":"client_secret_jwt","client_jwt_assertion_expires_in":10,"client_jwt_assertion_audience":"aud"`, nil, "HS256"},
	} {
		p.change(func() { p.metadata = claims{"token_endpoint_auth_methods_supported": c.supported} })
		v := newVisitor(t, strings.Replace(p.loginConfig(c.config), "/discovery", "/discovery?"+random(), 1))
		v.logIn()
		r, _ := p.last("/token")
		_, _, basic := r.BasicAuth()
		form := r.Form
		got := "none"
		switch {
		case basic:
			got = "basic"
		case form.Get("client_secret") == webSecret:
			got = "post"
		case form.Get("client_assertion_type") == assertionType:
			var head jose.Header
			var said claims
			wantKey, audience, life := any([]byte(webSecret)), "aud", 10.0
			if c.want == "RS256" {
				wantKey, audience, life = &rsaKey().PublicKey, p.URL+"/token", 60.0
			}
			head, said = verified(t, form.Get("client_assertion"), wantKey, jose.RS256, jose.HS256)
			got = head.Algorithm
			if said["iss"] != "web" || said["sub"] != "web" || said["aud"] != audience || said["jti"] == "" || said["exp"].(float64)-said["iat"].(float64) != life {
				t.Errorf("%s: assertion %v", c.what, said)
			}
			if (head.KeyID == "k1") != (c.want == "RS256") || head.ExtraHeaders["typ"] != "JWT" {
				t.Errorf("%s: head %v", c.what, head)
			}
		}
		if got != c.want || got != "basic" && form.Get("client_id") != "web" {
			t.Errorf("%s: got %s, want %s: %v %v", c.what, got, c.want, r.Header, form)
		}
	}
}

// TestPushedRequest: with PAR the browser carries no more than a name for the request.
func TestPushedRequest(t *testing.T) {
	p := newFakeProvider(t)
	v := newVisitor(t, p.loginConfig(`,"par":{"enabled":true,"endpoint":"`+p.URL+`/par","endpoint_auth_method":"client_secret_post"}`))
	q := v.login("/page")
	if len(q) != 2 || q.Get("request_uri") != "urn:pushed:1" || q.Get("client_id") != "web" {
		t.Errorf("got %v", q)
	}
	r, _ := p.last("/par")
	if r.Form.Get("client_secret") != webSecret || r.Form.Get("redirect_uri") != "http://shop.test:8080/back" || r.Form.Get("response_type") != "code" {
		t.Errorf("got %v", r.Form)
	}
	if a := v.back(r.Form); a.location.String() != "/page" {
		t.Errorf("came back to %v: %s", a.location, v.reasons())
	}
	v = newVisitor(t, p.loginConfig(`,"par":{"enabled":true}`))
	if a := v.get("/page"); a.status != 500 || !strings.Contains(v.reasons(), "no such endpoint") {
		t.Errorf("no endpoint: got %d: %s", a.status, v.reasons())
	}
}

func dpopConfig(key any, jwk string) string {
	algorithm := "ES256"
	if _, ok := key.(*ecdsa.PrivateKey); !ok {
		algorithm = "PS256"
	}
	return fmt.Sprintf(`,"dpop":{"enabled":true,"signing_alg":%q,"private_key":%s,"public_jwk":%s}`, algorithm, quoted(privatePEM(key)), jwk)
}

// TestDPoP: proofs go with the calls, with the nonce that the provider wants, and say what they are for.
func TestDPoP(t *testing.T) {
	p := newFakeProvider(t)
	p.tokens = claims{"token_type": "DPoP"}
	p.tokenHead = func(r *http.Request, h http.Header) int {
		h.Set("DPoP-Nonce", "n1")
		_, said := verified(t, r.Header.Get("DPoP"), &ecKey().PublicKey, jose.ES256)
		if said["nonce"] != "n1" {
			return 400
		}
		return 0
	}
	jwk := must((&jose.JSONWebKey{Key: &ecKey().PublicKey}).MarshalJSON())
	v := newVisitor(t, p.loginConfig(dpopConfig(ecKey(), string(jwk))))
	start := time.Now()
	v.now = start
	q := v.login("/page")
	thumbprint := must((&jose.JSONWebKey{Key: &ecKey().PublicKey}).Thumbprint(5)) // SHA-256
	if q.Get("dpop_jkt") != base64.RawURLEncoding.EncodeToString(thumbprint) {
		t.Errorf("got %v", q)
	}
	if a := v.back(q); a.status != 302 {
		t.Fatalf("got %d: %s", a.status, v.reasons())
	}
	r, n := p.last("/token")
	head, said := verified(t, r.Header.Get("DPoP"), &ecKey().PublicKey, jose.ES256)
	if n != 2 || said["htm"] != "POST" || said["htu"] != p.URL+"/token" || head.ExtraHeaders["typ"] != "dpop+jwt" || head.JSONWebKey == nil || !head.JSONWebKey.IsPublic() {
		t.Errorf("%d: %v %v", n, head, said)
	}
	r, _ = p.last("/userinfo")
	_, said = verified(t, r.Header.Get("DPoP"), &ecKey().PublicKey, jose.ES256)
	sum := sha256.Sum256([]byte("access-1"))
	if r.Header.Get("Authorization") != "DPoP access-1" || said["htm"] != "GET" || said["ath"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("%v %v", r.Header, said)
	}
	// The session knows the nonce: a refresh needs one call.
	v.now = start.Add(400 * time.Second)
	if a := v.get("/page"); a.status != 0 {
		t.Errorf("refresh: got %d: %s", a.status, v.reasons())
	}
	if _, n := p.last("/token"); n != 3 {
		t.Errorf("%d calls, want 3", n)
	}
	p.change(func() { p.tokens = nil })
	v = newVisitor(t, p.loginConfig(dpopConfig(ecKey(), string(jwk))))
	if a := v.back(v.login("/page")); a.status != 500 || !strings.Contains(v.reasons(), "without token_type DPoP") {
		t.Errorf("bearer token: got %d: %s", a.status, v.reasons())
	}
}

// TestProxies: calls go through the proxy for their scheme, with its credentials, unless the host has none.
func TestProxies(t *testing.T) {
	p := newFakeProvider(t)
	var asked, credentials string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, credentials = r.URL.String(), r.Header.Get("Proxy-Authorization")
		p.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	secret := "Basic " + base64.StdEncoding.EncodeToString([]byte("user:pass:word"))
	options := `,"proxy_opts":{"http_proxy":"` + proxy.URL + `","http_proxy_authorization":"` + secret + `","https_proxy":"http://127.0.0.1:1"%s}`
	v := newVisitor(t, p.loginConfig(fmt.Sprintf(options, "")))
	if v.logIn(); asked != p.URL+"/userinfo" || credentials != secret {
		t.Errorf("proxy: asked %q with %q", asked, credentials)
	}
	asked = ""
	v = newVisitor(t, p.loginConfig(fmt.Sprintf(options, `,"no_proxy":"other.test, 127.0.0.1"`)))
	if v.logIn(); asked != "" {
		t.Errorf("no proxy: asked %q", asked)
	}
	for _, c := range []struct {
		list, host string
		want       bool
	}{
		{"", "a.test", false},
		{"*", "a.test", true},
		{"a.test", "a.test", true},
		{"a.test", "b.a.test", true},
		{".a.test", "a.test", true},
		{"a.test", "ba.test", false},
		{"x, A.Test ,y", "a.TEST", true},
		{",", "a.test", false},
	} {
		calls := caller{direct: c.list}
		if got := calls.isDirect(c.host); got != c.want {
			t.Errorf("no_proxy %q, host %q: got %v", c.list, c.host, got)
		}
	}
}

// TestTLS: a provider's certificate is checked unless the config says otherwise; a slow provider is waited for as long as
// the config says.
func TestTLS(t *testing.T) {
	p := newFakeProvider(t)
	secure := httptest.NewTLSServer(p)
	t.Cleanup(secure.Close)
	config := func(more string) string {
		return strings.Replace(p.loginConfig(more), p.URL+"/discovery", secure.URL+"/discovery", 1)
	}
	if a := newVisitor(t, config("")).get("/"); a.status != 500 {
		t.Errorf("unknown certificate: got %d", a.status)
	}
	if a := newVisitor(t, config(`,"ssl_verify":false`)).get("/"); a.status != 302 {
		t.Errorf("ssl_verify false: got %d", a.status)
	}
	release := make(chan bool)
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(release) })
	v := newVisitor(t, strings.Replace(p.loginConfig(`,"timeout":1`), p.URL, slow.URL, 1))
	if a := v.get("/"); a.status != 500 || !strings.Contains(v.reasons(), "Client.Timeout") {
		t.Errorf("slow: got %d: %s", a.status, v.reasons())
	}
	for given, want := range map[int64]time.Duration{1: time.Second, 1500: 1500 * time.Second, 2000: 2 * time.Second} {
		if got := (&settings{Timeout: given}).timeout(); got != want {
			t.Errorf("timeout %d: got %v, want %v", given, got, want)
		}
	}
}

// TestSignedUserinfo: userinfo may be a token, which is verified as one.
func TestSignedUserinfo(t *testing.T) {
	p := newFakeProvider(t)
	signed := p.sign(jose.RS256, rsaKey(), "rsa", claims{"sub": "jack", "role": "captain"})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwt; charset=utf-8")
		_, _ = w.Write([]byte(signed))
	}))
	t.Cleanup(server.Close)
	p.metadata = claims{"userinfo_endpoint": server.URL}
	v := newVisitor(t, p.loginConfig(""))
	v.logIn()
	if a := v.get("/page"); a.decoded("X-Userinfo") != `{"role":"captain","sub":"jack"}` {
		t.Errorf("got %s: %s", a.decoded("X-Userinfo"), v.reasons())
	}
	signed = p.sign(jose.RS256, otherRSA(), "rsa", claims{"sub": "jack", "role": "captain"})
	v = newVisitor(t, p.loginConfig(""))
	v.logIn()
	if a := v.get("/page"); a.status != 0 || a.node.Get("X-Userinfo") != "" {
		t.Errorf("forged: got %s", a.decoded("X-Userinfo"))
	}
}

// TestClaimSchema: what is known of somebody is held to a schema, in either flow.
func TestClaimSchema(t *testing.T) {
	p := newFakeProvider(t)
	session := `,"claim_schema":{"type":"object","properties":{"user":{"type":"object","properties":{"name":{"const":"Jack"}},"required":["name"]}},"required":["user","access_token","id_token"]}`
	v := newVisitor(t, p.loginConfig(session))
	v.logIn()
	if a := v.get("/page"); a.status != 0 {
		t.Errorf("got %d %v", a.status, a.header)
	}
	p.change(func() { p.user = claims{"sub": "jack", "name": "Rose"} })
	v = newVisitor(t, p.loginConfig(session))
	v.logIn()
	a := v.get("/page")
	if challenge := a.header.Get("WWW-Authenticate"); a.status != 401 || !strings.HasPrefix(challenge, `Bearer realm="apisix", error="invalid_token", error_description="property 'user' `) || strings.Count(challenge, `"`) != 6 {
		t.Errorf("got %d %v", a.status, challenge)
	}
	bearer := newVisitor(t, p.bearerConfig(`,"use_jwks":true,"realm":"shop","claim_schema":{"required":["role"]}`))
	if a := bearer.bearer(p.sign(jose.RS256, rsaKey(), "rsa", p.accessClaims(claims{"role": 1}))); a.status != 0 {
		t.Errorf("got %d %v", a.status, a.header)
	}
	a = bearer.bearer(p.sign(jose.RS256, rsaKey(), "rsa", p.accessClaims(nil)))
	if a.status != 401 || a.header.Get("WWW-Authenticate") != `Bearer realm="shop", error="invalid_token", error_description="property 'role' is required"` {
		t.Errorf("got %d %v", a.status, a.header)
	}
}
