// SPDX-License-Identifier: Apache-2.0

// Package secret keeps the secrets of stored objects: it encrypts fields, and resolves references to secrets that are kept
// elsewhere.
//
// The keyring is why passwords, keys and tokens that objects carry are not readable in a store's file or its backups.
//
// Its form is APISIX's: AES in CBC mode, with the first 16 bytes of the key as initialisation vector and PKCS #7 padding,
// in base64. Equal texts are equal when encrypted, and nothing marks a text as encrypted: what no key decrypts is taken
// as it is.
package secret

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Keyring encrypts with its first key and decrypts with any. It is immutable and safe for concurrent use. A nil Keyring
// leaves every text as it is.
type Keyring struct {
	keys []key
}

type key struct {
	block cipher.Block
	iv    []byte
}

// wellKnown are the keys that every APISIX begins with. They protect nothing, so nothing is encrypted with them; they are
// here for what was stored with them before.
var wellKnown = []string{"qeddd145sfvddff3", "edd1c9f0985e76a2"}

// New returns a keyring. Each key is a text of 16 bytes (AES-128) or 32 (AES-256); there is at least one, and the first
// is not one that everybody knows. APISIX's default keys are added for decryption.
func New(keys ...string) (*Keyring, error) {
	if len(keys) == 0 {
		return nil, errors.New("keyring: no key")
	}
	k := new(Keyring)
	for i, text := range append(keys[:len(keys):len(keys)], wellKnown...) {
		if len(text) != 16 && len(text) != 32 {
			return nil, fmt.Errorf("keyring: key %d has %d bytes: 16 or 32 are expected", i+1, len(text))
		}
		if i == 0 && (text == wellKnown[0] || text == wellKnown[1]) {
			return nil, errors.New("keyring: the first key is one that everybody knows from APISIX")
		}
		block, err := aes.NewCipher([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("keyring: key %d: %w", i+1, err)
		}
		k.keys = append(k.keys, key{block, []byte(text[:aes.BlockSize])})
	}
	return k, nil
}

// Encrypt returns plain in the form in which it is stored. An empty text stays empty, and a reference to a secret that is
// kept elsewhere ("$secret://", "$env://") stays a reference.
func (k *Keyring) Encrypt(plain string) string {
	if k == nil || plain == "" || IsReference(plain) {
		return plain
	}
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	text := append([]byte(plain), bytes.Repeat([]byte{byte(padding)}, padding)...)
	first := &k.keys[0]
	cipher.NewCBCEncrypter(first.block, first.iv).CryptBlocks(text, text)
	return base64.StdEncoding.EncodeToString(text)
}

// Decrypt returns what Encrypt of this keyring, or of one with a key of it, was given, and any other text as it is.
func (k *Keyring) Decrypt(stored string) string {
	if k == nil || len(stored) < base64.StdEncoding.EncodedLen(aes.BlockSize) || IsReference(stored) {
		return stored
	}
	text, err := base64.StdEncoding.Strict().DecodeString(stored)
	if err != nil || len(text)%aes.BlockSize != 0 {
		return stored
	}
	for i := range k.keys {
		if plain, ok := k.keys[i].decrypt(text); ok {
			return plain
		}
	}
	return stored
}

// decrypt is not ok when the text was not encrypted with the key. What one text in 256 has by accident, a padding, is not
// enough: what is stored is text, so it must be UTF-8 too.
func (k *key) decrypt(text []byte) (plain string, ok bool) {
	out := make([]byte, len(text))
	cipher.NewCBCDecrypter(k.block, k.iv).CryptBlocks(out, text)
	padding := int(out[len(out)-1])
	if padding == 0 || padding > aes.BlockSize {
		return "", false
	}
	out, tail := out[:len(out)-padding], out[len(out)-padding:]
	if bytes.Count(tail, tail[:1]) != padding || !utf8.Valid(out) {
		return "", false
	}
	return string(out), true
}

// IsReference reports whether a text stands for a secret that is kept elsewhere.
func IsReference(text string) bool {
	if len(text) < len("$env://") || text[0] != '$' {
		return false
	}
	return strings.HasPrefix(text, "$secret://") || strings.EqualFold(text[:len("$env://")], "$env://")
}
