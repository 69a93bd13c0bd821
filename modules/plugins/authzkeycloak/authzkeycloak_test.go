// SPDX-License-Identifier: Apache-2.0

package authzkeycloak

import (
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/plugins/plugintest"
)

// plugins returns the config of a route that asks the server, with changes; a nil one is a member less.
func (k *keycloak) plugins(changes map[string]any) string {
	config := map[string]any{"client_id": "course_management", "client_secret": clientSecret, "discovery": k.discoveryURL()}
	maps.Copy(config, changes)
	maps.DeleteFunc(config, func(_ string, value any) bool { return value == nil })
	text, err := json.Marshal(map[string]any{name: config})
	if err != nil {
		panic(err)
	}
	return string(text)
}

type config = map[string]any

const notAuthorized = `{"error":"access_denied","error_description":"not_authorized"}`

func TestPermissions(t *testing.T) {
	k := newKeycloak(t)
	plugintest.OnEach(t, k.plugins(config{"permissions": []string{"r-course#view", "r-admin"}}), func(s *plugintest.Site) {
		as := func(user string) plugintest.Answer {
			return s.Do("GET", "/x", "", "Authorization", "Bearer "+k.tokenOf(user))
		}
		s.Want(as("teacher"), 200, "node", true)
		want := url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:uma-ticket"}, "audience": {"course_management"},
			"response_mode": {"decision"}, "permission": {"r-course#view", "r-admin"},
		}
		if got := k.last().asked; got != want.Encode() {
			t.Errorf("asked %s, want %s", got, want.Encode())
		}
		s.Want(as("student"), 200, "node", true)
		s.Want(as("nobody"), 403, notAuthorized, false)
		s.Want(s.Do("GET", "/x", "", "Authorization", k.tokenOf("teacher")), 200, "node", true)
		s.Want(s.Do("GET", "/x", "", "Authorization", "bEARER "+k.tokenOf("teacher")), 200, "node", true)
		s.Want(s.Do("HEAD", "/x", "", "Authorization", k.tokenOf("nobody")), 403, "", false)
		if s.Do("POST", "/x", "a body", "Authorization", k.tokenOf("teacher")); s.SawBody != "a body" {
			t.Errorf("node: body %q", s.SawBody)
		}
	})
}

// TestTokens: who has none, or not a good one, does not get in, and the server is not asked for those that are none.
func TestTokens(t *testing.T) {
	k := newKeycloak(t)
	good := k.tokenOf("teacher")
	parts := strings.Split(good, ".")
	unsigned := "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + "."
	plugintest.OnEach(t, k.plugins(config{"permissions": []string{"r-admin"}}), func(s *plugintest.Site) {
		missing := `{"message":"Missing JWT token in request"}` + "\n"
		k.count("urn:ietf:params:oauth:grant-type:uma-ticket")
		s.Want(s.Do("GET", "/", ""), 401, missing, false)
		for _, empty := range []string{"", "Bearer", "Bearer ", "bearer   "} {
			s.Want(s.Do("GET", "/", "", "Authorization", empty), 401, missing, false)
		}
		s.Want(s.Do("GET", "/", "", "Authorization", "Bearer "+good, "Authorization", "Bearer "+k.tokenOf("nobody")), 401, missing, false)
		if n := k.count("urn:ietf:params:oauth:grant-type:uma-ticket"); n != 0 {
			t.Errorf("the server was asked %d times", n)
		}
		for what, token := range map[string]string{
			"payload":   parts[0] + "." + k.tokenOf("admin")[len(parts[0])+1:len(parts[0])+3] + parts[1][2:] + "x." + parts[2],
			"signature": good[:len(good)-3] + "AAA",
			"stripped":  parts[0] + "." + parts[1] + ".",
			"none":      unsigned,
			"expired":   k.sign("teacher", time.Now().Add(-time.Hour)),
			"no token":  "teacher",
		} {
			if got := s.Do("GET", "/", "", "Authorization", "Bearer "+token); got.Status != 401 || !strings.Contains(got.Body, "Invalid bearer token") || s.Saw != nil {
				t.Errorf("%s: got %d %q", what, got.Status, got.Body)
			}
		}
	})
}

func TestEnforcement(t *testing.T) {
	k := newKeycloak(t)
	teacher, nobody := "Bearer "+k.tokenOf("teacher"), "Bearer "+k.tokenOf("nobody")
	plugintest.OnEach(t, k.plugins(nil), func(s *plugintest.Site) {
		s.Want(s.Do("GET", "/", "", "Authorization", teacher), 403, notAuthorized, false)
	})
	plugintest.OnEach(t, k.plugins(config{"policy_enforcement_mode": "PERMISSIVE"}), func(s *plugintest.Site) {
		s.Want(s.Do("GET", "/", "", "Authorization", teacher), 200, "node", true)
		s.Want(s.Do("GET", "/", "", "Authorization", nobody), 403, notAuthorized, false)
	})
	redirect := config{"access_denied_redirect_uri": "https://login.test/denied?a=b"}
	plugintest.OnEach(t, k.plugins(redirect), func(s *plugintest.Site) {
		got := s.Do("GET", "/", "", "Authorization", teacher)
		s.Want(got, 307, "", false)
		if got.Header.Get("Location") != "https://login.test/denied?a=b" {
			t.Errorf("client: %v", got.Header)
		}
	})
	redirect["permissions"] = []string{"r-admin"}
	plugintest.OnEach(t, k.plugins(redirect), func(s *plugintest.Site) {
		s.Want(s.Do("GET", "//evil.test/%2e%2e", "", "Authorization", teacher), 200, "node", true)
		got := s.Do("GET", "//evil.test/", "", "Authorization", nobody, "Host", "evil.test")
		s.Want(got, 307, "", false)
		if got.Header.Get("Location") != "https://login.test/denied?a=b" {
			t.Errorf("client: %v", got.Header)
		}
		// Who is not known is not denied.
		s.Want(s.Do("GET", "/", "", "Authorization", "x"), 401, plugintest.AnyBody, false)
	})
}

func TestMethodAsScope(t *testing.T) {
	k := newKeycloak(t)
	plugins := k.plugins(config{"permissions": []string{"r-course", "r-admin#view"}, "http_method_as_scope": true, "discovery": nil, "token_endpoint": k.tokenURL()})
	plugintest.OnEach(t, plugins, func(s *plugintest.Site) {
		teacher, student := "Bearer "+k.tokenOf("teacher"), "Bearer "+k.tokenOf("student")
		for range 2 {
			s.Want(s.Do("DELETE", "/", "", "Authorization", teacher), 200, "node", true)
			if got, _ := url.ParseQuery(k.last().asked); strings.Join(got["permission"], "|") != "r-course#DELETE|r-admin#view, DELETE" {
				t.Errorf("asked for %q", got["permission"])
			}
			s.Want(s.Do("DELETE", "/", "", "Authorization", student), 403, notAuthorized, false)
			s.Want(s.Do("GET", "/", "", "Authorization", student), 200, "node", true)
			s.Want(s.Do("PATCH", "/", "", "Authorization", teacher), 403, notAuthorized, false)
		}
	})
	if n := k.count("discovery"); n != 0 {
		t.Errorf("the discovery document was asked for %d times", n)
	}
}

// TestLazyPaths: the path decides which resources are asked about, in the one spelling that the node is sent.
func TestLazyPaths(t *testing.T) {
	k := newKeycloak(t)
	for _, mode := range []string{"ENFORCING", "PERMISSIVE"} {
		plugins := k.plugins(config{"lazy_load_paths": true, "http_method_as_scope": true, "policy_enforcement_mode": mode})
		plugintest.OnEach(t, plugins, func(s *plugintest.Site) {
			student := []string{"Authorization", "Bearer " + k.tokenOf("student")}
			s.Want(s.Do("GET", "/course/1", "", student...), 200, "node", true)
			s.Want(s.Do("DELETE", "/course/1", "", student...), 403, notAuthorized, false)
			for _, spelling := range []string{
				"/admin/1", "//admin/1", "/%61dmin/1", "/public/../admin/1", "/public/%2e%2e/admin/1", "/admin/1?x=/public/1", "/admin/./1",
				"/x/..//admin/1", "/admin/;x",
			} {
				s.Want(s.Do("GET", spelling, "", student...), 403, notAuthorized, false)
				if lookup := k.last().lookup; !strings.HasPrefix(lookup, "/admin/") {
					t.Errorf("%s: looked up %s", spelling, lookup)
				}
			}
			// To the server this is another path, as it is to the node.
			if got := s.Do("GET", "/admin/1;/", "", student...); s.Saw != nil && s.Saw.URL.EscapedPath() != k.last().lookup || (got.Status == 403) != (mode == "ENFORCING") {
				t.Errorf("got %d, looked up %s", got.Status, k.last().lookup)
			}
			s.Want(s.Do("GET", "/public/..%2fadmin/1", "", student...), 400, plugintest.AnyBody, false)
			if mode == "ENFORCING" {
				s.Want(s.Do("GET", "/other", "", student...), 403, notAuthorized, false)
			} else {
				s.Want(s.Do("GET", "/other", "", "Authorization", k.tokenOf("nobody")), 403, notAuthorized, false)
			}
			s.Want(s.Do("GET", "/public/%41%2f?q=1", "", student...), 200, "node", true)
			if lookup := k.last().lookup; lookup != "/public/A%2F" {
				t.Errorf("looked up %q", lookup)
			}
		})
	}
}

func TestPasswordGrant(t *testing.T) {
	k := newKeycloak(t)
	form := url.Values{"username": {"teacher"}, "password": {"p&=%+ß"}}.Encode()
	plugins := k.plugins(config{
		"permissions": []string{"r-admin"}, "password_grant_token_generation_incoming_uri": "/api/token", "max_req_body_size": 60,
	})
	plugintest.OnEach(t, plugins, func(s *plugintest.Site) {
		ask := func(body string) plugintest.Answer {
			return s.Do("POST", "/api/token", body, "Content-Type", formType)
		}
		got := ask(form)
		var answer tokens
		if err := json.Unmarshal([]byte(got.Body), &answer); got.Status != 200 || err != nil || s.Saw != nil || got.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("got %d %q, %v", got.Status, got.Body, got.Header)
		}
		s.Want(s.Do("GET", "/x", "", "Authorization", "Bearer "+answer.Access), 200, "node", true)
		s.Want(s.Do("POST", "/api/token", form, "Content-Type", "Application/X-WWW-Form-Urlencoded; charset=utf-8"), 200, plugintest.AnyBody, false)
		s.Want(ask("password=x"), 422, `{"message":"username is missing."}`+"\n", false)
		s.Want(ask("username=x"), 422, `{"message":"password is missing."}`+"\n", false)
		s.Want(ask("username=x&password=y&username=teacher"), 422, `{"message":"username is missing."}`+"\n", false)
		s.Want(ask(""), 503, plugintest.AnyBody, false)
		s.Want(ask("username=teacher&password=wrong"), 401, `{"message":"Could not decode JSON from response."}`+"\n", false)
		s.Want(ask(form+strings.Repeat("&", 60)), 413, plugintest.AnyBody, false)
		// Everything else is a request like any other.
		for _, other := range []struct{ method, target, kind string }{
			{"GET", "/api/token", formType}, {"POST", "/api/token?x", formType}, {"POST", "/api/token/", formType}, {"POST", "/api/token", "application/json"},
		} {
			s.Want(s.Do(other.method, other.target, form, "Content-Type", other.kind), 401, `{"message":"Missing JWT token in request"}`+"\n", false)
		}
		long := strings.Repeat("x", 100)
		s.Want(s.Do("POST", "/x", long, "Authorization", k.tokenOf("teacher")), 200, "node", true)
		if s.SawBody != long {
			t.Errorf("node: body %q", s.SawBody)
		}
	})
	k.set(func() { delete(k.document, "token_endpoint") })
	other := k.plugins(config{"password_grant_token_generation_incoming_uri": "/t", "timeout": 4000})
	plugintest.OnEach(t, other, func(s *plugintest.Site) {
		got := s.Do("POST", "/t", form, "Content-Type", formType)
		s.Want(got, 503, `{"message":"Unable to determine token endpoint."}`+"\n", false)
	})
}

// down is the address of a server that is not there.
func down(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return "http://" + l.Addr().String()
}

func TestServerDown(t *testing.T) {
	k := newKeycloak(t)
	teacher := "Bearer " + k.tokenOf("teacher")
	for what, c := range map[string]config{
		"discovery":            {"discovery": down(t), "permissions": []string{"r-admin"}},
		"token endpoint":       {"token_endpoint": down(t), "permissions": []string{"r-admin"}},
		"service account":      {"lazy_load_paths": true, "client_secret": "wrong"},
		"resource endpoint":    {"lazy_load_paths": true, "resource_registration_endpoint": down(t)},
		"no resource endpoint": {"lazy_load_paths": true, "resource_registration_endpoint": k.URL + "/none"},
		"no such document":     {"discovery": k.URL + "/none", "permissions": []string{"r-admin"}},
	} {
		t.Run(what, func(t *testing.T) {
			c["policy_enforcement_mode"] = "PERMISSIVE"
			plugintest.OnEach(t, k.plugins(c), func(s *plugintest.Site) {
				got := s.Do("GET", "/course/1", "", "Authorization", teacher)
				s.Want(got, 500, plugintest.AnyBody, false)
				if strings.Contains(got.Body, "127.0.0.1") || strings.Contains(got.Body, "secret") {
					t.Errorf("the client learns %q", got.Body)
				}
			})
		})
	}
	k.set(func() { k.document = map[string]string{"token_endpoint": "file:///etc/passwd"} })
	plugintest.OnEach(t, k.plugins(config{"permissions": []string{"r-admin"}}), func(s *plugintest.Site) {
		s.Want(s.Do("GET", "/", "", "Authorization", teacher), 500, "Unable to determine token endpoint.", false)
	})
	plugintest.OnEach(t, k.plugins(config{"lazy_load_paths": true}), func(s *plugintest.Site) {
		s.Want(s.Do("GET", "/", "", "Authorization", teacher), 500, "Unable to determine registration endpoint.", false)
	})
	plugintest.OnEach(t, k.plugins(config{"password_grant_token_generation_incoming_uri": "/t", "token_endpoint": down(t)}), func(s *plugintest.Site) {
		got := s.Do("POST", "/t", "username=a&password=b", "Content-Type", formType)
		s.Want(got, 401, `{"message":"Accessing token endpoint URL failed."}`+"\n", false)
	})
}

// TestAnswers: whatever is not a decision lets nobody in.
func TestAnswers(t *testing.T) {
	k := newKeycloak(t)
	plugintest.OnEach(t, k.plugins(config{"permissions": []string{"r-admin"}}), func(s *plugintest.Site) {
		for _, c := range []struct {
			status int
			body   string
			want   int
			says   string
		}{
			{200, `{"result":true}`, 200, "node"},
			{200, `{"result":false}`, 403, notAuthorized},
			{200, `{}`, 503, plugintest.AnyBody},
			{200, `{"result":"true"}`, 503, plugintest.AnyBody},
			{200, `<html>`, 503, plugintest.AnyBody},
			{200, `{"result":true}` + strings.Repeat(" ", maxAnswer), 500, plugintest.AnyBody},
			{204, ``, 503, plugintest.AnyBody},
			{302, ``, 503, plugintest.AnyBody},
			{400, `{"error":"invalid_resource"}`, 400, `{"error":"invalid_resource"}`},
			{401, `{"error":"x"}`, 401, `{"error":"x"}`},
			{403, `{"error":"x"}`, 403, `{"error":"x"}`},
			{403, ``, 403, ``},
			{503, `busy`, 503, `busy`},
		} {
			k.set(func() {
				k.answer = func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", "/elsewhere")
					w.WriteHeader(c.status)
					_, _ = io.WriteString(w, c.body)
				}
			})
			got := s.Do("GET", "/", "", "Authorization", "x")
			s.Want(got, c.want, c.says, c.want == 200)
			if got.Header.Get("Location") != "" {
				t.Errorf("%d: the client is sent to %s", c.status, got.Header.Get("Location"))
			}
		}
		k.set(func() { k.answer = nil })
	})
}

// TestTransport: the options of a config are those of its calls.
func TestTransport(t *testing.T) {
	release := make(chan bool)
	slow := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-release
		}
		_, _ = io.WriteString(w, `{"result":true}`)
	}))
	slow.Config.ErrorLog = nil
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(release) })
	k := newKeycloak(t)
	for what, c := range map[string]struct {
		change config
		want   int
	}{
		"not trusted": {config{"token_endpoint": slow.URL}, 500},
		"unverified":  {config{"token_endpoint": slow.URL, "ssl_verify": false, "keepalive": false, "keepalive_pool": 1, "keepalive_timeout": 1000}, 200},
		"too slow":    {config{"token_endpoint": slow.URL + "/slow", "ssl_verify": false, "timeout": 1000}, 500},
	} {
		c.change["permissions"] = []string{"r-admin"}
		plugintest.OnEach(t, k.plugins(c.change), func(s *plugintest.Site) {
			if what == "too slow" && !strings.HasSuffix(s.Name(), "net/http") {
				return
			}
			s.Want(s.Do("GET", "/", "", "Authorization", "x"), c.want, plugintest.AnyBody, c.want == 200)
		})
	}
}

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"client_id":"c","token_endpoint":"https://a/t","permissions":["r#s"]}`, ""},
		{`{"client_id":"c","discovery":"http://a/d","permissions":[]}`, ""},
		{`{"client_id":"c","discovery":"http://a/d","lazy_load_paths":true}`, ""},
		{`{"client_id":"c","token_endpoint":"http://a/t","lazy_load_paths":true,"resource_registration_endpoint":"http://a/r"}`, ""},
		{`{"client_id":"c"}`, `allOf 1 failed: object matches none of the required: ["discovery"] or ["token_endpoint"]`},
		{`{"token_endpoint":"x"}`, `property "client_id" is required`},
		{`{"client_id":"c","token_endpoint":"http://a/t","lazy_load_paths":true}`, `allOf 2 failed: object matches none of the required`},
		{`{"client_id":"c","discovery":"d","policy_enforcement_mode":"X"}`, `property "policy_enforcement_mode" validation failed: matches none of the enum values`},
		{`{"client_id":"c","discovery":"http://a/d","grant_type":"password"}`, `property "grant_type" validation failed: matches none of the enum values`},
		{`{"client_id":"c","discovery":"http://a/d","permissions":["a","a"]}`, `property "permissions" validation failed`},
		{`{"client_id":"c","discovery":"http://a/d","timeout":999}`, `property "timeout" validation failed: expected 999 to be at least 1000`},
		{`{"client_id":"c","discovery":"d"}`, `property "discovery" validation failed: "d" is not an http or https URL`},
		{`{"client_id":"c","token_endpoint":"ftp://a/"}`, `property "token_endpoint" validation failed: "ftp://a/" is not`},
		{`{"client_id":"c","token_endpoint":"http://a/","resource_registration_endpoint":"http://"}`, `property "resource_registration_endpoint" validation failed: "http://" is not`},
		{`{"client_id":"c","token_endpoint":"http://a/","access_denied_redirect_uri":"/a\nB: c"}`, `property "access_denied_redirect_uri" validation failed: "/a\nB: c" is not a URL`},
	})
}
