// SPDX-License-Identifier: Apache-2.0

package csrf

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"strconv"
)

// token is what is in the cookie, as JSON in base64. APISIX's own tokens are good here too, and the other way round. Both
// numbers are kept as they were written, since the signature is over their text.
type token struct {
	Random json.Number `json:"random"`
	// Expires is when the token was issued, in Unix seconds; the name is APISIX's.
	Expires json.Number `json:"expires"`
	// Sign is the SHA-256 of the numbers and the key, in hexadecimal.
	Sign string `json:"sign"`
}

func (g *guard) sign(random, issued string) string {
	sum := sha256.Sum256([]byte("{expires:" + issued + ",random:" + random + ",key:" + g.key + "}"))
	return hex.EncodeToString(sum[:])
}

// issue returns a new token.
func (g *guard) issue(now int64) string {
	random, issued := fraction(rand.Uint64()), strconv.FormatInt(now, 10)
	text := `{"random":` + random + `,"expires":` + issued + `,"sign":"` + g.sign(random, issued) + `"}`
	return base64.StdEncoding.EncodeToString([]byte(text))
}

// fraction returns a number below 1 with the 14 digits that Lua's text of a number has, none of which Lua would leave out.
func fraction(random uint64) string {
	const digits = 1e13
	text := strconv.FormatUint(digits/10+random%(digits-digits/10), 10)
	return "0." + text + string('1'+byte(random>>60)%9)
}

// verify reports whether the token was issued here, or by somebody else with the key, and not too long ago.
func (g *guard) verify(text string, now int64) bool {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	var t token
	if json.Unmarshal(raw, &t) != nil || t.Random == "" {
		return false
	}
	issued, err := t.Expires.Int64()
	if err != nil || g.lifetime > 0 && now-issued > g.lifetime {
		return false
	}
	want := g.sign(t.Random.String(), t.Expires.String())
	return subtle.ConstantTimeCompare([]byte(t.Sign), []byte(want)) == 1
}
