// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// keySet is a provider's keys (RFC 7517 section 5), those that can verify signatures. It is immutable.
type keySet struct {
	keys []jose.JSONWebKey
	// text is what they were read from.
	text []byte
}

// maxKeys bounds the keys of a set: a token without a key's name is tried with none but the only one.
const maxKeys = 100

func (p *provider) fetchKeys(ctx context.Context) (*keySet, error) {
	m := p.metadata.newest()
	if m == nil {
		return nil, errors.New("the provider is not known")
	}
	text, err := p.calls.get(ctx, m.JWKS)
	if err != nil {
		return nil, fmt.Errorf("accessing jwks url failed: %w", err)
	}
	// Keys that are still the same are not new ones: what they have verified goes on counting.
	if known := p.keys.newest(); known != nil && bytes.Equal(known.text, text) {
		return known, nil
	}
	return parseKeys(text)
}

// parseKeys leaves out what it does not understand, as RFC 7517 section 5 wants it: other kinds of keys, those for
// encryption, and symmetric ones, which everybody could read.
func parseKeys(text []byte) (*keySet, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, errors.New("JSON decoding of the jwks failed")
	}
	set := &keySet{text: text}
	for _, raw := range document.Keys[:min(len(document.Keys), maxKeys)] {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		if algorithmsOf(key.Key) != nil {
			set.keys = append(set.keys, key)
		}
	}
	return set, nil
}

// find returns the key that a token says it was signed with: the one of that name, or without a name the only one there is
// for the algorithm. It is nil when there is none.
func (s *keySet) find(kid string, algorithm jose.SignatureAlgorithm) any {
	var found any
	for i := range s.keys {
		key := &s.keys[i]
		fits := slices.Contains(algorithmsOf(key.Key), algorithm) && (key.Algorithm == "" || key.Algorithm == string(algorithm))
		if !fits || kid != "" && key.KeyID != kid {
			continue
		}
		if found != nil {
			return nil
		}
		found = key.Key
	}
	return found
}

var (
	rsaAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
	// asymmetric are the algorithms that a public key verifies.
	asymmetric = append(slices.Clone(rsaAlgorithms), jose.ES256, jose.ES384, jose.ES512, jose.EdDSA)
	symmetric  = []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}
)

// minRSABits is the size below which crypto/rsa verifies nothing.
const minRSABits = 1024

// algorithmsOf returns the algorithms that a public key is for (RFC 7518 section 3): never those of another kind of key.
func algorithmsOf(key any) []jose.SignatureAlgorithm {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() >= minRSABits {
			return rsaAlgorithms
		}
	case *ecdsa.PublicKey:
		switch key.Curve.Params().BitSize {
		case 256:
			return []jose.SignatureAlgorithm{jose.ES256}
		case 384:
			return []jose.SignatureAlgorithm{jose.ES384}
		case 521:
			return []jose.SignatureAlgorithm{jose.ES512}
		}
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}
	}
	return nil
}

var errNoPEM = errors.New("no PEM block")

// parsePublicKey reads a PEM block: a public key, or a certificate with one.
func parsePublicKey(text string) (any, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errNoPEM
	}
	switch block.Type {
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return certificate.PublicKey, nil
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

// parsePrivateKey reads a PEM block with a private key. Errors do not repeat it.
func parsePrivateKey(text string) (any, error) {
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errNoPEM
		}
		switch block.Type {
		case "RSA PRIVATE KEY":
			return x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			return x509.ParseECPrivateKey(block.Bytes)
		case "PRIVATE KEY":
			return x509.ParsePKCS8PrivateKey(block.Bytes)
		}
	}
}
