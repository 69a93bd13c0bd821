// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

// known prepares requests with an access token that has been seen, and a session that needs nothing, of a usual size.
func known(t testing.TB) (bearer, session *plugintest.Exchange, withToken, withCookie func(x *gateway.Exchange)) {
	t.Helper()
	p := newFakeProvider(t)
	more := claims{"name": "Jack Sparrow", "email": "jack@shop.test", "roles": strings.Repeat("role ", 60)}
	token := p.sign(jose.RS256, rsaKey(), "rsa", p.accessClaims(more))
	p.tokens = claims{"access_token": token, "refresh_token": strings.Repeat("r", 200)}
	p.idToken = func(nonce string) string { return p.sign(jose.RS256, rsaKey(), "rsa", merge(p.idClaims(nonce), more)) }
	bearerConfig, loginConfig := p.bearerConfig(`,"use_jwks":true`), p.loginConfig("")
	v := newVisitor(t, bearerConfig)
	if a := v.bearer(token); a.status != 0 {
		t.Fatal(a)
	}
	v = newVisitor(t, loginConfig)
	v.logIn()
	var pairs []string
	for name, value := range v.cookies {
		pairs = append(pairs, name+"="+value)
	}
	cookie := strings.Join(pairs, "; ")
	bearer, session = plugintest.Open(t, bearerConfig), plugintest.Open(t, loginConfig)
	field := "Bearer " + token
	withToken = func(x *gateway.Exchange) { x.Request.Header.Add("Authorization", field) }
	withCookie = func(x *gateway.Exchange) { x.Request.Header.Add("Cookie", cookie) }
	return bearer, session, withToken, withCookie
}

// TestAllocs: a token that is known costs next to nothing.
func TestAllocs(t *testing.T) {
	bearer, session, withToken, withCookie := known(t)
	bearer.WantAllocs(t, gateway.StepForward, 0, withToken)
	session.WantAllocs(t, gateway.StepForward, 20, withCookie)
}

func BenchmarkBearer(b *testing.B) {
	bearer, _, withToken, _ := known(b)
	b.Run("known", func(b *testing.B) { bearer.Bench(b, withToken) })
	p := newFakeProvider(b)
	signed := p.sign(jose.RS256, rsaKey(), "rsa", p.accessClaims(nil))
	verifying := newVisitor(b, p.bearerConfig(`,"use_jwks":true,"jwt_verification_cache_ignore":true`))
	verifying.bearer(signed)
	x := plugintest.Open(b, p.bearerConfig(`,"use_jwks":true,"jwt_verification_cache_ignore":true`))
	b.Run("verified", func(b *testing.B) {
		x.Bench(b, func(x *gateway.Exchange) { x.Request.Header.Add("Authorization", "Bearer "+signed) })
	})
}

func BenchmarkSession(b *testing.B) {
	_, session, _, withCookie := known(b)
	session.Bench(b, withCookie)
}

// BenchmarkPlain is a request that the plugin has nothing to do with, for comparison.
func BenchmarkPlain(b *testing.B) { plugintest.Open(b, `{}`).Bench(b, nil) }
