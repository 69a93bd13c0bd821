// SPDX-License-Identifier: Apache-2.0

package authzkeycloak

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// session has the tokens of the client's service account. It is immutable.
type session struct {
	access string
	// refresh gets the next access token until refreshUntil; empty is none.
	refresh      string
	refreshUntil time.Time
}

// tokens is an answer of the token endpoint (RFC 6749 section 5.1). Times are in seconds.
type tokens struct {
	Access           string   `json:"access_token"`
	ExpiresIn        *float64 `json:"expires_in"`
	Refresh          string   `json:"refresh_token"`
	RefreshExpiresIn *float64 `json:"refresh_expires_in"`
}

// serviceAccount returns a session whose access token has time left.
func (r *realm) serviceAccount(ctx context.Context) (*session, error) {
	return r.session.get(ctx, time.Now(), r.renew)
}

// renew gets the next session, by the refresh token of the last one if that is still good.
func (r *realm) renew(ctx context.Context, now time.Time, last *session) (*session, time.Time, error) {
	if last != nil && last.refresh != "" && now.Before(last.refreshUntil) {
		form := r.credentials("refresh_token")
		form.Set("refresh_token", last.refresh)
		answer, err := r.askTokens(ctx, form)
		switch {
		case err == nil:
			next, until := r.sessionOf(answer, now)
			if answer.Refresh == "" {
				next.refresh, next.refreshUntil = last.refresh, last.refreshUntil
			}
			return next, until, nil
		case !errors.Is(err, errNoToken):
			return nil, now, err
		}
	}
	answer, err := r.askTokens(ctx, r.credentials("client_credentials"))
	if err != nil {
		return nil, now, err
	}
	next, until := r.sessionOf(answer, now)
	return next, until, nil
}

// errNoToken is an answer of the token endpoint without a token.
var errNoToken = errors.New("token endpoint gives no access token")

func (r *realm) askTokens(ctx context.Context, form url.Values) (*tokens, error) {
	status, body, err := r.post(ctx, form, "")
	if err != nil {
		return nil, err
	}
	answer := new(tokens)
	if status != http.StatusOK || json.Unmarshal(body, answer) != nil || answer.Access == "" {
		return nil, errNoToken
	}
	return answer, nil
}

// sessionOf returns the session that an answer of now begins, and until when its access token is used.
func (r *realm) sessionOf(answer *tokens, now time.Time) (*session, time.Time) {
	life := func(told *float64, otherwise, leeway int64) time.Duration {
		if told != nil {
			otherwise = int64(min(max(*told, 0), 1<<40))
		}
		// One second is for what an answer takes to arrive. Nothing is kept longer than the cache keeps anything.
		return min(seconds(otherwise-1-leeway), seconds(r.TTL))
	}
	next := &session{access: answer.Access, refresh: answer.Refresh}
	next.refreshUntil = now.Add(life(answer.RefreshExpiresIn, r.RefreshLife, r.RefreshLeeway))
	return next, now.Add(life(answer.ExpiresIn, r.AccessLife, r.AccessLeeway))
}
