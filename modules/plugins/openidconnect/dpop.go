// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// dpop proves that the client has the key that its access tokens are bound to (RFC 9449). It is immutable.
type dpop struct {
	signer     jose.Signer
	algorithm  string
	thumbprint string
}

// dpopMembers are those that a public JWK must have, by its kty, and the curve of the one for ES256.
var dpopMembers = map[string][]string{"EC": {"crv", "x", "y"}, "RSA": {"e", "n"}}

// newDPoP compiles the settings of a config; nil when they are not enabled.
func newDPoP(s *dpopSettings) (*dpop, error) {
	if !s.Enabled {
		return nil, nil
	}
	if err := s.checkJWK(); err != nil {
		return nil, err
	}
	private, err := parsePrivateKey(s.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf(`property "dpop.private_key" is not a valid key: %w`, err)
	}
	var stated jose.JSONWebKey
	if err := stated.UnmarshalJSON(s.PublicJWK); err != nil || !stated.IsPublic() {
		return nil, errors.New(`property "dpop.public_jwk" validation failed: not a public key`)
	}
	if err := checkKey("dpop.signing_alg", jose.SignatureAlgorithm(s.Algorithm), "dpop.private_key", private); err != nil {
		return nil, err
	}
	var public jose.JSONWebKey
	switch key := private.(type) {
	case *rsa.PrivateKey:
		public.Key = &key.PublicKey
	case *ecdsa.PrivateKey:
		public.Key = &key.PublicKey
	}
	is, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf(`property "dpop.private_key" is not a valid key: %w`, err)
	}
	should, err := stated.Thumbprint(crypto.SHA256)
	if err != nil || !slices.Equal(is, should) {
		return nil, errors.New(`property "dpop.public_jwk" is not the public key of "dpop.private_key"`)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(s.Algorithm), Key: private},
		(&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"))
	if err != nil {
		return nil, errSigner
	}
	return &dpop{signer: signer, algorithm: s.Algorithm, thumbprint: base64.RawURLEncoding.EncodeToString(is)}, nil
}

// checkJWK refuses a public_jwk in APISIX's words.
func (s *dpopSettings) checkJWK() error {
	const field = `property "dpop.public_jwk"`
	var jwk map[string]any
	if err := json.Unmarshal(s.PublicJWK, &jwk); err != nil {
		return fmt.Errorf("%s validation failed: %w", field, err)
	}
	kty := fmt.Sprint(jwk["kty"])
	required := dpopMembers[kty]
	if required == nil {
		return fmt.Errorf("%s validation failed: kty %q is not supported", field, kty)
	}
	for _, member := range required {
		value, ok := jwk[member]
		if !ok {
			return fmt.Errorf("%s validation failed: kty %q requires %s", field, kty, strings.Join(required, ", "))
		}
		if text, ok := value.(string); !ok || text == "" {
			return fmt.Errorf("%s validation failed: %q must be a non-empty string", field, member)
		}
	}
	wants := "RSA"
	if s.Algorithm == string(jose.ES256) {
		wants = "EC"
	}
	if kty != wants {
		return fmt.Errorf(`property "dpop.signing_alg" %q requires an %s "dpop.public_jwk"`, s.Algorithm, wants)
	}
	if wants == "EC" && jwk["crv"] != "P-256" {
		return fmt.Errorf(`property "dpop.signing_alg" %q requires "dpop.public_jwk" crv "P-256", got %q`, s.Algorithm, jwk["crv"])
	}
	return nil
}

// proof signs a proof for one call (RFC 9449 section 4.2). accessToken and nonce may be empty.
func (d *dpop) proof(m *metadata, method, endpoint, accessToken, nonce string) (string, error) {
	if len(m.DPoPAlgs) > 0 && !slices.Contains(m.DPoPAlgs, d.algorithm) {
		return "", fmt.Errorf("dpop.signing_alg (%s) is not among dpop_signing_alg_values_supported", d.algorithm)
	}
	endpoint, _, _ = strings.Cut(endpoint, "#")
	endpoint, _, _ = strings.Cut(endpoint, "?")
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": endpoint, "iat": time.Now().Unix()}
	if accessToken != "" {
		sum := sha256.Sum256([]byte(accessToken))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return signJSON(d.signer, claims)
}
