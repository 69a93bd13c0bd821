// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// TestAuthorizationRequest: what the provider is asked, and what the token endpoint is told.
func TestAuthorizationRequest(t *testing.T) {
	p := newFakeProvider(t)
	v := newVisitor(t, p.loginConfig(`,"scope":"openid email","use_pkce":true,"authorization_params":{"ui_locales":"de","max_age":12345678}`))
	v.https = true
	a := v.get("/page?x=1")
	if a.status != 302 || !strings.HasPrefix(a.location.String(), p.URL+"/authorize?") || a.header.Get("Cache-Control") != "no-cache, no-store, max-age=0" {
		t.Fatalf("got %d %v", a.status, a.header)
	}
	q := a.location.Query()
	for name, want := range map[string]string{
		"client_id": "web", "response_type": "code", "scope": "openid email", "redirect_uri": "https://shop.test:8080/back",
		"code_challenge_method": "S256", "ui_locales": "de", "max_age": "12345678",
	} {
		if q.Get(name) != want {
			t.Errorf("%s: got %q, want %q", name, q.Get(name), want)
		}
	}
	if len(q.Get("state")) != 32 || len(q.Get("nonce")) != 32 || q.Has("prompt") {
		t.Errorf("got %v", q)
	}
	if len(a.setCookies) != 1 || !strings.HasSuffix(a.setCookies[0], "; Path=/; SameSite=Lax; HttpOnly; Secure") {
		t.Errorf("cookies %q", a.setCookies)
	}
	if a := v.back(q); a.status != 302 || a.location.String() != "/page?x=1" {
		t.Fatalf("got %d %v: %s", a.status, a.location, v.reasons())
	}
	r, _ := p.last("/token")
	user, password, _ := r.BasicAuth()
	if user != "web" || password != webSecret || r.Form.Get("grant_type") != "authorization_code" ||
		r.Form.Get("redirect_uri") != q.Get("redirect_uri") || r.Form.Has("client_secret") {
		t.Errorf("token endpoint: %v %v", r.Header, r.Form)
	}
	sum := sha256.Sum256([]byte(r.Form.Get("code_verifier")))
	if base64.RawURLEncoding.EncodeToString(sum[:]) != q.Get("code_challenge") {
		t.Errorf("verifier %q is not that of challenge %q", r.Form.Get("code_verifier"), q.Get("code_challenge"))
	}
	if r, _ := p.last("/userinfo"); r.Header.Get("Authorization") != "Bearer access-1" {
		t.Errorf("userinfo: %v", r.Header)
	}
	a = v.get("/page", "X-Access-Token", "forged", "X_Userinfo", "forged", "x-id_token", "forged")
	if a.status != 0 || a.node.Get("X-Access-Token") != "access-1" || a.decoded("X-Userinfo") != `{"name":"Jack","sub":"jack"}` ||
		!strings.Contains(a.decoded("X-ID-Token"), `"aud":"web"`) || a.user != `{"name":"Jack","sub":"jack"}` || v.waited {
		t.Errorf("got %d %v, waited %v", a.status, a.node, v.waited)
	}
	for name, values := range a.node {
		if strings.Contains(strings.Join(values, " "), "forged") || len(values) > 1 || name == "Cookie" {
			t.Errorf("the node saw %s: %q", name, values)
		}
	}
}

// TestIDTokens: whoever would log in with a bad ID token does not. An empty reason logs in.
func TestIDTokens(t *testing.T) {
	p := newFakeProvider(t)
	now := time.Now().Unix()
	sign := func(more claims) func(string) string {
		return func(nonce string) string {
			return p.sign(jose.RS256, rsaKey(), "rsa", merge(p.idClaims(nonce), more))
		}
	}
	unsigned := func(nonce string) string {
		body := strings.Split(sign(nil)(nonce), ".")[1]
		return encode(`{"alg":"none"}`) + "." + body + "."
	}
	for _, c := range []struct {
		what   string
		token  func(nonce string) string
		config string
		want   string
	}{
		{"as it should be", sign(nil), "", ""},
		{"list of audiences", sign(claims{"aud": []string{"other", "web"}, "azp": "web"}), "", ""},
		{"expired, within the slack", sign(claims{"exp": now - 100}), "", ""},
		{"ES256", func(n string) string { return p.sign(jose.ES256, ecKey(), "ec", p.idClaims(n)) }, "", ""},
		{"HS256 with the client's secret", func(n string) string { return p.sign(jose.HS256, []byte(webSecret), "", p.idClaims(n)) }, "", ""},
		{"by public_key", sign(nil), `,"public_key":` + quoted(publicPEM(&rsaKey().PublicKey)), ""},
		{"none, where that is accepted", unsigned, `,"accept_none_alg":true`, ""},

		{"by another public_key", sign(nil), `,"public_key":` + quoted(publicPEM(&otherRSA().PublicKey)), "signature verification failed"},
		{"none", unsigned, "", "unexpected algorithm"},
		{"none for another client", func(n string) string { return encode(`{"alg":"none"}`) + "." + encode(`{"iss":"x"}`) + "." }, `,"accept_none_alg":true`, "another issuer"},
		{"none with a signature", func(n string) string { return unsigned(n) + "xx" }, `,"accept_none_alg":true`, "unexpected algorithm"},
		{"other nonce", func(string) string { return sign(nil)("other") }, "", "nonce is not equal"},
		{"no nonce", sign(claims{"nonce": nil}), "", "nonce is not equal"},
		{"other issuer", sign(claims{"iss": "https://evil.test"}), "", "another issuer"},
		{"other audience", sign(claims{"aud": "other"}), "", "audience does not match"},
		{"no audience", sign(claims{"aud": nil}), "", "audience does not match"},
		{"made for another", sign(claims{"aud": []string{"web", "other"}, "azp": "other"}), "", "made for another client"},
		{"no subject", sign(claims{"sub": nil}), "", `no \"sub\" claim`},
		{"expired", sign(claims{"exp": now - 130}), "", "JWT expired"},
		{"no expiry", sign(claims{"exp": nil}), "", `no \"exp\" claim`},
		{"no slack", sign(claims{"exp": now - 10}), `,"iat_slack":0`, "JWT expired"},
		{"from the future", sign(claims{"iat": now + 200}), "", "not valid yet"},
		{"no time", sign(claims{"iat": nil}), "", `no \"iat\" claim`},
		{"not valid yet", sign(claims{"nbf": now + 200}), "", "not valid yet"},
		{"somebody else's key", func(n string) string { return p.sign(jose.RS256, otherRSA(), "rsa", p.idClaims(n)) }, "", "signature verification failed"},
		{"public key as HMAC key", func(n string) string {
			return forge(publicPEM(&rsaKey().PublicKey), `{"alg":"HS256"}`, string(payloadOf(sign(nil)(n))))
		}, "", "signature verification failed"},
		{"algorithm that the provider does not say", func(n string) string { return p.sign(jose.PS256, rsaKey(), "", p.idClaims(n)) }, "", "unexpected algorithm"},
		{"stripped", func(n string) string { s := sign(nil)(n); return s[:strings.LastIndexByte(s, '.')+1] }, "", "signature verification failed"},
		{"none at all", func(string) string { return "" }, "", "invalid jwt"},
	} {
		p.change(func() { p.idToken = c.token })
		v := newVisitor(t, p.loginConfig(c.config))
		a := v.back(v.login("/page"))
		if c.want == "" {
			if a.status != 302 || v.get("/page").status != 0 {
				t.Errorf("%s: got %d: %s", c.what, a.status, v.reasons())
			}
			continue
		}
		if a.status != 500 || !strings.Contains(v.reasons(), c.want) {
			t.Errorf("%s: got %d, want 500 as %s: %s", c.what, a.status, c.want, v.reasons())
		}
		if again := v.get("/page"); again.status != 302 || again.location.Path != "/authorize" {
			t.Errorf("%s: somebody got in", c.what)
		}
	}
}

// TestCallbacks: answers to logins that are none.
func TestCallbacks(t *testing.T) {
	p := newFakeProvider(t)
	v := newVisitor(t, p.loginConfig(""))
	if a := v.get("/back?code=x&state=y"); a.status != 500 || !strings.Contains(v.reasons(), "no session state found") {
		t.Errorf("nobody began: got %d: %s", a.status, v.reasons())
	}
	for _, bad := range []string{"/back", "/back?code=x", "/back?state=%s", "/back?error=access_denied&state=%s", "/back?code=x&state=%s&state=%[1]s", "/back?code=&state=%s"} {
		q := v.login("/page")
		if a := v.get(strings.ReplaceAll(strings.ReplaceAll(bad, "%s", q.Get("state")), "%[1]s", q.Get("state"))); a.status != 500 {
			t.Errorf("%s: got %d", bad, a.status)
		}
	}
	for argument, value := range map[string]string{"iss": "https://evil.test", "client_id": "other"} {
		q := v.login("/page")
		a := v.get("/back?" + url.Values{"code": {q.Get("nonce")}, "state": {q.Get("state")}, argument: {value}}.Encode())
		if a.status != 500 || !strings.Contains(v.reasons(), argument+" from argument does not match") {
			t.Errorf("%s: got %d: %s", argument, a.status, v.reasons())
		}
	}
	if _, n := p.last("/token"); n != 0 {
		t.Errorf("the token endpoint was asked %d times", n)
	}
	p.change(func() { p.tokenStatus = 400 })
	if a := v.back(v.login("/page")); a.status != 500 || !strings.Contains(v.reasons(), "status=400, error=invalid_grant") {
		t.Errorf("got %d: %s", a.status, v.reasons())
	}
}

// TestStates: a state is for the browser that began, once, and for a while.
func TestStates(t *testing.T) {
	p := newFakeProvider(t)
	config := p.loginConfig("")
	victim, attacker := newVisitor(t, config), newVisitor(t, config)
	q := attacker.login("/evil")
	victim.login("/page")
	// A login that another browser began leads back to the start, not in; and not for ever.
	for i := range maxRestarts + 1 {
		a := victim.back(q)
		if want := i < maxRestarts; (a.status == 302 && a.location.String() == "/page") != want || !want && a.status != 500 {
			t.Errorf("%d: got %d to %v", i, a.status, a.location)
		}
	}
	if _, n := p.last("/token"); n != 0 {
		t.Fatalf("the token endpoint was asked")
	}
	victim.logIn()
	// Several logins at once end each where it began, in any order.
	v := newVisitor(t, config)
	first, second := v.login("/1"), v.login("/2")
	if a := v.back(second); a.location.String() != "/2" {
		t.Errorf("got %v", a.location)
	}
	if a := v.back(first); a.location.String() != "/1" {
		t.Errorf("got %v", a.location)
	}
	_, before := p.last("/token")
	if a := v.back(first); a.status != 302 || a.location.String() != "/2" {
		t.Errorf("replayed: got %d to %v", a.status, a.location)
	}
	if _, n := p.last("/token"); n != before {
		t.Error("a state counted twice")
	}
	v = newVisitor(t, config)
	v.now = time.Now()
	q = v.login("/late")
	v.now = v.now.Add((loginLife + 1) * time.Second)
	if a := v.back(q); a.status != 302 || a.location.String() != "/late" || len(a.location.Query()) > 0 {
		t.Errorf("too late: got %d to %v", a.status, a.location)
	}
	// However many are begun, the cookie stays small.
	for range 40 {
		v.login("/" + strings.Repeat("x", 900))
	}
	if len(v.cookies) > 2 {
		t.Errorf("%d cookies", len(v.cookies))
	}
}

// TestTargets: a login leads back to this host.
func TestTargets(t *testing.T) {
	p := newFakeProvider(t)
	for target, want := range map[string]string{
		"/a?b=c":                          "/a?b=c",
		"//evil.test/x":                   "/evil.test/x",
		"///evil.test":                    "/evil.test",
		"/%5Cevil.test":                   "/%5Cevil.test",
		"/%2Fevil.test":                   "/%2Fevil.test",
		"/x/..//evil.test":                "/evil.test",
		"http://evil.test/x":              "/x",
		"/a?u=http://evil.test":           "/a?u=http://evil.test",
		"/a?" + strings.Repeat("x", 3000): "/a",
		"/" + strings.Repeat("x", 3000):   "/",
	} {
		v := newVisitor(t, p.loginConfig(""))
		if a := v.back(v.login(target)); a.header.Get("Location") != want {
			t.Errorf("%.40s: came back to %q, want %q", target, a.header.Get("Location"), want)
		}
	}
}

// TestRedirectURI: where the provider is to send browsers back to.
func TestRedirectURI(t *testing.T) {
	p := newFakeProvider(t)
	session := `,"session":{"secret":"` + secret16 + `"}`
	for _, c := range []struct{ config, target, want string }{
		{``, "/a/b", "http://shop.test:8080/a/b/.apisix/redirect"},
		{``, "/a/", "http://shop.test:8080/a/.apisix/redirect"},
		{``, "/", "http://shop.test:8080/.apisix/redirect"},
		{``, "/%C3%A9?x=1", "http://shop.test:8080/%C3%A9/.apisix/redirect"},
		{`,"redirect_uri":"/cb"`, "/a", "http://shop.test:8080/cb"},
		{`,"redirect_uri":"https://public.test/x/cb"`, "/a", "https://public.test/x/cb"},
	} {
		v := newVisitor(t, p.config(c.config+session))
		if got := v.login(c.target).Get("redirect_uri"); got != c.want {
			t.Errorf("%s%s: got %q, want %q", c.target, c.config, got, c.want)
		}
	}
	v := newVisitor(t, p.config(session))
	if a := v.get("/a", "Host", ""); a.status != 400 {
		t.Errorf("no host: got %d", a.status)
	}
	v = newVisitor(t, p.config(`,"redirect_uri":"https://public.test"`+session))
	v.login("/a")
	if a := v.get("/?code=x&state=y"); a.status != 302 {
		t.Errorf("an address without a path has taken the path /: got %d", a.status)
	}
}

// TestUnauthAction: what becomes of nobody.
func TestUnauthAction(t *testing.T) {
	p := newFakeProvider(t)
	v := newVisitor(t, p.loginConfig(`,"unauth_action":"deny"`))
	if a := v.get("/"); a.status != 401 || a.header.Get("WWW-Authenticate") != "" || len(a.setCookies) > 0 {
		t.Errorf("deny: got %d %v", a.status, a.header)
	}
	v = newVisitor(t, p.loginConfig(`,"unauth_action":"pass"`))
	a := v.get("/", "X-Access-Token", "forged", "X-Userinfo", "forged")
	if a.status != 0 || a.node.Get("X-Access-Token") != "" || a.node.Get("X-Userinfo") != "" || a.user != "" {
		t.Errorf("pass: got %d %v", a.status, a.node)
	}
	// A session that is over is no more the node's than one that counts; what is not a session may be the node's own.
	begun := newVisitor(t, p.loginConfig(""))
	begun.login("/page")
	v.cookies = begun.cookies
	if a := v.get("/", "Cookie", "a=b"); a.status != 0 || strings.Join(a.node.Values("Cookie"), "; ") != "a=b" {
		t.Errorf("pass: the node saw %q", a.node.Values("Cookie"))
	}
	v.cookies = map[string]string{"session": "1own"}
	if a := v.get("/"); a.node.Get("Cookie") != "session=1own" {
		t.Errorf("pass: the node saw %q", a.node.Values("Cookie"))
	}
}

// TestProviderSaysNothing: a login that cannot be begun.
func TestProviderSaysNothing(t *testing.T) {
	for what, change := range map[string]func(p *fakeProvider){
		"down":                      func(p *fakeProvider) { p.down = true },
		"no issuer":                 func(p *fakeProvider) { p.metadata = claims{"issuer": nil} },
		"no authorization endpoint": func(p *fakeProvider) { p.metadata = claims{"authorization_endpoint": nil} },
		"a script":                  func(p *fakeProvider) { p.metadata = claims{"authorization_endpoint": "javascript:alert(1)"} },
		"not a document":            func(p *fakeProvider) { p.metadata = claims{"issuer": 7} },
	} {
		p := newFakeProvider(t)
		change(p)
		v := newVisitor(t, p.loginConfig(""))
		if a := v.get("/"); a.status != 500 || len(a.setCookies) > 0 {
			t.Errorf("%s: got %d %v", what, a.status, a.header)
		}
	}
}
