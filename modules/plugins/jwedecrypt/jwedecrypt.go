// SPDX-License-Identifier: Apache-2.0

// Package jwedecrypt is APISIX's jwe-decrypt plugin: it decrypts a token for the node.
package jwedecrypt

import (
	"crypto/aes"
	"crypto/cipher"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
)

//go:embed schema.json
var configSchema []byte

//go:embed consumer_schema.json
var consumerSchema []byte

const name = "jwe-decrypt"

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:           name,
		Priority:       2509,
		Version:        0.1,
		Auth:           true,
		Schema:         configSchema,
		ConsumerSchema: consumerSchema,
		New:            compile,
		NewCredential:  compileCredential,
	})
}

var (
	missing    = auth.Message("missing JWE token in request")
	invalid    = auth.Message("JWE token invalid")
	missingKey = auth.Message("missing kid in JWE token")
	invalidKey = auth.Message("invalid kid in JWE token")
	failed     = auth.Message("failed to decrypt JWE token")
)

// decrypter is one compiled config. It is immutable.
type decrypter struct {
	header, forward string
	strict          bool
}

func compile(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Header        string `json:"header"`
		ForwardHeader string `json:"forward_header"`
		Strict        bool   `json:"strict"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("jwe-decrypt: %w", err)
	}
	if !httpguts.ValidHeaderFieldName(c.ForwardHeader) {
		return nil, fmt.Errorf("property \"forward_header\" validation failed: %q is not the name of a field", c.ForwardHeader)
	}
	return &decrypter{c.Header, c.ForwardHeader, c.Strict}, nil
}

// credential is a consumer's key. It is safe for concurrent use.
type credential struct {
	// aead is nil when the secret is no key: it decrypts nothing.
	aead cipher.AEAD
}

// keySize is that of A256GCM, in bytes.
const keySize = 32

func compileCredential(_ gateway.Env, config json.RawMessage) (key string, compiled any, err error) {
	var c struct {
		Key      string `json:"key"`
		Secret   string `json:"secret"`
		IsBase64 bool   `json:"is_base64_encoded"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return "", nil, fmt.Errorf("jwe-decrypt: %w", err)
	}
	secret := []byte(c.Secret)
	if c.IsBase64 {
		if secret, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(c.Secret, "=")); err != nil {
			secret = nil
		}
	}
	// APISIX accepts any secret, and then fails with it.
	if len(secret) != keySize || auth.IsReference(c.Secret) {
		return c.Key, new(credential), nil
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return "", nil, fmt.Errorf("jwe-decrypt: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return "", nil, fmt.Errorf("jwe-decrypt: %w", err)
	}
	return c.Key, &credential{aead}, nil
}

// Rewrite implements gateway.Rewriter. No consumer is attached: the token says something to the node, not who sends it.
func (d *decrypter) Rewrite(x *gateway.Exchange) gateway.Verdict {
	field, found, several := auth.Only(&x.Request.Header, d.header)
	switch {
	case !found && d.strict:
		return x.Exit(403, missing)
	case !found:
		// What the node takes for the content of a token must have been in one.
		x.Request.Header.DelAliases(d.forward)
		return gateway.Continue
	case several:
		return x.Exit(400, invalid)
	}
	t, err := parse(auth.WithoutBearer(field))
	switch {
	case err != nil:
		return x.Exit(400, invalid)
	case t.keyID == "":
		return x.Exit(400, missingKey)
	}
	known := x.Table.Credential(name, t.keyID)
	if known == nil {
		return x.Exit(400, invalidKey)
	}
	text, ok := known.Config.(*credential).open(&t)
	if !ok || !httpguts.ValidHeaderFieldValue(text) {
		return x.Exit(400, failed)
	}
	x.Request.Header.DelAliases(d.forward)
	x.Request.Header.Add(d.forward, text)
	return gateway.Continue
}

// token is a JWE in its compact serialization (RFC 7516 section 3.1), taken apart and not decrypted.
type token struct {
	// header is protected, as it was encoded.
	header, keyID string
	nonce         []byte
	// sealed is the ciphertext with its tag.
	sealed []byte
}

var errToken = errors.New("not a JWE")

const (
	nonceSize = 12
	tagSize   = 16
)

// parse takes a token apart. The only algorithms are direct use of the key and A256GCM (RFC 7518 sections 4.5 and 5.3).
func parse(text string) (t token, err error) {
	parts := strings.Split(text, ".")
	if len(parts) != 5 || parts[1] != "" {
		return t, errToken
	}
	decode := base64.RawURLEncoding.Strict().DecodeString
	raw, err := decode(parts[0])
	if err != nil {
		return t, errToken
	}
	var header struct {
		Alg, Enc, Kid string
		Zip, Crit     any
	}
	if json.Unmarshal(raw, &header) != nil || header.Alg != "dir" || header.Enc != "A256GCM" || header.Zip != nil || header.Crit != nil {
		return t, errToken
	}
	t.header, t.keyID = parts[0], header.Kid
	ciphertext, err1 := decode(parts[3])
	tag, err2 := decode(parts[4])
	t.nonce, err = decode(parts[2])
	if errors.Join(err, err1, err2) != nil || len(t.nonce) != nonceSize || len(tag) != tagSize {
		return t, errToken
	}
	t.sealed = append(ciphertext, tag...)
	return t, nil
}

// open decrypts a token. The header is authenticated with the content, as RFC 7516 section 5.1 wants it, or not at all, as
// in tokens made for APISIX; it decides nothing but which key it is.
func (c *credential) open(t *token) (text string, ok bool) {
	if c.aead == nil {
		return "", false
	}
	for _, authenticated := range [...][]byte{[]byte(t.header), nil} {
		if plain, err := c.aead.Open(nil, t.nonce, t.sealed, authenticated); err == nil {
			return string(plain), true
		}
	}
	return "", false
}

var _ gateway.Rewriter = (*decrypter)(nil)
