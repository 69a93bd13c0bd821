// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// forge signs any header and any payload with HMAC-SHA256, with keys that a library would refuse.
func forge(key, header, payload string) string {
	signed := encode(header) + "." + encode(payload)
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func publicPEM(key any) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key))}))
}

func quoted(text string) string { return `"` + strings.ReplaceAll(text, "\n", `\n`) + `"` }

// TestAccessTokens: what verifies, by the provider's keys and by one in the config, and what does not. The second column is
// the error_description; empty lets the token in.
func TestAccessTokens(t *testing.T) {
	p := newFakeProvider(t)
	now := time.Now().Unix()
	good := p.sign(jose.RS256, rsaKey(), "rsa", p.accessClaims(nil))
	signed, signature := good[:strings.LastIndexByte(good, '.')], good[strings.LastIndexByte(good, '.')+1:]
	public := publicPEM(&rsaKey().PublicKey)
	body := string(must(base64.RawURLEncoding.DecodeString(strings.Split(good, ".")[1])))
	own := jose.JSONWebKey{Key: &otherRSA().PublicKey, KeyID: "rsa"}
	rs := func(more claims) string { return p.sign(jose.RS256, rsaKey(), "rsa", p.accessClaims(more)) }
	const (
		algorithm = "token is signed by unexpected algorithm"
		invalid   = "invalid jwt"
		failed    = "jwt signature verification failed"
		noKey     = "the provider has no such key for the token"
		expired   = "JWT expired"
		early     = "JWT is not valid yet"
		issuer    = "the token comes from another issuer"
		times     = "the times in the token are not numbers"
	)
	for _, c := range []struct {
		what, token, jwks string
		// public is what becomes of it with public_key; "=" is the same.
		public string
	}{
		{"as it should be", good, "", ""},
		{"no name of a key, one that fits", p.sign(jose.RS256, rsaKey(), "", p.accessClaims(nil)), "", ""},
		{"another kind of key", p.sign(jose.ES256, ecKey(), "ec", p.accessClaims(nil)), "", algorithm},
		{"no expiry", rs(claims{"exp": nil}), "", ""},

		{"somebody else's key", p.sign(jose.RS256, otherRSA(), "rsa", p.accessClaims(nil)), failed, failed},
		{"key by another name", p.sign(jose.RS256, rsaKey(), "other", p.accessClaims(nil)), noKey, ""},
		{"name of a key of another kind", p.sign(jose.RS256, rsaKey(), "ec", p.accessClaims(nil)), noKey, ""},
		{"algorithm that the key is not for", p.sign(jose.PS256, rsaKey(), "rsa", p.accessClaims(nil)), noKey, ""},
		{"name of a key is a file", p.sign(jose.RS256, rsaKey(), "../../dev/null", p.accessClaims(nil)), noKey, ""},
		{"name of a key is an injection", p.sign(jose.RS256, rsaKey(), "' UNION SELECT 'x", p.accessClaims(nil)), noKey, ""},
		{"name of a key is a number", signHead(jose.RS256, rsaKey(), claims{"kid": 7}, p.accessClaims(nil)), invalid, invalid},
		{"key in the token", signHead(jose.RS256, otherRSA(), claims{"jwk": own}, p.accessClaims(nil)), failed, failed},
		{"address of a key", signHead(jose.RS256, otherRSA(), claims{"jku": "https://evil.test/k", "x5u": "https://evil.test/c"}, p.accessClaims(nil)), failed, failed},
		{"public key as HMAC key", forge(public, `{"alg":"HS256","kid":"rsa"}`, body), algorithm, algorithm},
		{"public key as HMAC key, without its last line break", forge(strings.TrimSpace(public), `{"alg":"HS256"}`, body), algorithm, algorithm},
		{"client secret as HMAC key", forge(webSecret, `{"alg":"HS256"}`, body), algorithm, algorithm},
		{"empty HMAC key", forge("", `{"alg":"HS256"}`, body), algorithm, algorithm},

		{"none", encode(`{"alg":"none"}`) + "." + encode(body) + ".", algorithm, algorithm},
		{"None", encode(`{"alg":"None"}`) + "." + encode(body) + "." + signature, algorithm, algorithm},
		{"no algorithm", encode(`{"typ":"JWT"}`) + "." + encode(body) + "." + signature, algorithm, algorithm},
		{"two algorithms", encode(`{"alg":"none","alg":"RS256"}`) + "." + encode(body) + "." + signature, invalid, invalid},
		{"algorithm in lower case", encode(`{"alg":"rs256"}`) + "." + encode(body) + "." + signature, algorithm, algorithm},
		{"critical header", signHead(jose.RS256, rsaKey(), claims{"crit": []string{"exp"}, "exp": 1}, p.accessClaims(nil)), failed, failed},
		{"signature stripped", signed + ".", failed, failed},
		{"signature and dot stripped", signed, invalid, invalid},
		{"signature cut", good[:len(good)-4], failed, failed},
		{"other payload", strings.Split(good, ".")[0] + "." + encode(strings.Replace(body, "jack", "root", 1)) + "." + signature, failed, failed},
		{"four parts", good + ".x", invalid, invalid},
		{"dots", "..", algorithm, algorithm},
		{"JSON serialization", `{"payload":"` + encode(body) + `","protected":"` + strings.Split(good, ".")[0] + `","signature":"` + signature + `"}`, invalid, invalid},
		{"huge", rs(claims{"a": strings.Repeat("x", maxToken)}), invalid, invalid},
		{"payload is a list", p.sign(jose.RS256, rsaKey(), "rsa", `["iss"]`), invalid, invalid},
		{"payload is null", p.sign(jose.RS256, rsaKey(), "rsa", `null`), invalid, invalid},
		{"text", "opaque", invalid, invalid},

		{"expired", rs(claims{"exp": now - 1}), expired, expired},
		{"expired long ago", rs(claims{"exp": 0}), expired, expired},
		{"not yet valid", rs(claims{"nbf": now + 100}), early, early},
		{"expiry is text", rs(claims{"exp": "9999999999"}), times, times},
		{"expiry is null", p.sign(jose.RS256, rsaKey(), "rsa", strings.Replace(body, `"exp":`, `"exp":null,"x":`, 1)), times, times},
		{"begin is a list", rs(claims{"nbf": []int{1}}), times, times},
		{"other issuer", rs(claims{"iss": "https://evil.test"}), issuer, issuer},
		{"issuer in other letters", rs(claims{"iss": strings.ToUpper(p.URL)}), issuer, issuer},
		{"no issuer", rs(claims{"iss": nil}), issuer, issuer},
		{"issuers", rs(claims{"iss": []string{p.URL}}), issuer, issuer},
	} {
		for mode, want := range map[string]string{`,"use_jwks":true`: c.jwks, `,"public_key":` + quoted(public): c.public} {
			v := newVisitor(t, p.bearerConfig(mode))
			for range 2 {
				a := v.bearer(c.token)
				challenge := ""
				if want != "" {
					challenge = `Bearer realm="apisix", error="invalid_token", error_description="` + want + `"`
				}
				if got := a.header.Get("WWW-Authenticate"); got != challenge || (a.status == 0) != (want == "") {
					t.Errorf("%s, %s: got %d %q, want %q", c.what, mode[2:8], a.status, got, want)
				}
				if a.status == 0 && (!strings.Contains(a.decoded("X-Userinfo"), `"sub":"jack"`) || a.node.Get("X-Access-Token") != c.token || a.user != a.decoded("X-Userinfo")) {
					t.Errorf("%s: the node saw %v, external user %s", c.what, a.node, a.user)
				}
			}
		}
	}
}

// TestExpectedAlgorithm: the config's algorithm is the only one.
func TestExpectedAlgorithm(t *testing.T) {
	p := newFakeProvider(t)
	v := newVisitor(t, p.bearerConfig(`,"use_jwks":true,"token_signing_alg_values_expected":"ES256"`))
	if a := v.bearer(p.sign(jose.ES256, ecKey(), "ec", p.accessClaims(nil))); a.status != 0 {
		t.Errorf("got %d %v", a.status, a.header)
	}
	if a := v.bearer(p.sign(jose.RS256, rsaKey(), "rsa", p.accessClaims(nil))); a.status != 401 {
		t.Errorf("another algorithm: got %d", a.status)
	}
}

// TestTokensRunOut: a token that was let in counts no longer than it says, nor than the key that verified it.
func TestTokensRunOut(t *testing.T) {
	p := newFakeProvider(t)
	v := newVisitor(t, p.bearerConfig(`,"use_jwks":true,"jwk_expires_in":100`))
	start := time.Now()
	token := p.sign(jose.RS256, rsaKey(), "rsa", p.accessClaims(claims{"nbf": start.Unix(), "exp": start.Unix() + 1000}))
	at := func(after time.Duration, want int) {
		t.Helper()
		v.now = start.Add(after)
		if a := v.bearer(token); a.status != want {
			t.Errorf("after %v: got %d, want %d: %v", after, a.status, want, a.header)
		}
	}
	at(time.Second, 0)
	at(-2*time.Second, 401)
	at(999*time.Second, 0)
	at(1001*time.Second, 401)
	at(time.Second, 0)
	if _, n := p.last("/keys"); n != 2 {
		t.Errorf("keys were fetched %d times, want 2: once, and when they were too old", n)
	}
	p.change(func() { p.keys = []jose.JSONWebKey{{Key: &otherRSA().PublicKey, KeyID: "new"}} })
	at(2*time.Second, 0) // known, and nobody has asked for keys
	v.now = start.Add(3 * time.Second)
	if a := v.bearer(p.sign(jose.RS256, otherRSA(), "new", p.accessClaims(nil))); a.status != 0 {
		t.Errorf("a new key: got %d %v", a.status, a.header)
	}
	at(4*time.Second, 401)
}

// TestUnknownKeys: tokens that name keys which do not exist make the gateway ask only so often.
func TestUnknownKeys(t *testing.T) {
	p := newFakeProvider(t)
	v := newVisitor(t, p.bearerConfig(`,"use_jwks":true`))
	v.now = time.Now()
	for range 30 {
		if a := v.bearer(p.sign(jose.RS256, rsaKey(), random(), p.accessClaims(nil))); a.status != 401 {
			t.Fatalf("got %d", a.status)
		}
	}
	if _, n := p.last("/keys"); n != 1+maxSpare {
		t.Errorf("keys were fetched %d times, want %d", n, 1+maxSpare)
	}
	v.now = v.now.Add(spareEvery)
	for range 3 {
		v.bearer(p.sign(jose.RS256, rsaKey(), random(), p.accessClaims(nil)))
	}
	if _, n := p.last("/keys"); n != 2+maxSpare {
		t.Errorf("keys were fetched %d times, want %d", n, 2+maxSpare)
	}
}

// TestKeysThatAreNone: what is in a set of keys and verifies nothing.
func TestKeysThatAreNone(t *testing.T) {
	secret := []byte(strings.Repeat("k", 32))
	private := jose.JSONWebKey{Key: otherRSA(), KeyID: "private"}
	set := must(parseKeys([]byte(`{"keys":[
		{"kty":"oct","kid":"oct","k":"` + base64.RawURLEncoding.EncodeToString(secret) + `","alg":"HS256"},
		{"kty":"new","kid":"new"},{"kty":"RSA","kid":"empty"},7,
		` + string(must(private.MarshalJSON())) + `,
		` + string(bytes.Replace(must((&jose.JSONWebKey{Key: &rsaKey().PublicKey, KeyID: "enc", Use: "enc"}).MarshalJSON()), []byte("\n"), nil, -1)) + `,
		` + string(must((&jose.JSONWebKey{Key: &ecKey().PublicKey, KeyID: "good"}).MarshalJSON())) + `]}`)))
	if len(set.keys) != 1 || set.keys[0].KeyID != "good" {
		t.Errorf("got %d keys: %v", len(set.keys), set.keys)
	}
	if _, err := parseKeys([]byte(`[]`)); err == nil {
		t.Error("a list is no set of keys")
	}
}
