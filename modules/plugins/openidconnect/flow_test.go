// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/plugins/plugintest"
)

// TestLogin: a browser is sent to the provider, logs in, and comes back to the page it wanted; the node is told who it is.
func TestLogin(t *testing.T) {
	provider := newRealProvider(t)
	for what, c := range map[string]struct{ config, callback string }{
		"by default":     {``, "/shop/cart/.apisix/redirect"},
		"PKCE and nonce": {`,"use_pkce":true,"use_nonce":true,"redirect_uri":"/back"`, "/back"},
		"post":           {`,"token_endpoint_auth_method":"client_secret_post","set_refresh_token_header":true,"set_raw_id_token_header":true`, "/shop/cart/.apisix/redirect"},
	} {
		t.Run(what, func(t *testing.T) {
			plugintest.OnEach(t, provider.config(`,"scope":"openid email offline_access"`+c.config), func(s *plugintest.Site) {
				provider.allow(s.URL, c.callback)
				b := newBrowser(s)
				s.Want(b.open("/shop/cart?item=7&x=%2F"), 200, "node", true)
				if last := b.went[len(b.went)-1]; last != s.URL+"/shop/cart?item=7&x=%2F" {
					t.Errorf("came back to %s", last)
				}
				before := provider.times("/authorize")
				s.Want(b.open("/other", "X-Userinfo", "forged", "X-Id-Token", "forged", "X-Raw-ID-Token", "forged", "X-Refresh-Token", "forged"), 200, "node", true)
				if len(b.went) != 0 || provider.times("/authorize") != before {
					t.Errorf("logged in again: %v", b.went)
				}
				for field, want := range map[string]string{"X-Userinfo": `"sub":"id1"`, "X-Id-Token": `"aud":["web"]`} {
					text, err := base64.StdEncoding.DecodeString(s.Saw.Header.Get(field))
					if err != nil || !strings.Contains(string(text), want) {
						t.Errorf("%s: got %q (%v), want %s in it", field, text, err, want)
					}
				}
				if token := s.Saw.Header.Get("X-Access-Token"); strings.Count(token, ".") != 2 {
					t.Errorf("access token %q", token)
				}
				if cookies := s.Saw.Header.Values("Cookie"); len(cookies) > 0 {
					t.Errorf("the node sees the session: %v", cookies)
				}
				told := what == "post"
				if raw, refresh := s.Saw.Header.Get("X-Raw-ID-Token"), s.Saw.Header.Get("X-Refresh-Token"); (strings.Count(raw, ".") == 2) != told || (refresh != "" && refresh != "forged") != told {
					t.Errorf("ID token %q, refresh token %q", raw, refresh)
				}
			})
		})
	}
}
