// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// maxRestarts is how often a browser that comes back with the answer to an unknown login may begin another one.
const maxRestarts = 3

// callback takes the provider's answer to a login (OpenID Connect Core 1.0 section 3.1.2.5).
func (rp *relyingParty) callback(x *gateway.Exchange, v *visit, s *session) gateway.Verdict {
	if s == nil {
		return rp.stop(x, http.StatusInternalServerError, "nobody is logged in",
			errors.New("request to the redirect_uri path but there's no session state found"))
	}
	code, codes := x.Request.Arg("code")
	state, states := x.Request.Arg("state")
	failure, _ := x.Request.Arg("error")
	l, known := s.end(state, x.Start)
	switch {
	case states != 1 || codes > 1:
		return rp.stop(x, http.StatusInternalServerError, "nobody is logged in", errors.New("unhandled request to the redirect_uri"))
	case !known && code != "":
		return rp.restart(x, v, s)
	case known && l.silent && failure != "":
		// The provider wants to ask somebody something: the login is no longer a silent one.
		return rp.login(x, v, s, l.target, false)
	case !known || code == "":
		return rp.stop(x, http.StatusInternalServerError, "nobody is logged in", errors.New("the provider answered without a code"))
	case v.ctx == nil:
		return gateway.Wait
	}
	if err := rp.exchange(x, v, s, &l, strings.Clone(code)); err != nil {
		return rp.stop(x, http.StatusInternalServerError, "nobody is logged in", err)
	}
	if err := rp.saveAnew(x, v, s); err != nil {
		return rp.stop(x, http.StatusServiceUnavailable, "a session cannot be saved", err)
	}
	return redirect(x, l.target)
}

// saveAnew keeps the session of somebody who has just logged in under another name: who had given them the one from before
// does not get in.
func (rp *relyingParty) saveAnew(x *gateway.Exchange, v *visit, s *session) error {
	if err := rp.sessions.forget(v.ctx, s); err != nil {
		return err
	}
	now := x.Start.Unix()
	s.created, s.renewed, s.used = now, now, now
	err := rp.sessions.save(x, v, s)
	if errors.Is(err, errTooLarge) && len(s.logins) > 0 {
		s.logins = nil
		err = rp.sessions.save(x, v, s)
	}
	return err
}

// restart sends a browser whose login is not known, as it was done already, or too long ago, back to where it came from:
// there it has a session, or begins a new login.
func (rp *relyingParty) restart(x *gateway.Exchange, v *visit, s *session) gateway.Verdict {
	s.restarts++
	if s.resume == "" || s.restarts > maxRestarts || x.Request.Method != http.MethodGet {
		return rp.stop(x, http.StatusInternalServerError, "nobody is logged in",
			errors.New("state from argument does not match state restored from session"))
	}
	if err := rp.sessions.save(x, v, s); err != nil {
		return rp.stop(x, http.StatusServiceUnavailable, "a session cannot be saved", err)
	}
	return redirect(x, s.resume)
}

// exchange gets tokens for a code and makes the session that of whom they are.
func (rp *relyingParty) exchange(x *gateway.Exchange, v *visit, s *session, l *login, code string) error {
	m, err := rp.provider.describe(v.ctx, x.Start)
	if err != nil {
		return err
	}
	for argument, want := range map[string]string{"iss": m.Issuer, "client_id": rp.ClientID} {
		if got, times := x.Request.Arg(argument); times > 0 && got != want {
			return fmt.Errorf("%s from argument does not match what is expected", argument)
		}
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {rp.redirectURI(x)}}
	if l.verifier != "" {
		form.Set("code_verifier", l.verifier)
	}
	t, err := rp.client.grant(v.ctx, m, form, "")
	if err != nil {
		return err
	}
	claims, err := rp.verifyIDToken(v.ctx, m, x.Start, t.id, l.nonce)
	if err != nil {
		return fmt.Errorf("id_token: %w", err)
	}
	user, err := rp.userinfo(v.ctx, m, x.Start, t.access, claims["sub"])
	if err != nil {
		rp.warn("somebody is logged in without userinfo", err)
	}
	// Nothing of whoever was here before stays.
	s.authenticated, s.loggedIn, s.restarts, s.refreshToken, s.user = true, x.Start.Unix(), 0, "", user
	rp.keep(s, &t, x.Start)
	return nil
}

// keep puts tokens into a session. Those that the provider did not give again go on.
func (rp *relyingParty) keep(s *session, t *tokens, now time.Time) {
	s.accessToken, s.nonce = t.access, t.nonce
	if t.refresh != "" {
		s.refreshToken = t.refresh
	}
	if t.id != "" {
		s.idToken = t.id
	}
	life := t.life
	if life == 0 {
		life = rp.AccessTokenExpiresIn
	}
	if life == 0 {
		life = 3600
	}
	s.accessExpires = now.Unix() + life - 1 - rp.AccessTokenLeeway
}

// userinfo asks for claims about whom an access token is (OpenID Connect Core 1.0 section 5.3): a JSON object about subject,
// or "" when the provider has none.
func (rp *relyingParty) userinfo(ctx context.Context, m *metadata, now time.Time, accessToken string, subject any) (string, error) {
	if m.Userinfo == "" || accessToken == "" {
		return "", nil
	}
	got, err := rp.askUserinfo(ctx, m, accessToken)
	switch {
	case err != nil:
		return "", fmt.Errorf("accessing userinfo endpoint failed: %w", err)
	case got.status != http.StatusOK:
		return "", fmt.Errorf("userinfo endpoint: %w", got.failure())
	}
	payload := got.body
	if kind, _, _ := mime.ParseMediaType(got.header.Get("Content-Type")); kind == "application/jwt" {
		if payload, err = rp.verifySigned(ctx, m, now, string(payload)); err != nil {
			return "", fmt.Errorf("userinfo jwt could not be verified: %w", err)
		}
	}
	claims, err := object(payload)
	if err != nil {
		return "", errors.New("userinfo endpoint: JSON decoding failed")
	}
	if claims["sub"] != subject {
		return "", errors.New(`"sub" claim in id_token is not equal to the "sub" claim returned from the userinfo endpoint`)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, payload); err != nil {
		return "", err
	}
	return compact.String(), nil
}

func (rp *relyingParty) askUserinfo(ctx context.Context, m *metadata, accessToken string) (answer, error) {
	if err := checkEndpoint(m.Userinfo); err != nil {
		return answer{}, err
	}
	nonce := ""
	ask := func() (answer, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.Userinfo, nil)
		if err != nil {
			return answer{}, err
		}
		req.Header.Set("Authorization", "Bearer "+accessToken)
		if rp.client.dpop != nil {
			proof, err := rp.client.dpop.proof(m, http.MethodGet, m.Userinfo, accessToken, nonce)
			if err != nil {
				return answer{}, err
			}
			req.Header.Set("Authorization", "DPoP "+accessToken)
			req.Header.Set("DPoP", proof)
		}
		return rp.client.do(req)
	}
	got, err := ask()
	if err == nil && rp.client.wantsNonce(&got, &nonce) {
		got, err = ask()
	}
	return got, err
}
