// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"fmt"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/plugins/plugintest"
)

// TestRealRefresh: an access token that is always expired is renewed with every request, each time with the refresh token
// that the provider gave the time before, which takes each once.
func TestRealRefresh(t *testing.T) {
	p := newRealProvider(t)
	config := p.config(`,"scope":"openid offline_access","redirect_uri":"/back","access_token_expires_leeway":100000,"set_refresh_token_header":true`)
	plugintest.OnEach(t, config, func(s *plugintest.Site) {
		p.allow(s.URL, "/back")
		b := newBrowser(s)
		s.Want(b.open("/page"), 200, "node", true)
		seen := map[string]bool{s.Saw.Header.Get("X-Refresh-Token"): true}
		before := p.times("/authorize")
		for range 3 {
			s.Want(b.open("/page"), 200, "node", true)
			seen[s.Saw.Header.Get("X-Refresh-Token")] = true
		}
		if len(seen) != 4 || p.times("/authorize") != before {
			s.Errorf("%d refresh tokens, %d more logins", len(seen), p.times("/authorize")-before)
		}
	})
}

// TestRealLogout: the browser is logged out here and at the provider, and comes back from there; its tokens are gone.
func TestRealLogout(t *testing.T) {
	p := newRealProvider(t)
	for _, wire := range []string{`,"revoke_tokens_on_logout":true`} {
		plugintest.OnEach(t, p.config(`,"scope":"openid offline_access","redirect_uri":"/back","logout_path":"/bye"`+wire), func(s *plugintest.Site) {
			p.allow(s.URL, "/back")
			b := newBrowser(s)
			s.Want(b.open("/page"), 200, "node", true)
			token := s.Saw.Header.Get("X-Access-Token")
			ended, revoked := p.times("/end_session"), p.times("/revoke")
			s.Want(b.open("/bye"), 200, "bye", false)
			if p.times("/end_session") != ended+1 || p.times("/revoke") != revoked+2 {
				s.Errorf("sessions ended %d, tokens revoked %d", p.times("/end_session")-ended, p.times("/revoke")-revoked)
			}
			before := p.times("/authorize")
			s.Want(b.open("/page"), 200, "node", true)
			if p.times("/authorize") != before+1 {
				s.Error("still logged in")
			}
			if again := s.Saw.Header.Get("X-Access-Token"); again == token || again == "" {
				s.Errorf("access token %q after another login", again)
			}
		})
	}
}

// TestRealTokens: a token of the provider gets in by its keys and by asking it, as long as the provider says so.
func TestRealTokens(t *testing.T) {
	p := newRealProvider(t)
	token := ""
	plugintest.OnEach(t, p.config(`,"redirect_uri":"/back"`), func(s *plugintest.Site) {
		p.allow(s.URL, "/back")
		s.Want(newBrowser(s).open("/page"), 200, "node", true)
		token = s.Saw.Header.Get("X-Access-Token")
	})
	plain := func(more string) string {
		return fmt.Sprintf(`{"openid-connect":{"client_id":%q,"client_secret":%q,"discovery":%q,"bearer_only":true%s}}`, webClient, webSecret, p.discovery(), more+patience)
	}
	for _, more := range []string{`,"use_jwks":true`, ``, `,"use_jwks":true,"claim_validator":{"audience":{"required":true,"match_with_client_id":true}}`} {
		plugintest.OnEach(t, plain(more), func(s *plugintest.Site) {
			for range 2 {
				s.Want(s.Do("GET", "/", "", "Authorization", "Bearer "+token), 200, "node", true)
				if s.Saw.Header.Get("X-Userinfo") == "" || s.Saw.Header.Get("X-Access-Token") != token {
					s.Errorf("the node saw %v", s.Saw.Header)
				}
			}
			got := s.Do("GET", "/", "", "Authorization", "Bearer "+token[:len(token)-8])
			s.Want(got, 401, plugintest.AnyBody, false)
			if !strings.HasPrefix(got.Header.Get("WWW-Authenticate"), `Bearer realm="apisix", error="invalid_token", error_description="`) {
				s.Errorf("got %v", got.Header)
			}
			got = s.Do("HEAD", "/", "")
			s.Want(got, 401, "", false)
			if got.Header.Get("WWW-Authenticate") != `Bearer realm="apisix"` {
				s.Errorf("got %v", got.Header)
			}
		})
	}
	if n := p.times("/oauth/introspect"); n == 0 {
		t.Error("the provider was not asked")
	}
	if n := p.times("/keys"); n != 1 {
		t.Errorf("keys were fetched %d times, want once for all", n)
	}
}

// TestRealProviderDown: who is logged in, or has a token that its keys verify, gets in without it.
func TestRealProviderDown(t *testing.T) {
	p := newRealProvider(t)
	config := p.config(`,"redirect_uri":"/back","use_jwks":true`)
	ran := 0
	plugintest.OnEach(t, config, func(s *plugintest.Site) {
		if ran++; ran > 1 {
			return
		}
		p.allow(s.URL, "/back")
		b := newBrowser(s)
		s.Want(b.open("/page"), 200, "node", true)
		token := s.Saw.Header.Get("X-Access-Token")
		s.Want(s.Do("GET", "/", "", "Authorization", "Bearer "+token), 200, "node", true)
		p.Close()
		s.Want(b.open("/page"), 200, "node", true)
		s.Want(s.Do("GET", "/", "", "Authorization", "Bearer "+token), 200, "node", true)
		if got := s.Do("GET", "/page", ""); got.Status != 302 || !strings.HasPrefix(got.Header.Get("Location"), p.URL) {
			s.Errorf("somebody else: got %d %v", got.Status, got.Header)
		}
	})
}
