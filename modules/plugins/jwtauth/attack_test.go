// SPDX-License-Identifier: Apache-2.0

package jwtauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
)

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// forge signs any header and any payload with HMAC-SHA256.
func forge(key, header, payload string) string {
	signed := encode(header) + "." + encode(payload)
	return signed + "." + mac(key, signed)
}

func mac(key, signed string) string {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(signed))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

const (
	hs256   = `{"alg":"HS256","typ":"JWT"}`
	jack    = `{"key":"jack"}`
	invalid = "JWT token invalid"
	failed  = "failed to verify jwt"
)

// TestAttacks: jack's key is "one". Everything here that lets somebody in says so.
func TestAttacks(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	g := gatewaytest.Open(t, route("a", fields{}),
		consumer("jack", fields{"key": "jack", "secret": "one"}),
		consumer("rose", fields{"key": "rose", "secret": "two"}),
		consumer("anna", fields{"key": "anna", "algorithm": "RS256", "public_key": public}),
		consumer("late", fields{"key": "late", "secret": "one", "lifetime_grace_period": 60}),
	)
	now := time.Unix(2_000_000_000, 0)
	good := forge("one", hs256, jack)
	signed, signature := good[:strings.LastIndexByte(good, '.')], good[strings.LastIndexByte(good, '.')+1:]
	anna := sign(t, jwt.SigningMethodRS256, private, jwt.MapClaims{"key": "anna"})
	for _, c := range []struct{ what, token, want string }{
		{"as it should be", good, "jack"},
		{"RS256", anna, "anna"},

		{"public key as HMAC key", forge(public, hs256, `{"key":"anna"}`), failed},
		{"public key as HMAC key, without its last line break", forge(strings.TrimSpace(public), hs256, `{"key":"anna"}`), failed},
		{"DER as HMAC key", forge(string(der), hs256, `{"key":"anna"}`), failed},
		{"RS256 for a key of HS256", sign(t, jwt.SigningMethodRS256, private, jwt.MapClaims{"key": "jack"}), failed},
		{"PS256 for a key of RS256", sign(t, jwt.SigningMethodPS256, private, jwt.MapClaims{"key": "anna"}), failed},
		{"HS384 for a key of HS256", sign(t, jwt.SigningMethodHS384, []byte("one"), jwt.MapClaims{"key": "jack"}), failed},
		{"somebody else's key", forge("two", hs256, jack), failed},
		{"empty key", forge("", hs256, jack), failed},

		{"none", encode(`{"alg":"none"}`) + "." + encode(jack) + ".", failed},
		{"None", encode(`{"alg":"None"}`) + "." + encode(jack) + "." + signature, failed},
		{"empty algorithm", forge("one", `{"alg":""}`, jack), failed},
		{"no algorithm", forge("one", `{"typ":"JWT"}`, jack), invalid},
		{"algorithm is null", forge("one", `{"alg":null}`, jack), invalid},
		{"algorithm is a list", forge("one", `{"alg":["HS256"]}`, jack), invalid},
		{"algorithm in lower case", forge("one", `{"alg":"hs256"}`, jack), failed},
		{"two algorithms", forge("one", `{"alg":"none","alg":"HS256"}`, jack), invalid},
		{"two algorithms, one of them escaped", forge("one", `{"alg":"HS256","\u0061lg":"none"}`, jack), invalid},
		{"escaped algorithm", forge("one", `{"alg":"HS\u0032\u00356"}`, jack), "jack"},
		{"critical header", forge("one", `{"alg":"HS256","crit":["exp"],"exp":1}`, jack), invalid},
		{"payload not encoded", forge("one", `{"alg":"HS256","b64":false,"crit":["b64"]}`, jack), invalid},

		{"kid", forge("one", `{"alg":"HS256","kid":"rose"}`, jack), "jack"},
		{"kid of another, with the other's key", forge("two", `{"alg":"HS256","kid":"rose"}`, jack), failed},
		{"kid is a file", forge("", `{"alg":"HS256","kid":"../../../../dev/null"}`, jack), failed},
		{"kid is an injection", forge("x", `{"alg":"HS256","kid":"' UNION SELECT 'x"}`, jack), failed},
		{"key in the token", forge("x", `{"alg":"HS256","jwk":{"kty":"oct","k":"eA"}}`, jack), failed},
		{"address of a key", forge("x", `{"alg":"HS256","jku":"https://evil.example/k","x5u":"https://evil.example/c"}`, jack), failed},

		{"no signature", signed + ".", failed},
		{"no signature, no dot", signed, invalid},
		{"only a payload", "." + encode(jack) + ".", invalid},
		{"dots", "..", invalid},
		{"five parts", good + ".a.b", invalid},
		{"four parts", good + ".", invalid},
		{"signature cut", good[:len(good)-4], failed},
		{"signature padded", good + "=", invalid},
		{"signature with bits to spare", good[:len(good)-1] + string(good[len(good)-1]+1), invalid},
		{"white space in it", strings.Replace(good, ".", "\t.", 1), invalid},
		{"not base64url", "!!." + encode(jack) + "." + signature, invalid},
		{"other payload", encode(hs256) + "." + encode(`{"key":"rose"}`) + "." + signature, failed},

		{"no key", forge("one", hs256, `{"sub":"jack"}`), "missing user key in JWT token"},
		{"key is null", forge("one", hs256, `{"key":null}`), "missing user key in JWT token"},
		{"key is empty", forge("one", hs256, `{"key":""}`), "Invalid user key in JWT token"},
		{"key is a number", forge("one", hs256, `{"key":1}`), "Invalid user key in JWT token"},
		{"key is a list", forge("one", hs256, `{"key":["jack"]}`), "Invalid user key in JWT token"},
		{"key is unknown", forge("one", hs256, `{"key":"nobody"}`), "Invalid user key in JWT token"},
		{"two keys", forge("one", hs256, `{"key":"rose","key":"jack"}`), invalid},
		{"two keys, one of them escaped", forge("one", hs256, `{"key":"jack","ke\u0079":"rose"}`), invalid},
		{"key further down", forge("one", hs256, `{"a":{"key":"jack"}}`), "missing user key in JWT token"},
		{"a key of the same name further down", forge("one", hs256, `{"a":[{"key":"rose"}],"key":"jack"}`), "jack"},
		{"payload is a list", forge("one", hs256, `["key","jack"]`), invalid},
		{"payload is empty", forge("one", hs256, ``), invalid},
		{"payload is two", forge("one", hs256, `{"key":"jack"}{}`), invalid},
		{"payload is no JSON", forge("one", hs256, `{key:"jack"}`), invalid},

		{"expired", forge("one", hs256, `{"key":"jack","exp":2000000000}`), failed},
		{"about to expire", forge("one", hs256, `{"key":"jack","exp":2000000001}`), "jack"},
		{"expired with a fraction", forge("one", hs256, `{"key":"jack","exp":1999999999.9}`), failed},
		{"not yet valid", forge("one", hs256, `{"key":"jack","nbf":2000000001}`), failed},
		{"just valid", forge("one", hs256, `{"key":"jack","nbf":2000000000}`), "jack"},
		{"expired within the leeway", forge("one", hs256, `{"key":"late","exp":1999999941}`), "late"},
		{"expired beyond the leeway", forge("one", hs256, `{"key":"late","exp":1999999940}`), failed},
		{"early within the leeway", forge("one", hs256, `{"key":"late","nbf":2000000060}`), "late"},
		{"early beyond the leeway", forge("one", hs256, `{"key":"late","nbf":2000000061}`), failed},
		{"expiry is text", forge("one", hs256, `{"key":"jack","exp":"2000000001"}`), failed},
		{"expiry is null", forge("one", hs256, `{"key":"jack","exp":null}`), failed},
		{"expiry is beyond numbers", forge("one", hs256, `{"key":"jack","exp":1e999}`), failed},
		{"expiry in scientific notation", forge("one", hs256, `{"key":"jack","exp":2.1e9}`), "jack"},
		{"begin is an object", forge("one", hs256, `{"key":"jack","nbf":{}}`), failed},
		{"two expiries", forge("one", hs256, `{"key":"jack","exp":1,"exp":3000000000}`), invalid},

		{"as long as can be", forge("one", hs256, `{"key":"jack","a":"`+strings.Repeat("x", 12000)+`"}`), "jack"},
		{"huge", forge("one", hs256, `{"key":"jack","a":"`+strings.Repeat("x", 1<<20)+`"}`), invalid},
		{"deep", forge("one", hs256, `{"key":"jack","a":`+strings.Repeat("[", 6000)+strings.Repeat("]", 6000)+`}`), "jack"},
		{"empty", "", invalid},
		{"Bearer", "Bearer ", invalid},
		{"twice Bearer", "Bearer Bearer " + good, invalid},
	} {
		x := new(gateway.Exchange)
		for range 2 {
			user, refusal := authenticate(g, x, request{token: c.token, at: now})
			switch c.want {
			case "jack", "anna", "late":
				if user != c.want {
					t.Errorf("%s: got %q, want %q: %s", c.what, user, c.want, refusal)
				}
			default:
				if user != "" || refusal != `{"message":"`+c.want+`"}`+"\n" {
					t.Errorf("%s: got %q and %q, want a refusal: %s", c.what, user, refusal, c.want)
				}
			}
		}
	}
}

// TestBadCredentials: a key that could not verify anything is refused when it is written.
func TestBadCredentials(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{`{"key":"k","algorithm":"HS256"}`, `property "secret" is required when using HS based algorithms`},
		{`{"key":"k","algorithm":"HS256","secret":"###","base64_secret":true}`, `base64_secret required but the secret is not in base64 format`},
		{`{"key":"k","algorithm":"HS256","secret":"=","base64_secret":true}`, `base64_secret required but the secret is not in base64 format`},
		{`{"key":"k","algorithm":"RS256","public_key":" "}`, `missing valid public key`},
		{`{"key":"k","algorithm":"RS256","public_key":"x"}`, `missing valid public key: RS256: `},
		{`{"key":"k","algorithm":"ES256","public_key":"x"}`, `missing valid public key: ES256: `},
		{`{"key":"k","algorithm":"EdDSA","public_key":"x"}`, `missing valid public key: EdDSA: `},
	} {
		_, _, err := compileCredential(gateway.Env{}, json.RawMessage(c.config))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.config, err, c.want)
		}
	}
	// A secret kept elsewhere that could not be had is nobody's key, least of all its own name.
	g := gatewaytest.Open(t, route("a", fields{}), consumer("jack", fields{"key": "jack", "secret": "$env://NOT_THERE"}))
	if user, _ := authenticate(g, new(gateway.Exchange), request{token: forge("$env://NOT_THERE", hs256, jack)}); user != "" {
		t.Errorf("got %q with the name of a secret as key", user)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(forge("one", hs256, jack), "key")
	f.Add(forge("one", `{"\u0061lg":"HS256"}`, `{"a":[{"b":"\"}"}],"key" : "jack" , "exp":1.5e3}`), "exp")
	f.Add("..", "")
	f.Fuzz(func(t *testing.T, text, keyClaim string) {
		parsed, err := parse(text)
		if err != nil {
			return
		}
		if !strings.HasPrefix(text, parsed.signed+".") {
			t.Errorf("%q was signed, not %q", parsed.signed, text)
		}
		got, err := parsed.claims(keyClaim)
		var want map[string]any
		decoder := json.NewDecoder(strings.NewReader(string(parsed.payload)))
		decoder.UseNumber()
		if decoder.Decode(&want) != nil {
			if err == nil {
				t.Errorf("%q: no JSON object has claims %+v", parsed.payload, got)
			}
			return
		}
		if err != nil {
			return
		}
		if key, ok := want[keyClaim].(string); ok && strings.ToValidUTF8(got.key, "\ufffd") != strings.ToValidUTF8(key, "\ufffd") && !strings.Contains(key, "\ufffd") {
			t.Errorf("%q: got key %q, want %q", parsed.payload, got.key, key)
		}
		if _, ok := want["exp"]; ok != (got.set&hasExp != 0) {
			t.Errorf("%q: exp is there: %v", parsed.payload, ok)
		}
	})
}
