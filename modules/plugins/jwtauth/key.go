// SPDX-License-Identifier: Apache-2.0

package jwtauth

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
)

// credential is a consumer's key, ready to verify with. It is immutable.
type credential struct {
	key string
	// algorithm is the only one that a token may name.
	algorithm string
	method    jwt.SigningMethod
	// public is the key in the form that method wants; nil verifies nothing.
	public any
	// leeway is by how much the clocks may differ, in seconds.
	leeway float64
}

func compileCredential(_ gateway.Env, config json.RawMessage) (key string, compiled any, err error) {
	var c struct {
		Key          string  `json:"key"`
		Secret       string  `json:"secret"`
		PublicKey    string  `json:"public_key"`
		Algorithm    string  `json:"algorithm"`
		Base64Secret bool    `json:"base64_secret"`
		Leeway       float64 `json:"lifetime_grace_period"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return "", nil, fmt.Errorf("jwt-auth: %w", err)
	}
	k := &credential{
		key: c.Key, algorithm: c.Algorithm, method: jwt.GetSigningMethod(c.Algorithm), leeway: c.Leeway,
	}
	if strings.HasPrefix(c.Algorithm, "HS") {
		k.public, err = secretKey(c.Secret, c.Base64Secret)
	} else {
		k.public, err = publicKey(c.PublicKey, k.method)
	}
	return c.Key, k, err
}

// verify reports whether signature is the key's for what was signed.
func (c *credential) verify(signed string, signature []byte) bool {
	return c.public != nil && c.method.Verify(signed, signature, c.public) == nil
}

func secretKey(secret string, isBase64 bool) (any, error) {
	switch {
	case secret == "":
		return nil, errors.New(`property "secret" is required when using HS based algorithms`)
	case auth.IsReference(secret):
		return nil, nil
	case !isBase64:
		return []byte(secret), nil
	}
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(secret, "="))
	if err != nil || len(key) == 0 {
		return nil, errors.New("base64_secret required but the secret is not in base64 format")
	}
	return key, nil
}

// publicKey reads a PEM block: a public key, or a certificate with one. It has to be of the kind that the algorithm is
// for (RFC 7518 section 3).
func publicKey(text string, method jwt.SigningMethod) (any, error) {
	switch {
	case strings.TrimSpace(text) == "":
		return nil, errors.New("missing valid public key")
	case auth.IsReference(text):
		return nil, nil
	}
	var key any
	var err error
	switch method := method.(type) {
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		key, err = rsaKey(text)
	case *jwt.SigningMethodECDSA:
		key, err = ecdsaKey(text, method.CurveBits)
	default:
		key, err = jwt.ParseEdPublicKeyFromPEM([]byte(text))
		if _, ok := key.(ed25519.PublicKey); err == nil && !ok {
			err = fmt.Errorf("%T is no Ed25519 key", key)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("missing valid public key: %s: %w", method.Alg(), err)
	}
	return key, nil
}

// minRSABits is the size below which crypto/rsa verifies nothing.
const minRSABits = 1024

func rsaKey(text string) (any, error) {
	key, err := jwt.ParseRSAPublicKeyFromPEM([]byte(text))
	if err == nil && key.N.BitLen() < minRSABits {
		return nil, fmt.Errorf("%d bits, at least %d are needed", key.N.BitLen(), minRSABits)
	}
	return key, err
}

func ecdsaKey(text string, bits int) (any, error) {
	key, err := jwt.ParseECPublicKeyFromPEM([]byte(text))
	if err == nil && key.Curve.Params().BitSize != bits {
		return nil, fmt.Errorf("the key is on curve %s, it has to be on P-%d", key.Curve.Params().Name, bits)
	}
	return key, err
}
