// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
)

// Key opens the Admin API.
type Key struct {
	// Name tells keys apart in logs and errors.
	Name string
	// Key is the secret text.
	Key string
	// Role is "admin", also when empty, or "viewer", who may only GET.
	Role string
}

const (
	roleAdmin  = "admin"
	roleViewer = "viewer"
)

// hashedKey is kept instead of the key, so that comparing takes the same time for any token.
type hashedKey struct {
	sum    [sha256.Size]byte
	viewer bool
}

// hashKeys refuses what would open the API wider than meant: an empty key, or a role that is a slip of the pen.
func hashKeys(keys []Key) ([]hashedKey, error) {
	hashed := make([]hashedKey, len(keys))
	for i, key := range keys {
		if key.Key == "" {
			return nil, fmt.Errorf("admin key %q: the key is empty", key.Name)
		}
		switch key.Role {
		case "", roleAdmin, roleViewer:
		default:
			return nil, fmt.Errorf("admin key %q: unknown role %q: expected %s or %s", key.Name, key.Role, roleAdmin, roleViewer)
		}
		hashed[i] = hashedKey{sha256.Sum256([]byte(key.Key)), key.Role == roleViewer}
	}
	return hashed, nil
}

// authorize checks the request's key. Its error is a 401.
func (h *Handler) authorize(r *http.Request) error {
	if h.open {
		return nil
	}
	token, ok := requestToken(r)
	if !ok {
		return unauthorized("missing apikey")
	}
	sum := sha256.Sum256([]byte(token))
	found, viewer := 0, 0
	for i := range h.keys {
		same := subtle.ConstantTimeCompare(sum[:], h.keys[i].sum[:])
		if found == 0 && same == 1 && h.keys[i].viewer {
			viewer = 1
		}
		found |= same
	}
	if found == 0 {
		return unauthorized("wrong apikey")
	}
	if viewer == 1 && r.Method != http.MethodGet {
		return unauthorized("invalid method for role viewer")
	}
	return nil
}

// requestToken returns the first key of query, header and cookie.
func requestToken(r *http.Request) (token string, ok bool) {
	if values := r.URL.Query()["api_key"]; len(values) > 0 {
		return values[0], true
	}
	if values := r.Header.Values("X-API-KEY"); len(values) > 0 {
		return values[0], true
	}
	if cookie, err := r.Cookie("x_api_key"); err == nil {
		return cookie.Value, true
	}
	return "", false
}

func unauthorized(description string) error {
	return &problem{status: http.StatusUnauthorized, members: []member{
		{"error_msg", "failed to check token"}, {"description", description},
	}}
}
