// SPDX-License-Identifier: Apache-2.0

package casauth

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

const secret = "0123456789abcdef0123456789abcdef"

// plugins returns the config of a route.
func plugins(server, callback, cookie string) string {
	return fmt.Sprintf(`{"cas-auth":{"idp_uri":%q,"cas_callback_uri":%q,"logout_uri":"/logout","max_req_body_size":1000,"cookie":{"secret":%q%s}}}`,
		server, callback, secret, cookie)
}

// browser keeps the cookies of one user, as name=value, and follows no redirect.
type browser struct {
	*plugintest.Site
	cookies map[string]string
}

func newBrowser(s *plugintest.Site) *browser { return &browser{s, map[string]string{}} }

func (b *browser) do(method, target, body string, fields ...string) plugintest.Answer {
	b.Helper()
	var pairs []string
	for name, value := range b.cookies {
		pairs = append(pairs, name+"="+value)
	}
	if len(pairs) > 0 {
		fields = append(fields, "Cookie", strings.Join(pairs, "; "))
	}
	got := b.Do(method, target, body, fields...)
	for _, cookie := range (&http.Response{Header: got.Header}).Cookies() {
		if cookie.MaxAge < 0 {
			delete(b.cookies, cookie.Name)
			continue
		}
		b.cookies[cookie.Name] = cookie.Value
	}
	return got
}

// session returns the session's cookie, and its name.
func (b *browser) session() (name, value string) {
	for name, value := range b.cookies {
		if strings.HasPrefix(name, "CAS_SESSION_") {
			return name, value
		}
	}
	return "", ""
}

// logIn sends a browser through the whole login, from a target to the answer that it is after, and returns the target of
// the callback.
func (b *browser) logIn(target string) (callback string) {
	b.Helper()
	got := b.do("GET", target, "")
	b.Want(got, 302, "", false)
	at := b.atServer(got)
	callback = strings.TrimPrefix(at, b.URL)
	back := b.do("GET", callback, "")
	b.Want(back, 302, "", false)
	if to := back.Header.Get("Location"); !strings.HasPrefix(to, "/") || back.Header.Get("Cache-Control") != "no-store" {
		b.Errorf("sent to %q, %v", to, back.Header)
	}
	b.Want(b.do("GET", back.Header.Get("Location"), ""), 200, "node", true)
	return callback
}

// atServer follows a redirect to the server, and returns where that sends the browser.
func (b *browser) atServer(got plugintest.Answer) string {
	b.Helper()
	res, err := http.DefaultTransport.RoundTrip(must(http.NewRequest("GET", got.Header.Get("Location"), nil)))
	if err != nil {
		b.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != 302 {
		b.Fatalf("%s: status %d", got.Header.Get("Location"), res.StatusCode)
	}
	return res.Header.Get("Location")
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestLogin(t *testing.T) {
	c := newCAS(t)
	plugintest.OnEach(t, plugins(c.URL+"/cas", "/callback", ""), func(s *plugintest.Site) {
		b := newBrowser(s)
		got := b.do("POST", "/a//%7Eb?q=1&r=/x", "")
		s.Want(got, 302, "", false)
		service := s.URL + "/callback"
		if want := c.URL + "/cas/login?service=" + url.QueryEscape(service); got.Header.Get("Location") != want {
			t.Errorf("sent to %s, want %s", got.Header.Get("Location"), want)
		}
		if set := got.Header.Values("Set-Cookie"); len(set) != 1 || !strings.HasPrefix(set[0], "CAS_REQUEST_URI=") || !strings.HasSuffix(set[0], "; Path=/; HttpOnly; Secure; SameSite=Lax") {
			t.Errorf("cookies %q", set)
		}
		at := b.atServer(got)
		back := b.do("GET", strings.TrimPrefix(at, s.URL), "")
		s.Want(back, 302, "", false)
		if to := back.Header.Get("Location"); to != "/a/~b?q=1&r=/x" {
			t.Errorf("sent to %s", to)
		}
		if len(back.Header.Values("Set-Cookie")) != 2 || len(b.cookies) != 1 {
			t.Errorf("cookies %q", back.Header.Values("Set-Cookie"))
		}
		name, value := b.session()
		ticket := must(url.Parse(at)).Query().Get("ticket")
		if len(value) != 32 || strings.Contains(value, ticket) {
			t.Errorf("session %q", value)
		}
		c.asked()
		for _, method := range []string{"GET", "POST", "HEAD"} {
			s.Want(b.do(method, "/a", ""), 200, plugintest.AnyBody, true)
		}
		if s.Saw.Header.Get("X-Consumer-Username") != "" || c.asked() != 0 {
			t.Errorf("node: %v", s.Saw.Header)
		}
		// The same ticket again, by whoever has seen it.
		thief := newBrowser(s)
		thief.do("GET", "/a", "")
		s.Want(thief.do("GET", strings.TrimPrefix(at, s.URL), ""), 401, `{"message":"invalid ticket"}`+"\n", false)
		s.Want(s.Do("GET", "/a", "", "Cookie", name+"="+ticket), 302, "", false)
	})
}

func TestAbsoluteCallback(t *testing.T) {
	c := newCAS(t)
	config := plugins(c.URL+"/cas/", "https://app.test/base/cb?x=1", `,"secure":true,"samesite":"None"`)
	plugintest.OnEach(t, config, func(s *plugintest.Site) {
		b := newBrowser(s)
		got := b.do("GET", "/a", "", "Host", "evil.test")
		if want := c.URL + "/cas/login?service=" + url.QueryEscape("https://app.test/base/cb?x=1"); got.Header.Get("Location") != want {
			t.Errorf("sent to %s, want %s", got.Header.Get("Location"), want)
		}
		if set := got.Header.Get("Set-Cookie"); !strings.HasSuffix(set, "; Path=/; HttpOnly; Secure; SameSite=None") {
			t.Errorf("cookie %q", set)
		}
		at := must(url.Parse(b.atServer(got)))
		s.Want(b.do("GET", "/base/./cb?"+at.RawQuery, ""), 302, "", false)
		s.Want(b.do("GET", "/a", ""), 200, "node", true)
	})
	plugintest.OnEach(t, plugins(c.URL+"/cas", "http://app.test", `,"secure":false`), func(s *plugintest.Site) {
		b := newBrowser(s)
		got := b.do("GET", "/a", "")
		if set := got.Header.Get("Set-Cookie"); !strings.HasSuffix(set, "; Path=/; HttpOnly; SameSite=Lax") {
			t.Errorf("cookie %q", set)
		}
		at := must(url.Parse(b.atServer(got)))
		s.Want(b.do("GET", "/?"+at.RawQuery, ""), 302, "", false)
	})
}

// TestCallbackAttacks: nobody gets a session but with a ticket that the server takes, and nobody is sent off the site.
func TestCallbackAttacks(t *testing.T) {
	c := newCAS(t)
	config := plugins(c.URL+"/cas", "/callback", "")
	a := compiled(t, config)
	plugintest.OnEach(t, config, func(s *plugintest.Site) {
		service := s.URL + "/callback"
		call := func(query, state string) plugintest.Answer {
			return s.Do("GET", "/callback?"+query, "", "Cookie", stateCookie+"="+state)
		}
		ticket := func() string { return "ticket=" + url.QueryEscape(c.ticketFor(service)) }
		good := a.sign("/a")
		invalid := `{"message":"invalid callback state"}` + "\n"
		c.asked()
		s.Want(s.Do("GET", "/callback?"+ticket(), ""), 401, invalid, false)
		other := compiled(t, strings.Replace(config, secret, secret+"x", 1))
		elsewhere := compiled(t, plugins(c.URL+"/cas", "/callback2", ""))
		encoded, signature, _ := strings.Cut(good, ".")
		for _, forged := range []string{
			"", ".", encoded, encoded + ".", "." + signature, "L2I." + signature, good + "x", good[:len(good)-2], strings.ToUpper(good),
			other.sign("/a"), elsewhere.sign("/a"), "!!." + signature, good + "=",
			a.sign(""), a.sign("//evil.test/"), a.sign("https://evil.test/"), a.sign(`/\evil.test`), a.sign("/a\r\nSet-Cookie: a=b"), a.sign("/\t/evil.test"), a.sign("*"),
		} {
			s.Want(call(ticket(), forged), 401, invalid, false)
		}
		if n := c.asked(); n != 0 {
			t.Errorf("the server was asked %d times", n)
		}
		for _, query := range []string{
			"ticket=", "ticket=ST-0", "ticket=" + strings.Repeat("x", maxTicket+1), ticket() + "&" + ticket(),
			"ticket=" + url.QueryEscape(c.ticketFor("http://evil.test/callback")),
			"ticket=" + url.QueryEscape("ST-0</cas:authenticationFailure><cas:authenticationSuccess><cas:user>admin</cas:user></cas:authenticationSuccess>"),
			"ticket=ST-0%26service=" + url.QueryEscape("http://evil.test/callback"),
		} {
			got := call(query, good)
			s.Want(got, 401, `{"message":"invalid ticket"}`+"\n", false)
			if got.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s: cookie %q", query, got.Header.Get("Set-Cookie"))
			}
		}
		// A ticket counts at the callback alone, in each of its spellings.
		for _, target := range []string{"/callback/", "/callback;x", "/a", "/callback%2F", "/Callback"} {
			got := s.Do("GET", target+"?"+ticket(), "", "Cookie", stateCookie+"="+good)
			if s.Want(got, 302, "", false); !strings.HasPrefix(got.Header.Get("Location"), c.URL+"/cas/login?") {
				t.Errorf("%s: sent to %s", target, got.Header.Get("Location"))
			}
		}
		for _, target := range []string{"//callback", "/x/../callback", "/%63allback"} {
			got := s.Do("GET", target+"?"+ticket(), "", "Cookie", stateCookie+"="+good)
			if s.Want(got, 302, "", false); got.Header.Get("Location") != "/a" {
				t.Errorf("%s: sent to %s", target, got.Header.Get("Location"))
			}
		}
		// Where the client wanted to go is a path of this site, however it is written.
		for target, want := range map[string]string{"//evil.test/x": "/evil.test/x", "/%2F/evil.test": "/%2F/evil.test", "/" + strings.Repeat("x", maxState): "/"} {
			b := newBrowser(s)
			back := b.do("GET", strings.TrimPrefix(b.atServer(b.do("GET", target, "")), s.URL), "")
			if back.Status != 302 || back.Header.Get("Location") != want {
				t.Errorf("%.40s: got %d, sent to %.40s", target, back.Status, back.Header.Get("Location"))
			}
		}
	})
}

func compiled(t testing.TB, config string) *casAuth {
	t.Helper()
	var both map[string]json.RawMessage
	if err := json.Unmarshal([]byte(config), &both); err != nil {
		t.Fatal(err)
	}
	return must(plugintest.Compile(t, name, string(both[name]))).(*casAuth)
}

// TestSessionAttacks: a session is one that this gateway began, for this server and this callback.
func TestSessionAttacks(t *testing.T) {
	c := newCAS(t)
	config := plugins(c.URL+"/cas", "/callback", "")
	other := gateway.Object{Kind: gateway.Routes, ID: "other", Value: json.RawMessage(
		`{"id":"other","uri":"/other/*","plugins":` + plugins(c.URL+"/cas", "/other/callback", "") + `,"upstream":{"nodes":{"127.0.0.1:1":1}}}`,
	)}
	elsewhere := compiled(t, plugins(c.URL+"/cas", "/other/callback", ""))
	plugintest.OnEach(t, config, func(s *plugintest.Site) {
		b := newBrowser(s)
		b.logIn("/a")
		name, good := b.session()
		flipped := "0" + good[1:]
		if flipped == good {
			flipped = "1" + good[1:]
		}
		for _, cookie := range []string{
			name + "=", name + "=deleted", name + "=" + flipped, name + "=" + good[:31], name + "=" + good + "0", name + "=" + strings.ToUpper(good) + "g",
			name + "=" + strings.Repeat("0", 32),
		} {
			got := s.Do("GET", "/a", "", "Cookie", cookie)
			s.Want(got, 302, "", false)
			if set := got.Header.Values("Set-Cookie"); len(set) != 2 || set[0] != name+"=deleted; Max-Age=0; Path=/; HttpOnly; Secure; SameSite=Lax" {
				t.Errorf("%s: cookies %q", cookie, set)
			}
		}
		for _, cookie := range []string{strings.ToLower(name) + "=" + good, "x" + name + "=" + good, "CAS_SESSION=" + good} {
			s.Want(s.Do("GET", "/a", "", "Cookie", cookie), 302, "", false)
		}
		s.Want(s.Do("GET", "/other/x", "", "Cookie", elsewhere.sessionCookie+"="+good), 302, "", false)
		s.Want(s.Do("GET", "/a", "", "Cookie", "a=b; "+name+"="+good), 200, "node", true)
	}, other)
}

func TestLogout(t *testing.T) {
	c := newCAS(t)
	plugintest.OnEach(t, plugins(c.URL+"/cas", "/callback", ""), func(s *plugintest.Site) {
		b := newBrowser(s)
		s.Want(b.do("GET", "/logout", ""), 401, plugintest.AnyBody, false)
		b.logIn("/a")
		name, value := b.session()
		s.Want(b.do("POST", "/logout", ""), 200, "node", true)
		s.Want(b.do("GET", "/logout/", ""), 200, "node", true)
		got := b.do("GET", "/%6cogout?service=http://evil.test/", "")
		s.Want(got, 302, "", false)
		if to := got.Header.Get("Location"); to != c.URL+"/cas/logout" || len(b.cookies) != 0 {
			t.Errorf("sent to %s, cookies %v", to, b.cookies)
		}
		s.Want(s.Do("GET", "/a", "", "Cookie", name+"="+value), 302, "", false)
		s.Want(s.Do("GET", "/logout", "", "Cookie", name+"="+value), 302, "", false)
	})
}

// TestLoggedOutElsewhere: the server says whose session is over.
func TestLoggedOutElsewhere(t *testing.T) {
	c := newCAS(t)
	const form = "application/x-www-form-urlencoded"
	plugintest.OnEach(t, plugins(c.URL+"/cas", "/callback", ""), func(s *plugintest.Site) {
		post := func(kind, body string) plugintest.Answer {
			return s.Do("POST", "/callback", body, "Content-Type", kind)
		}
		for _, write := range []func(ticket string) plugintest.Answer{
			func(ticket string) plugintest.Answer {
				return post(form, url.Values{"logoutRequest": {logoutMessage(ticket)}}.Encode())
			},
			func(ticket string) plugintest.Answer { return post("text/xml", logoutMessage(ticket)) },
			func(ticket string) plugintest.Answer {
				return post("", "<samlp:SessionIndex>"+escaped(ticket)+"</samlp:SessionIndex>")
			},
		} {
			b, stays := newBrowser(s), newBrowser(s)
			callback := b.logIn("/a")
			stays.logIn("/a")
			ticket := must(url.Parse(callback)).Query().Get("ticket")
			s.Want(write(ticket+"x"), 200, "", false)
			s.Want(b.do("GET", "/a", ""), 200, "node", true)
			s.Want(write(ticket), 200, "", false)
			s.Want(b.do("GET", "/a", ""), 302, "", false)
			s.Want(stays.do("GET", "/a", ""), 200, "node", true)
		}
		none := `{"message":"invalid logout request from IdP, no ticket"}` + "\n"
		for _, body := range []string{"", "x", "logoutRequest=", "logoutRequest=%3Ca%3E", "<a/>", "<samlp:SessionIndex>", "<SessionIndex></SessionIndex>", "<!DOCTYPE x [<!ENTITY y SYSTEM \"file:///etc/passwd\">]><SessionIndex>&y"} {
			s.Want(post(form, body), 400, none, false)
		}
		s.Want(post(form, strings.Repeat("x", 1001)), 413, plugintest.AnyBody, false)
		b := newBrowser(s)
		b.logIn("/a")
		long := strings.Repeat("x", 2000)
		if s.Want(b.do("POST", "/callback2", long), 200, "node", true); s.SawBody != long {
			t.Errorf("node: %d bytes", len(s.SawBody))
		}
	})
}

func TestServerFails(t *testing.T) {
	c := newCAS(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	config := plugins(c.URL+"/cas", "/callback", "")
	state := stateCookie + "=" + compiled(t, config).sign("/a")
	invalid := `{"message":"invalid ticket"}` + "\n"
	plugintest.OnEach(t, config, func(s *plugintest.Site) {
		for i, answer := range []http.HandlerFunc{
			says(500, fmt.Sprintf(success, "jack")), says(302, ""), says(200, ""), says(200, "<html>"), says(200, fmt.Sprintf(success, " ")),
			says(200, "yes\njack\n"), says(200, fmt.Sprintf(success, "a</cas:user><cas:user>b")),
			says(200, `<x>`+fmt.Sprintf(success, "jack")+`</x>`), says(200, fmt.Sprintf(success, "jack")[:60]),
			says(200, `<cas:serviceResponse xmlns:cas="c"><cas:authenticationFailure>x</cas:authenticationFailure>`+
				`<cas:authenticationSuccess><cas:user>jack</cas:user></cas:authenticationSuccess></cas:serviceResponse>`),
			says(200, `<cas:serviceResponse xmlns:cas="c"><!-- <cas:authenticationSuccess><cas:user>jack</cas:user></cas:authenticationSuccess> --></cas:serviceResponse>`),
			says(200, `<cas:serviceResponse xmlns:cas="c"><cas:user>jack</cas:user></cas:serviceResponse>`),
			says(200, fmt.Sprintf(success, "jack"+strings.Repeat(" ", maxAnswer))),
		} {
			c.set(func() { c.answer = answer })
			got := s.Do("GET", fmt.Sprintf("/callback?ticket=ST-%d", i), "", "Cookie", state)
			s.Want(got, 401, invalid, false)
			if got.Header.Get("Location")+got.Header.Get("Set-Cookie") != "" {
				t.Errorf("answer %d: %v", i, got.Header)
			}
		}
		c.set(func() {
			c.answer = says(200, `<serviceResponse><authenticationSuccess><user>jack</user></authenticationSuccess></serviceResponse>`)
		})
		s.Want(s.Do("GET", "/callback?ticket="+url.QueryEscape("plain"+s.Name()), "", "Cookie", state), 302, "", false)
		c.set(func() { c.answer = nil })
	})
	config = plugins("http://"+l.Addr().String(), "/callback", "")
	state = stateCookie + "=" + compiled(t, config).sign("/a")
	plugintest.OnEach(t, config, func(s *plugintest.Site) {
		s.Want(s.Do("GET", "/callback?ticket=ST-1", "", "Cookie", state), 401, invalid, false)
	})
}

func TestSessionsLast(t *testing.T) {
	s := newStore(10)
	start := time.Unix(1e9, 0)
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	cookie, ok := s.begin("ST-1", "t", start)
	if !ok {
		t.Fatal("no session")
	}
	for _, c := range []struct {
		minute int
		want   bool
	}{{59, true}, {118, true}, {178, false}} {
		if got := s.use(cookie, "t", at(c.minute)); got != c.want {
			t.Errorf("minute %d: got %v, want %v", c.minute, got, c.want)
		}
	}
	if s.use(cookie, "other", at(118)) {
		t.Error("the session counts for another server")
	}
	if _, ok := s.begin("ST-1", "t", at(118)); ok {
		t.Error("a ticket begins two sessions")
	}
	if _, ok := s.begin("ST-1", "other", at(178)); !ok {
		t.Error("a ticket of another server begins none")
	}
	if len(s.sessions) != 1 || len(s.tickets) != 1 {
		t.Errorf("%d sessions and %d tickets are left, want what has not run out", len(s.sessions), len(s.tickets))
	}
}

// TestSessionsAreBounded: when there are too many, those go that were used least recently.
func TestSessionsAreBounded(t *testing.T) {
	s := newStore(32)
	now := time.Unix(1e9, 0)
	first, _ := s.begin("first", "t", now)
	var last string
	for i := range 1000 {
		now = now.Add(time.Second)
		last, _ = s.begin(fmt.Sprint(i), "t", now)
		if !s.use(first, "t", now) || !s.use(last, "t", now) {
			t.Fatalf("after %d: a session that is in use has gone", i)
		}
		if len(s.sessions) > 32 || len(s.sessions) != len(s.tickets) || i > 32 && len(s.sessions) < 29 {
			t.Fatalf("after %d: %d sessions, %d tickets", i, len(s.sessions), len(s.tickets))
		}
	}
}

// open returns an exchange of a route, and a way to give it a session.
func open(t testing.TB) (*plugintest.Exchange, func(x *gateway.Exchange)) {
	config := plugins("https://cas.test", "/callback", "")
	a := compiled(t, config)
	cookie, ok := sessions.begin(t.Name()+time.Now().String(), a.trust, time.Now())
	if !ok {
		t.Fatal("no session")
	}
	field := "a=b; " + a.sessionCookie + "=" + cookie
	return plugintest.Open(t, config), func(x *gateway.Exchange) { x.Request.Header.Add("Cookie", field) }
}

func TestAllocs(t *testing.T) {
	x, prepare := open(t)
	x.WantAllocs(t, gateway.StepForward, 0, prepare)
}

func BenchmarkCASAuth(b *testing.B) {
	x, prepare := open(b)
	x.Bench(b, prepare)
}

func TestConfigs(t *testing.T) {
	with := func(change, to string) string {
		return strings.Replace(`{"idp_uri":"https://cas.test/cas","cas_callback_uri":"/cb","logout_uri":"/out","cookie":{"secret":"`+secret+`"}}`, change, to, 1)
	}
	plugintest.Check(t, name, []plugintest.Config{
		{with("", ""), ""},
		{with("/cb", "https://app.test"), ""},
		{with(`"}}`, `","samesite":"None"}}`), ""},
		{`{}`, `property "cas_callback_uri" is required`},
		{with(secret, secret[1:]), `property "cookie" validation failed: property "secret" validation failed: string too short, expected at least 32, got 31`},
		{with(`"}}`, `","samesite":"Strict"}}`), `property "cookie" validation failed: property "samesite" validation failed: matches none of the enum values`},
		{with(`"}}`, `","samesite":"None","secure":false}}`), `cookie.secure must be true when cookie.samesite is "None"`},
		{with("https://cas.test/cas", "cas.test"), `property "idp_uri" validation failed: "cas.test" is not an http or https URL`},
		{with("/cb", "cb"), `property "cas_callback_uri" validation failed: "cb" is neither a path nor an http or https URL`},
		{with("/cb", `/cb\r\nX: y`), `property "cas_callback_uri" validation failed: `},
		{with("/out", "out"), `property "logout_uri" validation failed: "out" is not a path`},
		{with(`"}}`, `"},"max_req_body_size":0}`), `property "max_req_body_size" validation failed: expected 0 to be at least 1`},
	})
}
