// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// TestRefresh: an expired access token is changed for a new one, and what the provider gives along is kept.
func TestRefresh(t *testing.T) {
	p := newFakeProvider(t)
	v := newVisitor(t, p.loginConfig(`,"set_refresh_token_header":true,"access_token_expires_leeway":10,"scope":"openid x"`))
	start := time.Now()
	v.now = start
	v.logIn()
	// It is 300 seconds old with 1 to spare and a leeway of 10.
	v.now = start.Add(288 * time.Second)
	if a := v.get("/page"); a.node.Get("X-Access-Token") != "access-1" {
		t.Errorf("early: got %v", a.node)
	}
	p.change(func() {
		p.tokens = claims{"access_token": "access-2", "refresh_token": "refresh-2"}
		p.idToken = func(string) string {
			return p.sign(jose.RS256, rsaKey(), "rsa", merge(p.idClaims(""), claims{"fresh": true}))
		}
	})
	v.now = start.Add(289 * time.Second)
	a := v.get("/page")
	if a.node.Get("X-Access-Token") != "access-2" || a.node.Get("X-Refresh-Token") != "refresh-2" || !strings.Contains(a.decoded("X-ID-Token"), `"fresh":true`) || len(a.setCookies) == 0 {
		t.Errorf("got %v, cookies %v: %s", a.node, a.setCookies, v.reasons())
	}
	r, n := p.last("/token")
	if n != 2 || r.Form.Get("grant_type") != "refresh_token" || r.Form.Get("refresh_token") != "refresh-1" || r.Form.Get("scope") != "openid x" {
		t.Errorf("%d: %v", n, r.Form)
	}
	if a := v.get("/page"); a.node.Get("X-Access-Token") != "access-2" {
		t.Errorf("again: got %v", a.node)
	}
	if _, n := p.last("/token"); n != 2 {
		t.Errorf("refreshed %d times", n-1)
	}
	// What cannot be refreshed is another login.
	for what, change := range map[string]func(){
		"refused": func() { p.tokenStatus = 400 },
		"somebody else's": func() {
			p.idToken = func(string) string {
				return p.sign(jose.RS256, rsaKey(), "rsa", merge(p.idClaims(""), claims{"sub": "rose"}))
			}
		},
		"bad ID token": func() {
			p.idToken = func(string) string { return p.sign(jose.RS256, otherRSA(), "rsa", p.idClaims("")) }
		},
		"no access token":   func() { p.tokens = claims{"access_token": nil} },
		"no refresh token ": func() { p.tokens = claims{"refresh_token": nil} },
	} {
		p.change(func() { p.tokenStatus, p.idToken, p.tokens = 0, nil, claims{"refresh_token": random()} })
		if what == "no refresh token " {
			p.change(change)
		}
		v := newVisitor(t, p.loginConfig(""))
		v.now = start
		v.logIn()
		p.change(change)
		v.now = start.Add(400 * time.Second)
		if a := v.get("/page"); a.status != 302 || a.location.Path != "/authorize" {
			t.Errorf("%s: got %d %v", what, a.status, a.node)
		}
	}
}

// TestRefreshOnce: of requests that come with one session at once, one asks the provider.
func TestRefreshOnce(t *testing.T) {
	p := newFakeProvider(t)
	config := p.loginConfig("")
	first := newVisitor(t, config)
	start := time.Now()
	first.now = start
	first.logIn()
	p.change(func() { p.tokens = claims{"access_token": "access-2", "refresh_token": "refresh-2"} })
	var all sync.WaitGroup
	for range 8 {
		v := newVisitor(t, config)
		v.now, v.cookies = start.Add(301*time.Second), map[string]string{"session": first.cookies["session"]}
		all.Go(func() {
			if a := v.get("/page"); a.status != 0 || a.node.Get("X-Access-Token") != "access-2" {
				t.Errorf("got %d %v", a.status, a.node)
			}
		})
	}
	all.Wait()
	if _, n := p.last("/token"); n != 2 {
		t.Errorf("refreshed %d times, want once", n-1)
	}
}

// TestExpiredAccessTokens: the fields that say what counts when.
func TestExpiredAccessTokens(t *testing.T) {
	p := newFakeProvider(t)
	start := time.Now()
	for _, c := range []struct {
		config  string
		expires any
		after   int
		want    string
	}{
		{`,"renew_access_token_on_expiry":false`, 300, 400, ""},
		{`,"renew_access_token_on_expiry":false`, 300, 298, "access-1"},
		{`,"renew_access_token_on_expiry":false`, "300", 298, "access-1"},
		{`,"renew_access_token_on_expiry":false`, "300", 299, ""},
		{`,"renew_access_token_on_expiry":false,"access_token_expires_in":50`, nil, 48, "access-1"},
		{`,"renew_access_token_on_expiry":false,"access_token_expires_in":50`, nil, 49, ""},
		{`,"renew_access_token_on_expiry":false`, nil, 899, "access-1"},
	} {
		p.change(func() { p.tokens = claims{"expires_in": c.expires} })
		v := newVisitor(t, p.loginConfig(c.config))
		v.now = start
		v.logIn()
		v.now = start.Add(time.Duration(c.after) * time.Second)
		if a := v.get("/page"); a.status != 0 || a.node.Get("X-Access-Token") != c.want || a.node.Get("X-ID-Token") == "" {
			t.Errorf("%s, %v, after %d: got %d %q, want %q", c.config, c.expires, c.after, a.status, a.node.Get("X-Access-Token"), c.want)
		}
	}
}

// TestSilentLogin: refresh_session_interval asks the provider again, and the user only when the provider wants to.
func TestSilentLogin(t *testing.T) {
	p := newFakeProvider(t)
	v := newVisitor(t, p.loginConfig(`,"refresh_session_interval":60`))
	start := time.Now()
	v.now = start
	v.logIn()
	v.now = start.Add(60 * time.Second)
	if a := v.get("/page"); a.status != 0 {
		t.Fatalf("early: got %d", a.status)
	}
	v.now = start.Add(61 * time.Second)
	q := v.login("/later")
	if q.Get("prompt") != "none" {
		t.Errorf("got %v", q)
	}
	a := v.get("/back?error=login_required&state=" + q.Get("state"))
	if a.status != 302 || a.location.Path != "/authorize" || a.location.Query().Has("prompt") {
		t.Fatalf("got %d %v", a.status, a.location)
	}
	if a := v.back(a.location.Query()); a.location.String() != "/later" {
		t.Errorf("got %v", a.location)
	}
	if a := v.get("/page"); a.status != 0 {
		t.Errorf("got %d", a.status)
	}
}

// TestLogout: the session ends here, and there when the provider has a place for it.
func TestLogout(t *testing.T) {
	p := newFakeProvider(t)
	for _, c := range []struct {
		what, config string
		metadata     claims
		status       int
		want         string
	}{
		{"nowhere to go", ``, nil, 200, ""},
		{"to the config's place", `,"post_logout_redirect_uri":"https://bye.test/x"`, nil, 302, "https://bye.test/x"},
		{"to the provider", ``, claims{"end_session_endpoint": p.URL + "/end?a=b"}, 302, p.URL + "/end?a=b&id_token_hint=ID"},
		{
			"to the provider and back", `,"logout_path":"/bye","post_logout_redirect_uri":"https://bye.test/x"`,
			claims{"end_session_endpoint": p.URL + "/end"},
			302,
			p.URL + "/end?id_token_hint=ID&post_logout_redirect_uri=https%3A%2F%2Fbye.test%2Fx",
		},
	} {
		p.change(func() { p.metadata = c.metadata })
		// A discovery document of its own: those are kept.
		config := strings.Replace(p.loginConfig(c.config+`,"set_raw_id_token_header":true`), "/discovery", "/discovery?"+random(), 1)
		v := newVisitor(t, config)
		v.logIn()
		idToken := v.get("/page").node.Get("X-Raw-ID-Token")
		path := "/logout"
		if strings.Contains(c.config, "logout_path") {
			path = "/bye"
		}
		a := v.get(path + "?x=y")
		if got := strings.Replace(a.header.Get("Location"), idToken, "ID", 1); a.status != c.status || got != c.want {
			t.Errorf("%s: got %d to %q, want %d to %q", c.what, a.status, got, c.status, c.want)
		}
		if c.status == 200 && (a.body != "<html><body>Logged Out</body></html>\n" || a.header.Get("Content-Type") != "text/html") {
			t.Errorf("%s: got %q %v", c.what, a.body, a.header)
		}
		if len(v.cookies) != 0 || v.get("/page").status != 302 {
			t.Errorf("%s: still logged in: %v", c.what, v.cookies)
		}
		if _, n := p.last("/revoke"); n != 0 {
			t.Errorf("%s: tokens were revoked", c.what)
		}
		if a := v.get(path); a.status != c.status || strings.Contains(a.header.Get("Location"), "id_token_hint") {
			t.Errorf("%s: of nobody: got %d %v", c.what, a.status, a.header)
		}
	}
	v := newVisitor(t, p.loginConfig(`,"revoke_tokens_on_logout":true`))
	v.logIn()
	v.get("/logout")
	p.mu.Lock()
	var revoked []string
	for _, r := range p.asked["/revoke"] {
		user, _, _ := r.BasicAuth()
		revoked = append(revoked, r.Form.Get("token_type_hint")+" "+r.Form.Get("token")+" "+user)
	}
	p.mu.Unlock()
	if got := strings.Join(revoked, ", "); got != "refresh_token refresh-1 web, access_token access-1 web" {
		t.Errorf("revoked %s", got)
	}
	down := newFakeProvider(t)
	down.down = true
	if a := newVisitor(t, down.loginConfig("")).get("/logout"); a.status != 503 {
		t.Errorf("provider down: got %d", a.status)
	}
}

// TestProviderDown: what is known counts on; who is unknown stays outside; and all is well when the provider is.
func TestProviderDown(t *testing.T) {
	p := newFakeProvider(t)
	bearer, browser := newVisitor(t, p.bearerConfig(`,"use_jwks":true,"jwk_expires_in":60`)), newVisitor(t, p.loginConfig(""))
	start := time.Now()
	token := func(id int) string {
		return p.sign(jose.RS256, rsaKey(), "rsa", p.accessClaims(claims{"jti": strconv.Itoa(id), "exp": start.Unix() + 1e6}))
	}
	p.change(func() { p.down = true })
	bearer.now, browser.now = start, start
	if a := bearer.bearer(token(0)); a.status != 401 || !strings.Contains(a.header.Get("WWW-Authenticate"), `error_description="it is not known who may have issued the token"`) {
		t.Errorf("never seen: got %d %v", a.status, a.header)
	}
	if a := browser.get("/page"); a.status != 500 {
		t.Errorf("never seen: got %d", a.status)
	}
	p.change(func() { p.down = false })
	if a := bearer.bearer(token(1)); a.status != 0 {
		t.Fatalf("up: got %d %v", a.status, a.header)
	}
	browser.logIn()
	p.change(func() { p.down = true })
	// Keys and the document are too old by then, and both will do.
	for i, after := range []time.Duration{time.Second, 2 * time.Minute, 26 * time.Hour} {
		bearer.now = start.Add(after)
		if a := bearer.bearer(token(2 + i)); a.status != 0 {
			t.Errorf("after %v: got %d %v", after, a.status, a.header)
		}
	}
	_, before := p.last("/keys")
	for i := range 5 {
		bearer.now = start.Add(26*time.Hour + time.Second)
		if a := bearer.bearer(token(10 + i)); a.status != 0 || bearer.waited {
			t.Errorf("right after: got %d %v, waited %v", a.status, a.header, bearer.waited)
		}
	}
	if _, n := p.last("/keys"); n != before {
		t.Errorf("a provider that is down was asked %d more times", n-before)
	}
	browser.now = start.Add(time.Minute)
	if a := browser.get("/page"); a.status != 0 || browser.waited {
		t.Errorf("session: got %d", a.status)
	}
	p.change(func() { p.down = false })
	bearer.now = start.Add(27 * time.Hour)
	if a := bearer.bearer(token(20)); a.status != 0 {
		t.Errorf("up again: got %d %v", a.status, a.header)
	}
	if _, n := p.last("/keys"); n != before+1 {
		t.Errorf("a provider that is up again was asked %d times", n-before)
	}
}

// TestOneAsks: of requests that all want the keys, one fetches them.
func TestOneAsks(t *testing.T) {
	p := newFakeProvider(t)
	config := p.bearerConfig(`,"use_jwks":true`)
	visitors := make([]*visitor, 8)
	for i := range visitors {
		visitors[i] = newVisitor(t, config)
	}
	p.mu.Lock() // nobody is answered before all have begun
	var all sync.WaitGroup
	for i, v := range visitors {
		token := p.sign(jose.RS256, rsaKey(), "rsa", p.accessClaims(claims{"jti": strconv.Itoa(i)}))
		all.Go(func() {
			if a := v.bearer(token); a.status != 0 {
				t.Errorf("got %d %v", a.status, a.header)
			}
		})
	}
	p.mu.Unlock()
	all.Wait()
	for _, path := range []string{"/discovery", "/keys"} {
		if _, n := p.last(path); n != 1 {
			t.Errorf("%s was asked for %d times", path, n)
		}
	}
}

// TestIntrospection: the provider is asked about a token, as often as its answer and the config say.
func TestIntrospection(t *testing.T) {
	p := newFakeProvider(t)
	start := time.Now()
	answers := claims{"active": true, "sub": "jack", "scope": "a b", "exp": start.Unix() + 100, "ttl": 30}
	for _, c := range []struct {
		config string
		answer claims
		// asked is how often it was after requests at 0, 0, 20, 50 and 99 seconds.
		asked int
	}{
		{``, answers, 1},
		{`,"introspection_interval":40`, answers, 3},
		{`,"introspection_expiry_claim":"ttl"`, answers, 3},
		{`,"introspection_expiry_claim":"none"`, answers, 5},
		{``, merge(answers, claims{"exp": nil}), 5},
		{``, merge(answers, claims{"exp": start.Unix() - 1}), 5},
	} {
		p.change(func() { p.introspects = c.answer; delete(p.asked, "/introspect") })
		v := newVisitor(t, p.bearerConfig(c.config))
		token := random()
		for _, after := range []int{0, 0, 20, 50, 99} {
			v.now = start.Add(time.Duration(after) * time.Second)
			if a := v.bearer(token); a.status != 0 || !strings.Contains(a.decoded("X-Userinfo"), `"sub":"jack"`) || a.node.Get("X-Access-Token") != token {
				t.Errorf("%s: got %d %v %v", c.config, a.status, a.header, a.node)
			}
		}
		if _, n := p.last("/introspect"); n != c.asked {
			t.Errorf("%s %v: asked %d times, want %d", c.config, c.answer, n, c.asked)
		}
	}
	v := newVisitor(t, p.bearerConfig(`,"introspection_endpoint":"`+p.URL+`/introspect?x=y","introspection_endpoint_auth_method":"client_secret_post","introspection_addon_headers":["X-Tenant","X-None"]`))
	p.change(func() { p.introspects = answers; delete(p.asked, "/introspect") })
	for _, tenant := range []string{"one", "two", "one"} {
		v.get("/a", "Authorization", "Bearer tok", "X-Tenant", tenant)
	}
	r, n := p.last("/introspect")
	if n != 2 || r.Header.Get("X-Tenant") != "two" || r.Form.Get("token") != "tok" || r.Form.Get("client_secret") != webSecret || r.Form.Get("x") != "y" || r.Header.Get("Authorization") != "" {
		t.Errorf("%d: %v %v", n, r.Header, r.Form)
	}
	for what, c := range map[string]struct {
		change func()
		want   string
	}{
		"inactive":     {func() { p.introspects = claims{"active": false} }, "invalid token"},
		"active text":  {func() { p.introspects = claims{"active": "true"} }, "invalid token"},
		"nothing said": {func() { p.introspects = claims{} }, "invalid token"},
		"down":         {func() { p.down = true }, "the provider cannot be asked"},
	} {
		p.change(func() { p.down = false; c.change() })
		if a := v.bearer(random()); a.status != 401 || !strings.Contains(a.header.Get("WWW-Authenticate"), `error_description="`+c.want+`"`) {
			t.Errorf("%s: got %d %v", what, a.status, a.header)
		}
	}
	p.change(func() { p.down = false })
}

// TestSeededSecrets: what nobody may read is in no log and no answer.
func TestSeededSecrets(t *testing.T) {
	p := newFakeProvider(t)
	seeds := []string{webSecret, secret16, "access-1", "refresh-1", "seeded-code", "seeded-bearer"}
	look := func(what, text string) {
		t.Helper()
		for _, seed := range seeds {
			if strings.Contains(text, seed) {
				t.Errorf("%s: %s in %s", what, seed, text)
			}
		}
	}
	all := func(a answered) string {
		var text strings.Builder
		_ = a.header.Write(&text)
		return text.String() + a.body
	}
	for _, change := range []func(){
		func() { p.tokenStatus = 400 }, func() { p.down = true },
		func() {
			p.metadata = claims{"token_endpoint": "http://127.0.0.1:1/token", "introspection_endpoint": "http://127.0.0.1:1/i"}
		},
	} {
		p.change(func() {
			p.tokenStatus, p.down, p.metadata, p.tokens = 0, false, nil, claims{"refresh_token": "refresh-1" + random()}
		})
		discovery := "/discovery?" + random()
		v := newVisitor(t, strings.Replace(p.loginConfig(`,"introspection_endpoint":"`+p.URL+`/introspect","revoke_tokens_on_logout":true`), "/discovery", discovery, 1))
		start := time.Now()
		v.now = start
		q := v.login("/other")
		v.logIn()
		p.change(change)
		look("callback", all(v.get("/back?code=seeded-code&state="+q.Get("state"))))
		look("introspection", all(v.get("/", "Authorization", "Bearer seeded-bearer")))
		v.now = start.Add(400 * time.Second)
		look("refresh", all(v.get("/page")))
		look("logout", all(v.get("/logout")))
		look("log", v.reasons())
		if v.logs.Len() == 0 {
			t.Error("nothing was logged")
		}
	}
	_, err := proxyAddress("http_proxy", "ftp://user:"+webSecret+"@proxy", "")
	look("error", err.Error())
	_, err = proxyAddress("http_proxy", "http://proxy", "Bearer "+webSecret)
	look("error", err.Error())
}

// TestHeaders: what the node is told, and how.
func TestHeaders(t *testing.T) {
	p := newFakeProvider(t)
	for _, c := range []struct{ config, want string }{
		{``, "X-Access-Token X-Id-Token X-Userinfo"},
		{`,"set_access_token_header":false,"set_id_token_header":false,"set_userinfo_header":false`, ""},
		{`,"access_token_in_authorization_header":true`, "Authorization X-Id-Token X-Userinfo"},
		{`,"set_refresh_token_header":true,"set_raw_id_token_header":true`, "X-Access-Token X-Id-Token X-Raw-Id-Token X-Refresh-Token X-Userinfo"},
	} {
		v := newVisitor(t, p.loginConfig(c.config))
		v.logIn()
		var got []string
		node := v.get("/page", "Authorization", "Digest x").node
		for _, name := range []string{"Authorization", "X-Access-Token", "X-Id-Token", "X-Raw-Id-Token", "X-Refresh-Token", "X-Userinfo"} {
			if value := node.Get(name); value != "" && value != "Digest x" {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v, want %s", c.config, got, c.want)
		}
		if strings.Contains(c.config, "in_authorization") && node.Get("Authorization") != "Bearer access-1" {
			t.Errorf("got %v", node)
		}
	}
	// A token beside a session: the token counts, and the node sees no session.
	both := newVisitor(t, p.loginConfig(`,"use_jwks":true`))
	both.logIn()
	beside := both.bearer(p.sign(jose.RS256, rsaKey(), "rsa", p.accessClaims(claims{"sub": "rose"})))
	if beside.status != 0 || !strings.Contains(beside.user, "rose") || beside.node.Get("X-ID-Token") != "" || beside.node.Get("Cookie") != "" {
		t.Errorf("got %d %v", beside.status, beside.node)
	}
	// Either way of bringing a token, not both.
	token := p.sign(jose.RS256, rsaKey(), "rsa", p.accessClaims(nil))
	v := newVisitor(t, p.bearerConfig(`,"use_jwks":true,"access_token_in_authorization_header":true`))
	for what, c := range map[string]struct {
		fields []string
		want   int
	}{
		"Authorization":       {[]string{"Authorization", "bEARER " + token}, 0},
		"X-Access-Token":      {[]string{"X-Access-Token", token}, 0},
		"other scheme":        {[]string{"Authorization", "Basic eA=="}, 401},
		"one word":            {[]string{"Authorization", "Bearer"}, 400},
		"twice":               {[]string{"Authorization", "Bearer " + token, "Authorization", "Bearer x"}, 400},
		"scheme and token":    {[]string{"Authorization", "Basic eA==", "X-Access-Token", token}, 401},
		"X-Access-Token, bad": {[]string{"X-Access-Token", "x"}, 401},
		"another spelling":    {[]string{"X_Access_Token", token}, 401},
	} {
		a := v.get("/", c.fields...)
		if a.status != c.want || c.want == 0 && (a.node.Get("Authorization") != "Bearer "+token || a.node.Get("X-Access-Token") != "") {
			t.Errorf("%s: got %d %v", what, a.status, a.node)
		}
	}
}
