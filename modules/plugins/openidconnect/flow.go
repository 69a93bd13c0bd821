// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
)

// defaultCallback is what the default of redirect_uri adds to the path of a request.
const defaultCallback = "/.apisix/redirect"

// browse decides about a request by its session.
func (rp *relyingParty) browse(x *gateway.Exchange, v *visit) gateway.Verdict {
	s, err := rp.sessions.open(x, v)
	if err != nil {
		return rp.stop(x, http.StatusServiceUnavailable, "a session cannot be read", err)
	}
	switch path := x.Request.Path; {
	case path == rp.redirectPath || rp.redirectPath == "" && strings.HasSuffix(path, defaultCallback):
		return rp.callback(x, v, s)
	case path == rp.LogoutPath:
		return rp.logout(x, v, s)
	case s == nil || !s.authenticated:
		return rp.unauthenticated(x, v, s)
	}
	dirty := s.restarts > 0
	s.restarts = 0
	accessToken := s.accessToken
	if now := x.Start.Unix(); accessToken != "" && now >= s.accessExpires {
		if !rp.RenewAccessToken {
			accessToken = ""
		} else if err := rp.refresh(x, v, s); err != nil {
			if errors.Is(err, errWait) {
				return gateway.Wait
			}
			rp.warn("an access token is lost", err)
			return rp.unauthenticated(x, v, s)
		} else {
			accessToken, dirty = s.accessToken, true
		}
	}
	if rp.RefreshInterval != nil && s.loggedIn+*rp.RefreshInterval < x.Start.Unix() {
		return rp.login(x, v, s, targetOf(x), true)
	}
	return rp.pass(x, v, s, accessToken, dirty)
}

// stop answers a request that something stands in the way of, unless that has only to be waited for.
func (rp *relyingParty) stop(x *gateway.Exchange, status int, what string, err error) gateway.Verdict {
	if errors.Is(err, errWait) {
		return gateway.Wait
	}
	rp.warn(what, err)
	return x.Exit(status, nil)
}

// pass lets a request in with its session.
func (rp *relyingParty) pass(x *gateway.Exchange, v *visit, s *session, accessToken string, dirty bool) gateway.Verdict {
	claims := payloadOf(s.idToken)
	if rp.tokens.claims != nil {
		if err := rp.validateSession(s, accessToken, claims); err != nil {
			return rp.refuseToken(x, err.Error())
		}
	}
	if err := rp.sessions.touch(x, v, s, dirty); err != nil {
		return rp.stop(x, http.StatusServiceUnavailable, "a session cannot be saved", err)
	}
	rp.sessions.hide(x)
	userinfo := ""
	if s.user != "" && rp.SetUserinfo {
		userinfo = base64.StdEncoding.EncodeToString([]byte(s.user))
	}
	rp.tell(x, accessToken, userinfo)
	h := &x.Request.Header
	if len(claims) > 0 && rp.SetIDToken {
		h.Add(idTokenField, base64.StdEncoding.EncodeToString(claims))
	}
	if s.refreshToken != "" && rp.SetRefreshToken {
		h.Add(refreshTokenField, s.refreshToken)
	}
	if s.idToken != "" && rp.SetRawIDToken {
		h.Add(rawIDTokenField, s.idToken)
	}
	auth.SetExternalUser(x, firstOf(s.user, string(claims)))
	return gateway.Continue
}

// validateSession holds what is known of somebody to claim_schema.
func (rp *relyingParty) validateSession(s *session, accessToken string, claims []byte) error {
	known := make(map[string]any, 3)
	if s.user != "" {
		known["user"] = json.RawMessage(s.user)
	}
	if accessToken != "" {
		known["access_token"] = accessToken
	}
	if len(claims) > 0 {
		known["id_token"] = json.RawMessage(claims)
	}
	text, err := json.Marshal(known)
	if err != nil {
		return err
	}
	return validateClaims(rp.tokens.claims, text)
}

// unauthenticated does what the config says about requests of nobody.
func (rp *relyingParty) unauthenticated(x *gateway.Exchange, v *visit, s *session) gateway.Verdict {
	switch rp.UnauthAction {
	case "deny":
		return x.Exit(http.StatusUnauthorized, nil)
	case "pass":
		rp.sessions.hideAny(x)
		return gateway.Continue
	}
	return rp.login(x, v, s, targetOf(x), false)
}

// maxTarget bounds the address that a browser comes back to, in bytes: it is kept in a cookie.
const maxTarget = 2000

// targetOf returns the path that a browser asks for, to send it there later. It leads to this host alone.
func targetOf(x *gateway.Exchange) string {
	target := x.Request.RequestURI()
	if len(target) > maxTarget {
		target = x.Request.EscapedPath
	}
	if len(target) > maxTarget || !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") || strings.HasPrefix(target, `/\`) {
		return "/"
	}
	return strings.Clone(target)
}

// redirectURI returns where the provider is to send the browser back to; "" when the request does not say which host it is
// for.
func (rp *relyingParty) redirectURI(x *gateway.Exchange) string {
	r := &x.Request
	path := rp.RedirectURI
	switch {
	case path == "" && strings.HasSuffix(r.Path, defaultCallback):
		path = r.EscapedPath
	case path == "":
		path = strings.TrimSuffix(r.EscapedPath, "/") + defaultCallback
	case path[0] != '/':
		return path
	}
	// The gateway says without a port what a trusted proxy may say with one.
	host := r.RawHost
	if told := r.Header.Get("X-Forwarded-Host"); told != "" && told != r.Host {
		host, _, _ = strings.Cut(told, ",")
		host = strings.TrimSpace(host)
	}
	if host == "" {
		return ""
	}
	return firstOf(r.Header.Get("X-Forwarded-Proto"), r.Scheme) + "://" + host + path
}

// login sends the browser to the provider (OpenID Connect Core 1.0 section 3.1.2.1). It comes back to callback and goes on
// to target. A silent login asks nobody anything.
func (rp *relyingParty) login(x *gateway.Exchange, v *visit, s *session, target string, silent bool) gateway.Verdict {
	m, err := rp.provider.describe(v.ctx, x.Start)
	if err == nil {
		err = checkEndpoint(m.Authorization)
	}
	if err != nil {
		return rp.stop(x, http.StatusInternalServerError, "nobody can log in", err)
	}
	uri := rp.redirectURI(x)
	if uri == "" {
		return x.Exit(http.StatusBadRequest, nil)
	}
	l := login{state: random(), target: target, began: x.Start.Unix(), silent: silent}
	params := url.Values{
		"client_id": {rp.ClientID}, "response_type": {"code"}, "scope": {rp.Scope}, "redirect_uri": {uri}, "state": {l.state},
	}
	if rp.UseNonce {
		l.nonce = random()
		params.Set("nonce", l.nonce)
	}
	if rp.UsePKCE {
		l.verifier = random() + random()
		sum := sha256.Sum256([]byte(l.verifier))
		params.Set("code_challenge_method", "S256")
		params.Set("code_challenge", base64.RawURLEncoding.EncodeToString(sum[:]))
	}
	if silent {
		params.Set("prompt", "none")
	}
	for name, value := range rp.AuthorizationParams {
		if number, ok := value.(float64); ok {
			value = strconv.FormatFloat(number, 'f', -1, 64)
		}
		params.Set(name, fmt.Sprint(value))
	}
	if rp.client.dpop != nil {
		params.Set("dpop_jkt", rp.client.dpop.thumbprint)
	}
	if rp.PAR.Enabled {
		if params, err = rp.push(v, m, params); err != nil {
			return rp.stop(x, http.StatusInternalServerError, "nobody can log in", err)
		}
	}
	if s == nil {
		s = newSession(x.Start)
	}
	s.begin(l)
	if err := rp.sessions.save(x, v, s); err != nil {
		return rp.stop(x, http.StatusServiceUnavailable, "a session cannot be saved", err)
	}
	return redirect(x, withQuery(m.Authorization, params))
}

// push hands the parameters to the provider beforehand (RFC 9126) and returns those that stand for them.
func (rp *relyingParty) push(v *visit, m *metadata, params url.Values) (url.Values, error) {
	if v.ctx == nil {
		return nil, errWait
	}
	method := rp.client.parAuth
	if method == "" {
		method = rp.client.tokenMethod(m)
	}
	got, err := rp.client.post(v.ctx, m, firstOf(rp.PAR.Endpoint, m.PAR), method, params, nil)
	if err != nil {
		return nil, fmt.Errorf("accessing pushed authorization request endpoint failed: %w", err)
	}
	if got.status != http.StatusOK && got.status != http.StatusCreated {
		return nil, fmt.Errorf("pushed authorization request: %w", got.failure())
	}
	var told struct {
		RequestURI string `json:"request_uri"`
	}
	if json.Unmarshal(got.body, &told) != nil || told.RequestURI == "" {
		return nil, errors.New("pushed authorization request response did not contain a request_uri")
	}
	return url.Values{"client_id": {rp.ClientID}, "request_uri": {told.RequestURI}}, nil
}

// random returns 128 bits that nobody can guess, as text.
func random() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

func withQuery(address string, params url.Values) string {
	if len(params) == 0 {
		return address
	}
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	return address + separator + params.Encode()
}
