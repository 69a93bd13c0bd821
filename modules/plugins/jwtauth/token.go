// SPDX-License-Identifier: Apache-2.0

package jwtauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// token is a JWS in its compact serialization (RFC 7515 section 3.1), taken apart and not verified.
type token struct {
	algorithm string
	// signed is the text that the signature is for.
	signed    string
	signature []byte
	payload   []byte
}

// errToken says that something is no token.
var errToken = errors.New("not a JSON Web Token")

// strict is base64url without padding and without bits to spare: there is one spelling of a token.
var strict = base64.RawURLEncoding.Strict()

// parse takes a token apart. What a JWS may say about itself beyond its algorithm is either ignored, as RFC 7515 section
// 4 wants it, keys and addresses of keys above all, or declared critical, and then the token is refused.
func parse(text string) (t token, err error) {
	header, rest, _ := strings.Cut(text, ".")
	payload, signature, ok := strings.Cut(rest, ".")
	if !ok || strings.IndexByte(signature, '.') >= 0 {
		return t, errToken
	}
	if t.algorithm, err = algorithmOf(header); err != nil {
		return t, err
	}
	t.signed = text[:len(text)-1-len(signature)]
	if t.payload, err = strict.DecodeString(payload); err != nil {
		return t, errToken
	}
	if t.signature, err = strict.DecodeString(signature); err != nil {
		return t, errToken
	}
	return t, nil
}

// usualHeaders maps headers as libraries write them to the algorithm they name.
var usualHeaders = func() map[string]string {
	headers := make(map[string]string)
	for _, algorithm := range [...]string{
		"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA",
	} {
		for _, text := range [...]string{`{"alg":"` + algorithm + `","typ":"JWT"}`, `{"typ":"JWT","alg":"` + algorithm + `"}`} {
			headers[strict.EncodeToString([]byte(text))] = algorithm
		}
	}
	return headers
}()

func algorithmOf(header string) (string, error) {
	if algorithm, ok := usualHeaders[header]; ok {
		return algorithm, nil
	}
	text, err := strict.DecodeString(header)
	if err != nil {
		return "", errToken
	}
	var values [2][]byte
	if err := members(text, values[:], "alg", "crit"); err != nil {
		return "", err
	}
	algorithm, ok := textOf(values[0])
	if !ok || values[1] != nil {
		return "", errToken
	}
	return algorithm, nil
}

// claimSet is a set of registered claims.
type claimSet uint8

const (
	hasExp claimSet = 1 << iota
	hasNbf
)

// claims are what a token says that matters here.
type claims struct {
	// key is empty when the claim is there and no text.
	key    string
	hasKey bool
	// exp and nbf are in seconds since 1970; set tells which of them there are.
	exp, nbf float64
	set      claimSet
	// notNumeric says that one of them is no number.
	notNumeric bool
}

func (t *token) claims(keyClaim string) (c claims, err error) {
	var values [3][]byte
	if err := members(t.payload, values[:], keyClaim, "exp", "nbf"); err != nil {
		return c, err
	}
	c.key, _ = textOf(values[0])
	c.hasKey = values[0] != nil && string(values[0]) != "null"
	c.exp = c.number(values[1], hasExp)
	c.nbf = c.number(values[2], hasNbf)
	return c, nil
}

func (c *claims) number(value []byte, which claimSet) float64 {
	if value == nil {
		return 0
	}
	c.set |= which
	n, err := strconv.ParseFloat(string(value), 64)
	c.notNumeric = c.notNumeric || err != nil
	return n
}

// payloadOf returns the claims of a token that has been parsed before.
func payloadOf(text string) string {
	_, rest, _ := strings.Cut(text, ".")
	payload, _, _ := strings.Cut(rest, ".")
	claims, _ := strict.DecodeString(payload)
	return string(claims)
}

// textOf returns a JSON string's text.
func textOf(value []byte) (text string, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	return unquote(value), true
}

func unquote(value []byte) string {
	inner := value[1 : len(value)-1]
	for _, c := range inner {
		if c == '\\' {
			var text string
			_ = json.Unmarshal(value, &text)
			return text
		}
	}
	return string(inner)
}

// members finds members of a JSON object by their names and puts their values, as they are written, in the places of
// values; those that are not there stay nil. A name that is there twice makes it no object: who verifies and who uses
// it may not mean the same one (RFC 8725 section 2.4 tells of such mischief).
func members(text []byte, values [][]byte, names ...string) error {
	if !json.Valid(text) {
		return errToken
	}
	s := scanner{text: text}
	if s.next() != '{' {
		return errToken
	}
	for s.at++; s.next() != '}'; {
		name := s.value()
		s.next() // a colon
		s.at++
		value := s.value()
		if s.next() == ',' {
			s.at++
		}
		for i := range names {
			if !isName(name, names[i]) {
				continue
			}
			if values[i] != nil {
				return errToken
			}
			values[i] = value
		}
	}
	return nil
}

func isName(quoted []byte, name string) bool {
	if len(quoted) == len(name)+2 && string(quoted[1:len(quoted)-1]) == name {
		return true
	}
	// An escape is longer than what it stands for.
	return len(quoted) > len(name)+2 && unquote(quoted) == name
}

// scanner walks over text that is known to be valid JSON.
type scanner struct {
	text []byte
	at   int
}

// next skips white space and returns what comes.
func (s *scanner) next() byte {
	for {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return c
		}
	}
}

// value skips a value and returns it.
func (s *scanner) value() []byte {
	s.next()
	begin, depth := s.at, 0
	for ; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case '"':
			s.skipString()
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return s.text[begin:s.at]
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return s.text[begin:s.at]
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			s.at++
			return s.text[begin:s.at]
		}
	}
	return s.text[begin:]
}

// skipString goes to the quotation mark that ends the string which begins here.
func (s *scanner) skipString() {
	for s.at++; s.text[s.at] != '"'; s.at++ {
		if s.text[s.at] == '\\' {
			s.at++
		}
	}
}
