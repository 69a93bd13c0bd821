// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// authChoice is a method of client authentication that calls will use, and the field that chose it.
type authChoice struct{ field, method string }

// reachableAuth lists the choices that a config leads to: the introspection endpoint is for access tokens that are not
// verified here, the others for logins.
func (s *settings) reachableAuth() []authChoice {
	var choices []authChoice
	if s.takesTokens() && !s.verifiesLocally() {
		choices = append(choices, authChoice{"introspection_endpoint_auth_method", s.IntrospectionAuth})
	}
	if s.BearerOnly {
		return choices
	}
	if credential := s.credentialFor(s.TokenAuth); credential == "" {
		choices = append(choices, authChoice{"token_endpoint_auth_method", s.TokenAuth})
	}
	if s.PAR.Enabled && s.PAR.Auth != "" {
		choices = append(choices, authChoice{"par.endpoint_auth_method", s.PAR.Auth})
	}
	return choices
}

// credentialFor names the field that a method needs and the config lacks.
func (s *settings) credentialFor(method string) string {
	switch {
	case method == privateKeyJWT && s.PrivateKey == "":
		return "client_rsa_private_key"
	case method == secretJWT && s.ClientSecret == "":
		return "client_secret"
	}
	return ""
}

// checkClientAuth refuses, in APISIX's words where it has any, what would fail with every call.
func (s *settings) checkClientAuth() error {
	var asymmetricBy, symmetricBy string
	for _, choice := range s.reachableAuth() {
		switch choice.method {
		case privateKeyJWT:
			asymmetricBy = firstOf(asymmetricBy, choice.field)
		case secretJWT:
			symmetricBy = firstOf(symmetricBy, choice.field)
		}
		if err := s.checkChoice(choice); err != nil {
			return err
		}
	}
	if s.AssertionAlg == "" {
		return nil
	}
	const field = `property "client_jwt_assertion_alg"`
	isSymmetric := strings.HasPrefix(s.AssertionAlg, "HS")
	switch {
	case asymmetricBy != "" && symmetricBy != "":
		return fmt.Errorf("%s is a single algorithm, but %q selects private_key_jwt and %q selects client_secret_jwt", field, asymmetricBy, symmetricBy)
	case asymmetricBy != "" && isSymmetric:
		return fmt.Errorf("%s %q is symmetric and cannot be used with the private_key_jwt selected by %q", field, s.AssertionAlg, asymmetricBy)
	case symmetricBy != "" && !isSymmetric:
		return fmt.Errorf("%s %q is asymmetric and cannot be used with the client_secret_jwt selected by %q", field, s.AssertionAlg, symmetricBy)
	}
	return nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (s *settings) checkChoice(choice authChoice) error {
	known := []string{secretBasic, secretPost, privateKeyJWT, secretJWT, noSecret}
	if choice.field == "introspection_endpoint_auth_method" && !slices.Contains(known, choice.method) {
		return fmt.Errorf("property %q validation failed: %q is not among %v", choice.field, choice.method, known)
	}
	if credential := s.credentialFor(choice.method); credential != "" {
		when := ""
		if choice.field == "par.endpoint_auth_method" {
			when = ` when "par.enabled" is true`
		}
		return fmt.Errorf("property %q %q requires %q%s", choice.field, choice.method, credential, when)
	}
	if choice.method == secretJWT && len(s.ClientSecret) < s.hmacSize() {
		return fmt.Errorf("property %q %q requires a \"client_secret\" of at least %d bytes", choice.field, choice.method, s.hmacSize())
	}
	return nil
}

// hmacSize is how long a secret has to be for the algorithm of assertions, in bytes (OpenID Connect Core 1.0 section 16.19).
func (s *settings) hmacSize() int {
	if s.AssertionAlg == string(jose.HS512) {
		return 64
	}
	return 32
}

// sharedSigner returns what signs with the client's secret, nil when it has none that will do.
func (s *settings) sharedSigner() (*assertionSigner, error) {
	algorithm := jose.HS256
	if strings.HasPrefix(s.AssertionAlg, "HS") {
		algorithm = jose.SignatureAlgorithm(s.AssertionAlg)
	}
	if len(s.ClientSecret) < s.hmacSize() {
		return nil, nil
	}
	return newSigner(algorithm, []byte(s.ClientSecret), "")
}

// privateSigner returns what signs with the client's private key, nil when it has none. A key that cannot be used is refused
// when it is to be used.
func (s *settings) privateSigner() (*assertionSigner, error) {
	if s.PrivateKey == "" || !slices.ContainsFunc(s.reachableAuth(), func(c authChoice) bool { return c.method == privateKeyJWT }) {
		return nil, nil
	}
	const field = "client_rsa_private_key"
	algorithm := jose.RS256
	if s.AssertionAlg != "" {
		algorithm = jose.SignatureAlgorithm(s.AssertionAlg)
	}
	key, err := parsePrivateKey(s.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("property %q is not a valid key: %w", field, err)
	}
	if err := checkKey("client_jwt_assertion_alg", algorithm, field, key); err != nil {
		return nil, err
	}
	return newSigner(algorithm, key, s.PrivateKeyID)
}

// checkKey refuses a private key that is not of the kind that an algorithm signs with.
func checkKey(algorithmField string, algorithm jose.SignatureAlgorithm, keyField string, key any) error {
	curve := map[jose.SignatureAlgorithm]string{jose.ES256: "P-256", jose.ES512: "P-521"}[algorithm]
	if curve == "" {
		if _, ok := key.(*rsa.PrivateKey); !ok {
			return fmt.Errorf("property %q %q requires an RSA %q", algorithmField, algorithm, keyField)
		}
		return nil
	}
	elliptic, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("property %q %q requires an EC %q", algorithmField, algorithm, keyField)
	}
	if got := elliptic.Curve.Params().Name; got != curve {
		return fmt.Errorf("property %q %q requires a %q on curve %q, got %q", algorithmField, algorithm, keyField, curve, got)
	}
	return nil
}

var errSigner = errors.New("the key cannot sign")

func newSigner(algorithm jose.SignatureAlgorithm, key any, id string) (*assertionSigner, error) {
	options := new(jose.SignerOptions).WithType("JWT")
	if id != "" {
		options = options.WithHeader("kid", id)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		return nil, errSigner
	}
	return &assertionSigner{signer, string(algorithm)}, nil
}
