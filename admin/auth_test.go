// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net/http"
	"strings"
	"testing"
)

func withKeys(c *Config) {
	c.Keys = []Key{{Name: "a", Key: "secret"}, {Name: "b", Key: "look", Role: "viewer"}}
}

func TestAuthorization(t *testing.T) {
	const (
		missing = `{"error_msg":"failed to check token","description":"missing apikey"}` + "\n"
		wrong   = `{"error_msg":"failed to check token","description":"wrong apikey"}` + "\n"
		viewer  = `{"error_msg":"failed to check token","description":"invalid method for role viewer"}` + "\n"
	)
	a := newAPI(t, withKeys)
	for _, c := range []struct {
		name, method, path string
		header             []string
		status             int
		body               string
	}{
		{"no key", "GET", "/routes", nil, 401, missing},
		{"before the path is looked at", "GET", "/nothing", nil, 401, missing},
		{"before plugins", "GET", "/plugins/list", nil, 401, missing},
		{"wrong key", "GET", "/routes", []string{"X-API-KEY", "secreT"}, 401, wrong},
		{"empty key", "GET", "/routes", []string{"X-API-KEY", ""}, 401, wrong},
		{"prefix of a key", "GET", "/routes", []string{"X-API-KEY", "secre"}, 401, wrong},
		{"header", "GET", "/routes", []string{"X-API-KEY", "secret"}, 200, ""},
		{"query", "GET", "/routes?api_key=secret", nil, 200, ""},
		{"query before header", "GET", "/routes?api_key=x", []string{"X-API-KEY", "secret"}, 401, wrong},
		{"cookie", "GET", "/routes", []string{"Cookie", "x_api_key=secret"}, 200, ""},
		{"header before cookie", "GET", "/routes", []string{"Cookie", "x_api_key=secret", "X-API-KEY", "x"}, 401, wrong},
		{"viewer may look", "GET", "/routes", []string{"X-API-KEY", "look"}, 200, ""},
		{"viewer may not write", "DELETE", "/routes/1", []string{"X-API-KEY", "look"}, 401, viewer},
		{"viewer may not validate", "POST", "/schema/validate/routes", []string{"X-API-KEY", "look"}, 401, viewer},
		{"ping needs no key", "HEAD", "", nil, 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := a.call(c.method, prefix+c.path, "", c.header...)
			if w.Code != c.status || c.body != "" && w.Body.String() != c.body {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, c.status, c.body)
			}
		})
	}
}

func TestOptionalKey(t *testing.T) {
	a := newAPI(t, withKeys, func(c *Config) { c.KeyOptional = true })
	if w := a.call("GET", prefix+"/routes", ""); w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
	if w := a.call("GET", prefix+"/routes", "", "Host", "evil.example"); w.Code != 403 {
		t.Errorf("an unknown host: got %d", w.Code)
	}
}

func TestKeysThatOpenTooMuch(t *testing.T) {
	for _, key := range []Key{{Name: "a"}, {Name: "b", Key: "k", Role: "veiwer"}} {
		if _, err := hashKeys([]Key{key}); err == nil || !strings.Contains(err.Error(), key.Name) {
			t.Errorf("%+v: got %v", key, err)
		}
	}
}

// Without a key the API must not do what another site makes a browser ask for.
func TestBrowsers(t *testing.T) {
	a := newAPI(t, func(c *Config) {
		c.Hosts, c.Origins = []string{"Gateway.example"}, []string{"https://ui.example"}
	})
	for _, c := range []struct {
		name, method string
		header       []string
		status       int
	}{
		{"no browser", "PUT", nil, 200},
		{"loopback address", "PUT", []string{"Host", "127.0.0.2:9180"}, 200},
		{"IPv6 loopback", "PUT", []string{"Host", "[::1]:9180"}, 200},
		{"IPv6 without port", "PUT", []string{"Host", "[::1]"}, 200},
		{"configured host", "PUT", []string{"Host", "gateway.Example"}, 200},
		{"rebound name", "PUT", []string{"Host", "evil.example:9180"}, 403},
		{"another address", "PUT", []string{"Host", "192.0.2.1:9180"}, 403},
		{"looks like localhost", "PUT", []string{"Host", "localhost.evil.example"}, 403},
		{"own origin", "PUT", []string{"Origin", "http://localhost:9180"}, 200},
		{"own origin, other host", "PUT", []string{"Host", "127.0.0.1:9180", "Origin", "http://localhost:9180"}, 403},
		{"other port", "PUT", []string{"Origin", "http://localhost:3000"}, 403},
		{"other site", "PUT", []string{"Origin", "http://evil.example"}, 403},
		{"two origins", "PUT", []string{"Origin", "http://localhost:9180", "Origin", "http://evil.example"}, 403},
		{"hidden origin", "PUT", []string{"Origin", "null"}, 403},
		{"configured origin", "PUT", []string{"Origin", "https://ui.example"}, 200},
		{"no-cors", "PUT", []string{"Origin", "http://localhost:9180", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"own page reads", "GET", []string{"Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin"}, 200},
		{"typed address", "GET", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "none"}, 200},
		{"link on another site", "GET", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "cross-site"}, 403},
		{"no site named", "GET", []string{"Sec-Fetch-Mode", "navigate"}, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.put("/services/1", `{}`)
			w := a.call(c.method, prefix+"/services/1", `{}`, c.header...)
			if w.Code != c.status {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, c.status)
			}
			if w.Code == 403 && lookup(w.Body.Bytes(), "error_msg") == nil {
				t.Errorf("no error_msg: %s", w.Body)
			}
			if got := w.Header().Get("Access-Control-Allow-Origin"); got != "" && c.name != "configured origin" {
				t.Errorf("allows %s", got)
			}
		})
	}
}

func TestConfiguredOrigin(t *testing.T) {
	a := newAPI(t, func(c *Config) { c.Origins = []string{"https://UI.example"} })
	w := a.call("OPTIONS", prefix+"/routes/1", "", "Origin", "https://ui.example", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "cross-site")
	if w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "https://ui.example" || w.Header().Get("Vary") != "Origin" ||
		!strings.Contains(w.Header().Get("Access-Control-Allow-Methods"), "PUT") {
		t.Errorf("preflight: got %d %v", w.Code, w.Header())
	}
	w = a.call("GET", prefix+"/routes", "", "Origin", "https://ui.example")
	if w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "https://ui.example" {
		t.Errorf("GET: got %d %v", w.Code, w.Header())
	}
	if w := a.call("OPTIONS", prefix+"/routes", "", "Origin", "https://evil.example"); w.Code != 403 {
		t.Errorf("another origin: got %d", w.Code)
	}
}

func TestCORS(t *testing.T) {
	a := newAPI(t, withKeys)
	w := a.call("OPTIONS", "/anything", "", "Origin", "http://elsewhere.example")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":      "*",
		"Access-Control-Allow-Methods":     "POST, GET, PUT, OPTIONS, DELETE, PATCH",
		"Access-Control-Max-Age":           "3600",
		"Access-Control-Allow-Headers":     "*",
		"Access-Control-Allow-Credentials": "true",
		"Content-Length":                   "0",
		"Content-Type":                     "text/plain",
	} {
		if got := w.Header().Get(name); w.Code != 200 || got != want {
			t.Errorf("%s: got %d %q, want %q", name, w.Code, got, want)
		}
	}
	w = a.call("GET", prefix+"/routes", "", "Origin", "http://elsewhere.example", "X-API-KEY", "secret")
	if w.Code != 200 || w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Access-Control-Expose-Headers") != "*" {
		t.Errorf("GET: got %d %v", w.Code, w.Header())
	}
	a = newAPI(t, withKeys, func(c *Config) { c.NoCORS = true })
	if w := a.call("OPTIONS", prefix+"/routes", "", "X-API-KEY", "secret"); w.Code != http.StatusNotFound {
		t.Errorf("without CORS: got %d", w.Code)
	}
}
