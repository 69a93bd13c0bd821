// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTamperedCookies: a session counts as it was written, for the client and provider it was made for, and for nobody else.
func TestTamperedCookies(t *testing.T) {
	p := newFakeProvider(t)
	v := newVisitor(t, p.loginConfig(`,"unauth_action":"deny"`))
	inviting := newVisitor(t, p.loginConfig(""))
	inviting.logIn()
	good := inviting.cookies["session"]
	try := func(what, value string, want int) {
		t.Helper()
		v.cookies = map[string]string{"session": value}
		if a := v.get("/page"); a.status != want {
			t.Errorf("%s: got %d, want %d", what, a.status, want)
		}
	}
	// The session is for the same client, provider and secret, whatever else the config says.
	try("as it should be", good, 0)
	for i := 0; i < len(good); i += 7 {
		changed := []byte(good)
		changed[i] ^= 1
		try("a bit changed", string(changed), 401)
	}
	try("cut", good[:len(good)-1], 401)
	try("longer", good+"AAAA", 401)
	try("half", good[:len(good)/2], 401)
	try("empty", "", 401)
	try("one character", "1", 401)
	try("too many parts", "9"+good[1:], 401)
	try("no number", "x"+good[1:], 401)
	try("plain JSON", `1{"authenticated":true}`, 401)
	for what, config := range map[string]string{
		"another secret":   strings.Replace(p.loginConfig(""), secret16, "another-secret-of-16", 1),
		"another client":   strings.Replace(p.loginConfig(""), `"client_id":"web"`, `"client_id":"other"`, 1),
		"another provider": strings.Replace(p.loginConfig(""), "/discovery", "/discovery?other", 1),
		"another storage":  strings.Replace(p.loginConfig(""), `"session":{`, `"session":{"storage":"redis","redis":{"port":1},`, 1),
	} {
		other := newVisitor(t, config)
		other.cookies = maps.Clone(inviting.cookies)
		if a := other.get("/page"); a.status == 0 {
			t.Errorf("%s: got in", what)
		}
	}
	// A login that was begun is no login.
	begun := newVisitor(t, p.loginConfig(""))
	begun.login("/page")
	try("begun", begun.cookies["session"], 401)
}

// TestTimeouts: sessions end, each of the three ways, and using one prolongs it.
func TestTimeouts(t *testing.T) {
	p := newFakeProvider(t)
	p.tokens = claims{"expires_in": 1 << 30}
	start := time.Now()
	for _, c := range []struct {
		what, session string
		// at lists when requests are made, in seconds; the last one is refused.
		at []int
	}{
		{"idle by default", ``, []int{1, 800, 1600, 2501}},
		{"idle", `,"idling_timeout":100`, []int{90, 180, 270, 371}},
		{"not renewed", `,"idling_timeout":0,"rolling_timeout":100`, []int{10, 80, 170, 271}},
		{"renewed too late", `,"idling_timeout":0,"rolling_timeout":100`, []int{10, 101}},
		{"absolute", `,"idling_timeout":0,"rolling_timeout":0,"absolute_timeout":1000`, []int{10, 999, 1000}},
		{"older name", `,"idling_timeout":0,"rolling_timeout":0,"cookie":{"lifetime":50}`, []int{10, 49, 50}},
		{"no bound but the absolute one", `,"idling_timeout":0,"rolling_timeout":-1`, []int{80000, 86400}},
	} {
		config := strings.Replace(p.loginConfig(`,"iat_slack":100000`), `"`+secret16+`"`, `"`+secret16+`"`+c.session, 1)
		v := newVisitor(t, config)
		v.now = start
		v.logIn()
		for i, at := range c.at {
			v.now = start.Add(time.Duration(at) * time.Second)
			if got := v.get("/page").status; (got == 0) != (i < len(c.at)-1) {
				t.Errorf("%s: after %d s: got %d", c.what, at, got)
			}
		}
	}
	// What is used all the time is not written all the time.
	v := newVisitor(t, p.loginConfig(""))
	v.now = start
	v.logIn()
	written := 0
	for i := range 120 {
		v.now = start.Add(time.Duration(i) * time.Second)
		written += len(v.get("/page").setCookies)
	}
	if written != 1 {
		t.Errorf("cookies were set %d times within 2 minutes, want once", written)
	}
}

// TestLargeSessions: a session takes as many cookies as it needs, and gives them back.
func TestLargeSessions(t *testing.T) {
	p := newFakeProvider(t)
	v := newVisitor(t, p.loginConfig(`,"set_refresh_token_header":true`))
	for _, c := range []struct{ size, cookies int }{{2000, 1}, {9000, 4}, {5000, 2}, {10, 1}, {30000, 0}} {
		token := strings.Repeat("r", c.size)
		p.change(func() { p.tokens = claims{"refresh_token": token} })
		for name := range v.cookies {
			// Another login, while the cookies from before are there.
			if name == "session" {
				v.cookies[name] = "1"
			}
		}
		a := v.back(v.login("/page"))
		if c.cookies == 0 {
			if a.status != 503 || !strings.Contains(v.reasons(), "redis") {
				t.Errorf("too large: got %d: %s", a.status, v.reasons())
			}
			continue
		}
		for _, line := range a.setCookies {
			if pair, _, _ := strings.Cut(line, ";"); len(pair) > 4096 {
				t.Errorf("%d bytes: a cookie of %d bytes", c.size, len(pair))
			}
		}
		if len(v.cookies) != c.cookies {
			t.Errorf("%d bytes: %d cookies, want %d: %v", c.size, len(v.cookies), c.cookies, slices.Collect(maps.Keys(v.cookies)))
		}
		if got := v.get("/page", "Cookie", "a=b"); got.node.Get("X-Refresh-Token") != token || !reflect.DeepEqual(got.node.Values("Cookie"), []string{"a=b"}) {
			t.Errorf("%d bytes: the node saw cookies %q and %d bytes of the token", c.size, got.node.Values("Cookie"), len(got.node.Get("X-Refresh-Token")))
		}
	}
}

// TestCookieAttributes: each of the fields that say how the cookie is.
func TestCookieAttributes(t *testing.T) {
	p := newFakeProvider(t)
	for _, c := range []struct {
		session string
		https   bool
		want    string
	}{
		{``, false, "session=1; Path=/; SameSite=Lax; HttpOnly"},
		{`,"cookie_secure":false`, true, "session=1; Path=/; SameSite=Lax; HttpOnly"},
		{`,"cookie_secure":true`, false, "session=1; Path=/; SameSite=Lax; HttpOnly; Secure"},
		{
			`,"cookie_name":"sid","cookie_path":"/shop","cookie_domain":"shop.test","cookie_http_only":false,"cookie_same_site":"Strict"`, false,
			"sid=1; Path=/shop; Domain=shop.test; SameSite=Strict",
		},
		{`,"cookie_same_site":"None"`, true, "session=1; Path=/; SameSite=None; HttpOnly; Secure"},
		{`,"cookie_same_site":"Default"`, false, "session=1; Path=/; HttpOnly"},
	} {
		v := newVisitor(t, strings.Replace(p.loginConfig(""), `"`+secret16+`"`, `"`+secret16+`"`+c.session, 1))
		v.https = c.https
		lines := v.get("/page").setCookies
		if len(lines) != 1 {
			t.Fatalf("%s: %q", c.session, lines)
		}
		pair, attributes, _ := strings.Cut(lines[0], ";")
		name, _, _ := strings.Cut(pair, "=")
		if got := name + "=1;" + attributes; got != c.want {
			t.Errorf("%s: got %q, want %q", c.session, got, c.want)
		}
	}
}

// TestLoggedInAnew: who logs in is nobody's continuation.
func TestLoggedInAnew(t *testing.T) {
	p := newFakeProvider(t)
	v := newVisitor(t, p.loginConfig(`,"set_refresh_token_header":true`))
	q := v.login("/page")
	v.logIn()
	p.change(func() {
		p.user, p.tokens = claims{"sub": "somebody else"}, claims{"refresh_token": nil}
	})
	v.back(q)
	a := v.get("/page")
	if a.node.Get("X-Refresh-Token") != "" || a.node.Get("X-Userinfo") != "" {
		t.Errorf("what was the one's before is the other's: %v", a.node)
	}
	if !strings.Contains(v.reasons(), `\"sub\" claim in id_token is not equal`) || !strings.Contains(a.user, `"sub":"jack"`) {
		t.Errorf("userinfo about somebody else was taken: %s, %s", a.user, v.reasons())
	}
}

func TestSessionCodec(t *testing.T) {
	s := &session{
		created: 1, renewed: -2, used: 1 << 40, authenticated: true, loggedIn: 5, accessExpires: 6, restarts: 2,
		accessToken: "access", refreshToken: "refresh", idToken: "id", user: "{}", nonce: "n", resume: "/",
		logins: []login{{"s1", "n1", "v1", "/1", 7, true}, {"s2", "", "", "/2", 8, false}},
	}
	encoded := s.encode()
	got, err := decodeSession(encoded)
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("got %+v (%v), want %+v", got, err, s)
	}
	for n := range encoded {
		if _, err := decodeSession(encoded[:n]); err == nil {
			t.Errorf("%d of %d bytes are a session", n, len(encoded))
		}
	}
}

func FuzzDecodeSession(f *testing.F) {
	f.Add((&session{authenticated: true, accessToken: "a", logins: []login{{state: "s"}}}).encode())
	f.Add([]byte{})
	f.Add([]byte{codecVersion, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeSession(b)
		if err != nil {
			return
		}
		again, err := decodeSession(s.encode())
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%q: got %+v (%v), want %+v", b, again, err, s)
		}
	})
}
