// SPDX-License-Identifier: Apache-2.0

package hmacauth

import (
	"crypto/hmac"
	"crypto/sha1" // #nosec G505 -- one of APISIX's algorithms; HMAC does not rest on collisions being hard.
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"strings"
	"sync"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
)

// algorithm is an index of algorithmNames.
type algorithm int

var (
	algorithmNames = [...]string{"hmac-sha1", "hmac-sha256", "hmac-sha512"}
	newHash        = [...]func() hash.Hash{sha1.New, sha256.New, sha512.New}
)

// params are what the field Authorization says about a signature.
type params struct {
	keyID, algorithm, signature string
	// headers are the names of the signed fields, with spaces between them, in the order in which they were signed.
	headers string
}

// scheme is the word that the field begins with.
const scheme = "Signature"

// parse reads names with quoted values and commas between them. Names that are not known do not matter; two of one name
// are refused.
func parse(field string) (p params, ok bool) {
	if len(field) <= len(scheme) || !gateway.EqualFold(field[:len(scheme)], scheme) {
		return p, false
	}
	rest := field[len(scheme):]
	if rest[0] != ' ' && rest[0] != '\t' {
		return p, false
	}
	for {
		name, after, found := strings.Cut(rest, `="`)
		value, tail, closed := strings.Cut(after, `"`)
		if !found || !closed {
			return p, false
		}
		if place := p.place(strings.Trim(name, " \t")); place != nil {
			if *place != "" {
				return p, false
			}
			*place = value
		}
		if rest = strings.TrimLeft(tail, " \t"); rest == "" {
			return p, p.keyID != "" && p.signature != ""
		}
		if rest[0] != ',' {
			return p, false
		}
		rest = rest[1:]
	}
}

func (p *params) place(name string) *string {
	switch name {
	case "keyId":
		return &p.keyID
	case "algorithm":
		return &p.algorithm
	case "signature":
		return &p.signature
	case "headers":
		return &p.headers
	}
	return nil
}

// lists reports whether all of the names are among the signed fields.
func (p *params) lists(names []string) bool {
	for _, name := range names {
		if !listed(p.headers, name) {
			return false
		}
	}
	return true
}

func listed(list, name string) bool {
	for item := range strings.SplitSeq(list, " ") {
		if gateway.EqualFold(item, name) {
			return true
		}
	}
	return false
}

// credential is a consumer's key. It is safe for concurrent use.
type credential struct {
	// key is nil when it could not be had: it has signed nothing.
	key []byte
	// signers holds *signer, by algorithm.
	signers [len(algorithmNames)]sync.Pool
}

// signer computes signatures with one key and one algorithm. It belongs to one goroutine.
type signer struct {
	mac             hash.Hash
	text, got, want []byte
}

func compileCredential(_ gateway.Env, config json.RawMessage) (key string, compiled any, err error) {
	var c struct {
		KeyID     string `json:"key_id"`
		SecretKey string `json:"secret_key"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return "", nil, fmt.Errorf("hmac-auth: %w", err)
	}
	if auth.IsReference(c.SecretKey) {
		return c.KeyID, new(credential), nil
	}
	return c.KeyID, &credential{key: []byte(c.SecretKey)}, nil
}

// signed reports whether the signature is the key's for the request.
func (c *credential) signed(x *gateway.Exchange, p *params, a algorithm) bool {
	if c.key == nil {
		return false
	}
	s, _ := c.signers[a].Get().(*signer)
	if s == nil {
		s = &signer{mac: hmac.New(newHash[a], c.key)}
	}
	defer c.signers[a].Put(s)
	var err error
	s.got, err = base64.StdEncoding.AppendDecode(s.got[:0], []byte(p.signature))
	if err != nil {
		return false
	}
	for form := range targetForms {
		ok := false
		if s.text, ok = appendText(s.text[:0], x, p, form); !ok {
			continue
		}
		s.mac.Reset()
		s.mac.Write(s.text)
		s.want = s.mac.Sum(s.want[:0])
		if hmac.Equal(s.got, s.want) {
			return true
		}
	}
	return false
}

// The spellings of the one target that a client may have signed. The first is nearly always the only one there is.
const (
	// asForwarded is how the node gets it.
	asForwarded = iota
	// asDecoded is APISIX's $request_uri.
	asDecoded
	// asReceived is what the client has sent.
	asReceived
	targetForms
)

// appendText appends what is signed: the name of the key, then a line for each of the signed fields that the request has.
// It returns false when no client signs that: a field that is there twice, a target that is like the one before.
func appendText(b []byte, x *gateway.Exchange, p *params, form int) ([]byte, bool) {
	r := &x.Request
	targets := false
	b = append(append(b, p.keyID...), '\n')
	for name := range strings.SplitSeq(p.headers, " ") {
		if name == "" {
			continue
		}
		value, found, several := lookup(r, name)
		switch {
		case several:
			return b, false
		case found:
			b = append(append(append(append(b, name...), ": "...), value...), '\n')
		case name == "@request-target":
			targets = true
			b = append(append(b, r.Method...), ' ')
			switch form {
			case asForwarded:
				b = appendTarget(b, r.EscapedPath, r.Query)
			case asDecoded:
				b = appendTarget(b, r.Path, r.Query)
			case asReceived:
				b = append(b, r.Target...)
			}
			b = append(b, '\n')
		}
	}
	switch {
	case form == asForwarded:
		return b, true
	case !targets:
		return b, false
	case form == asDecoded:
		// A line break in it would pass for a signed field.
		return b, r.Path != r.EscapedPath && strings.IndexByte(r.Path, '\n') < 0
	}
	return b, r.Target != r.RequestURI()
}

func appendTarget(b []byte, path, query string) []byte {
	b = append(b, path...)
	if query != "" {
		b = append(append(b, '?'), query...)
	}
	return b
}

// lookup returns the value of a field, and whether there are more lines of it.
func lookup(r *gateway.Request, name string) (value string, found, several bool) {
	if gateway.EqualFold(name, "Host") {
		return r.RawHost, true, false
	}
	for v := range r.Header.Values(name) {
		if found {
			return value, true, true
		}
		value, found = v, true
	}
	return value, found, false
}
