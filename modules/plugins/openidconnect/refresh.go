// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// refreshes are the grants of new tokens, by the refresh token that they were for. A browser sends several requests with one
// session; a provider gives new tokens for a refresh token once and takes the second time for theft.
var refreshes group[tokens]

// refreshedFor is how long requests with the session from before get the tokens of the session after.
const refreshedFor = time.Minute

// refresh gives a session a new access token.
func (rp *relyingParty) refresh(x *gateway.Exchange, v *visit, s *session) error {
	if s.refreshToken == "" {
		return errors.New("token expired and no refresh token available")
	}
	if v.ctx == nil {
		return errWait
	}
	m, err := rp.provider.describe(v.ctx, x.Start)
	if err != nil {
		return err
	}
	now, before := x.Start, *s
	// Whatever else two configs say, they share sessions, and their refresh tokens.
	key := sha256.Sum256([]byte(rp.Discovery + "\x00" + rp.ClientID + "\x00" + s.refreshToken))
	t, err := refreshes.do(v.ctx, key, refreshedFor, func(ctx context.Context) (tokens, error) {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {before.refreshToken}, "scope": {rp.Scope}}
		t, err := rp.client.grant(ctx, m, form, before.nonce)
		switch {
		case err != nil:
			return t, err
		case t.access == "":
			return t, errors.New("token endpoint returned no access token")
		case t.id == "":
			return t, nil
		}
		claims, err := rp.verifyIDToken(ctx, m, now, t.id, "")
		if err != nil {
			return t, fmt.Errorf("id_token: %w", err)
		}
		if was, err := object(payloadOf(before.idToken)); err == nil && was["sub"] != claims["sub"] {
			return t, errors.New("id_token: it is somebody else's")
		}
		return t, nil
	})
	if err != nil {
		return err
	}
	rp.keep(s, &t, now)
	return nil
}

// logout ends the session here and, if the provider has a place for it, there (OpenID Connect RP-Initiated Logout 1.0).
func (rp *relyingParty) logout(x *gateway.Exchange, v *visit, s *session) gateway.Verdict {
	m, err := rp.provider.describe(v.ctx, x.Start)
	if err != nil {
		return rp.stop(x, 503, "nobody can log out", err)
	}
	revokes := rp.RevokeOnLogout && m.Revocation != "" && s != nil
	if revokes && v.ctx == nil {
		return gateway.Wait
	}
	if err := rp.sessions.drop(x, v, s); err != nil {
		return rp.stop(x, 503, "nobody can log out", err)
	}
	if revokes {
		rp.revoke(v.ctx, m, "refresh_token", s.refreshToken)
		rp.revoke(v.ctx, m, "access_token", s.accessToken)
	}
	switch {
	case m.EndSession != "":
		params := make(url.Values)
		if s != nil && s.idToken != "" {
			params.Set("id_token_hint", s.idToken)
		}
		if rp.PostLogoutRedirectURI != "" {
			params.Set("post_logout_redirect_uri", rp.PostLogoutRedirectURI)
		}
		return redirect(x, withQuery(m.EndSession, params))
	case rp.PostLogoutRedirectURI != "":
		return redirect(x, rp.PostLogoutRedirectURI)
	}
	noStore(&x.Response.Header)
	x.Response.Header.Set("Content-Type", "text/html")
	return x.Exit(200, loggedOut)
}

var loggedOut = []byte("<html><body>Logged Out</body></html>\n")

// revoke tells the provider that a token is no longer needed (RFC 7009). That it could not be told keeps nobody logged in.
func (rp *relyingParty) revoke(ctx context.Context, m *metadata, kind, token string) {
	if token == "" {
		return
	}
	form := url.Values{"token": {strings.Clone(token)}, "token_type_hint": {kind}}
	got, err := rp.client.post(ctx, m, m.Revocation, rp.client.tokenMethod(m), form, nil)
	if err == nil && got.status != 200 {
		err = got.failure()
	}
	if err != nil {
		rp.warn("a token cannot be revoked", fmt.Errorf("%s: %w", kind, err))
	}
}
