// SPDX-License-Identifier: Apache-2.0

package jwtauth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
)

// vector is an example of RFC 7515 appendix A or RFC 8037 appendix A.
type vector struct {
	Source, Alg, Token string
	K, N, E, Crv, X, Y string
	Key                string
}

func vectors(t *testing.T) (vs []vector) {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &vs); err != nil {
		t.Fatal(err)
	}
	return vs
}

func number(t *testing.T, text string) *big.Int {
	t.Helper()
	return new(big.Int).SetBytes(bytesOf(t, text))
}

func bytesOf(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// config returns the key of a vector as a consumer has it.
func (v *vector) config(t *testing.T) fields {
	t.Helper()
	var key any
	switch {
	case v.K != "":
		return fields{
			"key": v.Key, "algorithm": v.Alg, "base64_secret": true,
			"secret": base64.StdEncoding.EncodeToString(bytesOf(t, v.K)),
		}
	case v.N != "":
		key = &rsa.PublicKey{N: number(t, v.N), E: int(number(t, v.E).Int64())}
	case v.Crv == "Ed25519":
		key = ed25519.PublicKey(bytesOf(t, v.X))
	default:
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-521": elliptic.P521()}[v.Crv]
		point := append([]byte{4}, append(bytesOf(t, v.X), bytesOf(t, v.Y)...)...)
		parsed, err := ecdsa.ParseUncompressedPublicKey(curve, point)
		if err != nil {
			t.Fatal(err)
		}
		key = parsed
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return fields{
		"key": v.Key, "algorithm": v.Alg,
		"public_key": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	}
}

// TestVectors: the signatures of the RFCs verify, and none does with a bit of it, or of what it is for, changed.
func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		raw, err := json.Marshal(v.config(t))
		if err != nil {
			t.Fatal(err)
		}
		_, compiled, err := compileCredential(gateway.Env{}, raw)
		if err != nil {
			t.Fatalf("%s: %v", v.Source, err)
		}
		c := compiled.(*credential)
		parsed, err := parse(v.Token)
		if err != nil || parsed.algorithm != v.Alg || !c.verify(parsed.signed, parsed.signature) {
			t.Errorf("%s: got algorithm %q, error %v, and no valid signature", v.Source, parsed.algorithm, err)
			continue
		}
		for _, i := range []int{0, len(parsed.signature) / 2, len(parsed.signature) - 1} {
			parsed.signature[i] ^= 1
			if c.verify(parsed.signed, parsed.signature) {
				t.Errorf("%s: verifies with byte %d of the signature changed", v.Source, i)
			}
			parsed.signature[i] ^= 1
		}
		if c.verify(parsed.signed+"A", parsed.signature) || c.verify(parsed.signed, parsed.signature[1:]) ||
			c.verify(parsed.signed, nil) || c.verify(parsed.signed, append(parsed.signature, 0)) {
			t.Errorf("%s: verifies with something else", v.Source)
		}
	}
}

// TestVectorsAsTokens: those examples whose payload is one of claims let in whom they name, until they expire in 2011.
func TestVectorsAsTokens(t *testing.T) {
	tokens := 0
	for _, v := range vectors(t) {
		if v.Key == "" {
			continue
		}
		tokens++
		g := gatewaytest.Open(t, route("a", fields{"key_claim_name": "iss"}), consumer("joe", v.config(t)))
		x := new(gateway.Exchange)
		for at, want := range map[int64]string{1300819379: "joe", 1300819380: ""} {
			if got, refusal := authenticate(g, x, request{token: v.Token, at: time.Unix(at, 0)}); got != want {
				t.Errorf("%s: at %d got %q, want %q: %s", v.Source, at, got, want, refusal)
			}
		}
	}
	if tokens < 3 {
		t.Errorf("%d examples are tokens", tokens)
	}
}
