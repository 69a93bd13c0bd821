// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"encoding/base64"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// Authorization is the field that carries credentials (RFC 9110 section 11.6.2).
const Authorization = "Authorization"

// ParseBasic reads credentials in the form of RFC 7617 section 2: the scheme in any case, white space, and the base64 of
// name and password with a colon between them, padded or not. The password may contain colons.
func ParseBasic(field, scheme string) (user, password string, ok bool) {
	if len(field) <= len(scheme) || !gateway.EqualFold(field[:len(scheme)], scheme) {
		return "", "", false
	}
	encoded := strings.TrimLeft(field[len(scheme):], " \t")
	if len(encoded) == len(field)-len(scheme) {
		return "", "", false
	}
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(decoded), ":")
}

// WithoutSpace returns s without its white space.
func WithoutSpace(s string) string {
	if strings.IndexFunc(s, isSpace) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if isSpace(r) {
			return -1
		}
		return r
	}, s)
}

func isSpace(r rune) bool { return r == ' ' || '\t' <= r && r <= '\r' }
