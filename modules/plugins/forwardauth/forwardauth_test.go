// SPDX-License-Identifier: Apache-2.0

package forwardauth

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/plugins/plugintest"
)

// service is an auth service: X-User decides. It notes what it was asked.
type service struct {
	*httptest.Server
	asked *http.Request
	body  string
}

func newService(t *testing.T) *service {
	t.Helper()
	s := new(service)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.asked, s.body = r, string(body)
		switch r.Header.Get("X-User") {
		case "jack":
			w.Header().Set("X-Role", "pirate")
			w.Header().Set("X-Secret", "kept")
			w.WriteHeader(http.StatusAccepted)
		case "moved":
			w.Header().Set("Location", "https://login.test/")
			w.WriteHeader(http.StatusFound)
		case "chatty":
			io.WriteString(w, strings.Repeat("x", maxAnswer+1))
		default:
			w.Header().Add("WWW-Authenticate", "Custom")
			w.Header().Set("X-Secret", "kept")
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, "who are you?")
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestAllowed(t *testing.T) {
	auth := newService(t)
	config := fmt.Sprintf(`{"forward-auth":{"uri":"%s/check?a=b","request_headers":["X-User","X-List"],"upstream_headers":["x-role","X-Gone"],
		"extra_headers":{"x-method":"$request_method of $arg_q"}}}`, auth.URL)
	plugintest.OnEach(t, config, func(s *plugintest.Site) {
		got := s.Do("POST", "/a//b%41?q=1&r=2", "the body", "Host", "Shop.test:8080", "X-User", "jack", "X-List", "1", "X-List", "2",
			"X-Role", "admin", "X_Role", "admin", "X-Gone", "here", "X-Forwarded-Uri", "/forged", "Cookie", "secret")
		s.Want(got, 200, "node", true)
		if auth.asked.Method != "GET" || auth.asked.URL.String() != "/check?a=b" || auth.body != "" {
			t.Errorf("service: %s %s %q", auth.asked.Method, auth.asked.URL, auth.body)
		}
		for name, want := range map[string]string{
			"X-User": "jack", "X-List": "1,2", "X-Method": "POST of 1", "Cookie": "",
			"X-Forwarded-Proto": "http", "X-Forwarded-Method": "POST", "X-Forwarded-Host": "shop.test",
			"X-Forwarded-Uri": "/a/bA?q=1&r=2", "X-Forwarded-For": "127.0.0.1",
		} {
			if got := strings.Join(auth.asked.Header.Values(name), ","); got != want {
				t.Errorf("service: %s: got %q, want %q", name, got, want)
			}
		}
		if s.Saw.Header.Get("X-Role") != "pirate" || len(s.Saw.Header.Values("X-Gone")) > 0 || len(s.Saw.Header.Values("X-Secret")) > 0 {
			t.Errorf("node: %v", s.Saw.Header)
		}
		if s.SawBody != "the body" {
			t.Errorf("node: body %q", s.SawBody)
		}
	})
}

func TestRefused(t *testing.T) {
	auth := newService(t)
	config := fmt.Sprintf(`{"forward-auth":{"uri":%q,"request_headers":["X-User"],"client_headers":["WWW-Authenticate","Location","X-None"]}}`, auth.URL)
	plugintest.OnEach(t, config, func(s *plugintest.Site) {
		got := s.Do("GET", "/", "")
		s.Want(got, 401, "who are you?", false)
		if got.Header.Get("WWW-Authenticate") != "Custom" || got.Header.Get("X-Secret") != "" {
			t.Errorf("client: %v", got.Header)
		}
		got = s.Do("GET", "/", "", "X-User", "moved")
		s.Want(got, 302, "", false)
		if got.Header.Get("Location") != "https://login.test/" {
			t.Errorf("client: %v", got.Header)
		}
		// An answer that has no end is none.
		s.Want(s.Do("GET", "/", "", "X-User", "chatty"), 403, plugintest.AnyBody, false)
		s.Want(s.Do("HEAD", "/", ""), 401, "", false)
	})
}

func TestBody(t *testing.T) {
	auth := newService(t)
	config := fmt.Sprintf(`{"forward-auth":{"uri":%q,"request_method":"POST","request_headers":["X-User"],"max_req_body_size":8,
		"extra_headers":{"X-Size":"$post_arg.size"}}}`, auth.URL)
	plugintest.OnEach(t, config, func(s *plugintest.Site) {
		got := s.Do("PUT", "/", "12345678", "X-User", "jack", "Content-Encoding", "x-none", "Content-Type", "text/plain")
		s.Want(got, 200, "node", true)
		if auth.body != "12345678" || auth.asked.Method != "POST" || auth.asked.Header.Get("Content-Encoding") != "x-none" || s.SawBody != "12345678" {
			t.Errorf("service: %s %q, node: %q", auth.asked.Method, auth.body, s.SawBody)
		}
		got = s.Do("PUT", "/", "size=40", "X-User", "jack", "Content-Type", "application/x-www-form-urlencoded")
		s.Want(got, 200, "node", true)
		if size := auth.asked.Header.Get("X-Size"); size != "40" {
			t.Errorf("service: X-Size %q", size)
		}
		s.Want(s.Do("PUT", "/", "123456789", "X-User", "jack"), 413, plugintest.AnyBody, false)
		s.Want(s.Do("GET", "/", "", "X-User", "jack"), 200, "node", true)
	})
}

func TestServiceDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	config := func(more string) string {
		return fmt.Sprintf(`{"forward-auth":{"uri":"http://%s/","upstream_headers":["X-Role"]%s}}`, l.Addr(), more)
	}
	plugintest.OnEach(t, config(""), func(s *plugintest.Site) { s.Want(s.Do("GET", "/", ""), 403, plugintest.AnyBody, false) })
	plugintest.OnEach(t, config(`,"status_on_error":503`), func(s *plugintest.Site) {
		s.Want(s.Do("GET", "/", ""), 503, plugintest.AnyBody, false)
	})
	plugintest.OnEach(t, config(`,"allow_degradation":true`), func(s *plugintest.Site) {
		s.Want(s.Do("GET", "/", "", "X-Role", "admin"), 200, "node", true)
		if role := s.Saw.Header.Get("X-Role"); role != "" {
			t.Errorf("a client speaks for the service: %q", role)
		}
	})
}

func TestServiceSlow(t *testing.T) {
	release := make(chan bool)
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { close(release) })
	plugintest.OnEach(t, fmt.Sprintf(`{"forward-auth":{"uri":%q,"timeout":30}}`, slow.URL), func(s *plugintest.Site) {
		s.Want(s.Do("GET", "/", ""), 403, plugintest.AnyBody, false)
	})
}

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"uri":"http://a/"}`, ""},
		{`{}`, `property "uri" is required`},
		{`{"uri":"a/"}`, `property "uri" validation failed: "a/" is not an http or https URL`},
		{`{"uri":"http://a/","request_method":"PUT"}`, `property "request_method" validation failed`},
		{`{"uri":"http://a/","extra_headers":{}}`, `property "extra_headers" validation failed`},
		{`{"uri":"http://a/","status_on_error":600}`, `property "status_on_error" validation failed`},
	})
}
