// SPDX-License-Identifier: Apache-2.0

package opa

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

// agent stands for an Open Policy Agent: the query says what it answers.
type agent struct {
	*httptest.Server
	path  string
	input map[string]any
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	a := new(agent)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Input map[string]any }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.Method != "POST" {
			t.Errorf("agent: %s, %v", r.Method, err)
		}
		a.path, a.input = r.URL.Path, asked.Input
		query := asked.Input["request"].(map[string]any)["query"].(map[string]any)
		text, _ := query["answer"].(string)
		io.WriteString(w, text)
	}))
	t.Cleanup(a.Close)
	return a
}

func escape(text string) string {
	var b []byte
	for _, c := range []byte(text) {
		b = fmt.Appendf(b, "%%%02x", c)
	}
	return string(b)
}

func TestDecisions(t *testing.T) {
	a := newAgent(t)
	config := fmt.Sprintf(`{"opa":{"host":%q,"policy":"team/api","send_headers_upstream":["X-User","x-none"]}}`, a.URL)
	plugintest.OnEach(t, config, func(s *plugintest.Site) {
		ask := func(answer string, fields ...string) plugintest.Answer {
			return s.Do("GET", "/p?answer="+escape(answer), "", fields...)
		}
		s.Want(ask(`{"result":{"allow":true,"headers":{"x-user":"jack","X-Other":"no","n":7}}}`, "X-User", "root", "X-None", "forged"), 200, "node", true)
		if a.path != "/v1/data/team/api" || s.Saw.Header.Get("X-User") != "jack" || s.Saw.Header.Get("X-Other") != "" || s.Saw.Header.Get("X-None") != "" {
			t.Errorf("agent: %s, node: %v", a.path, s.Saw.Header)
		}
		s.Want(ask(`{"result":{"allow":false}}`), 403, plugintest.AnyBody, false)
		s.Want(ask(`{"result":{}}`), 403, plugintest.AnyBody, false)
		got := ask(`{"result":{"allow":false,"status_code":302,"headers":{"location":"http://x/","X-N":3,"Bad":"a\r\nb"},"reason":"go away"}}`)
		s.Want(got, 302, "go away\n", false)
		if got.Header.Get("Location") != "http://x/" || got.Header.Get("X-N") != "3" || got.Header.Get("Bad") != "" {
			t.Errorf("client: %v", got.Header)
		}
		s.Want(ask(`{"result":{"allow":false,"status_code":"429","reason":{"why": ["a", 1]}}}`), 429, "{\"why\":[\"a\",1]}\n", false)
		s.Want(ask(`{"result":{"allow":false,"status_code":100}}`), 403, plugintest.AnyBody, false)
		for _, malformed := range []string{``, `{`, `{}`, `{"result":"yes"}`, `{"result":{"allow":"true"}}`, `[]`} {
			s.Want(ask(malformed), 503, plugintest.AnyBody, false)
		}
	})
}

func TestInput(t *testing.T) {
	a := newAgent(t)
	config := fmt.Sprintf(`{"key-auth":{},"opa":{"host":"%s/","policy":"p","with_route":true,"with_service":true,"with_consumer":true}}`, a.URL)
	jack := gateway.Object{Kind: gateway.Consumers, ID: "jack", Value: json.RawMessage(`{"username":"jack","plugins":{"key-auth":{"key":"jacks"}}}`)}
	plugintest.OnEach(t, config, func(s *plugintest.Site) {
		got := s.Do("PUT", "/a/b?answer="+escape(`{"result":{"allow":true}}`)+"&x=1&x=2&y", "", "Host", "h.test", "apikey", "jacks", "X-A", "1", "X-A", "2")
		s.Want(got, 200, "node", true)
		request := a.input["request"].(map[string]any)
		headers, query := request["headers"].(map[string]any), request["query"].(map[string]any)
		seen := fmt.Sprint(a.input["type"], request["method"], request["scheme"], request["host"], request["path"],
			headers["host"], headers["x-a"], query["x"], query["y"])
		if want := fmt.Sprint("http", "PUT", "http", "h.test", "/a/b", "h.test", []any{"1", "2"}, []any{"1", "2"}, ""); seen != want {
			t.Errorf("request: got %s, want %s", seen, want)
		}
		vars := a.input["var"].(map[string]any)
		if vars["remote_addr"] != "127.0.0.1" || vars["server_addr"] != "127.0.0.1" || vars["timestamp"].(float64) < 1e9 {
			t.Errorf("var: %v", vars)
		}
		route, consumer := a.input["route"].(map[string]any), a.input["consumer"].(map[string]any)
		if route["name"] != "the-route" || route["upstream"] != nil || route["plugins"] == nil || consumer["username"] != "jack" || consumer["plugins"] != nil {
			t.Errorf("route: %v, consumer: %v", route, consumer)
		}
		if a.input["service"] != nil {
			t.Errorf("service: %v", a.input["service"])
		}
	}, jack)
}

func TestAgentDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	plugintest.OnEach(t, fmt.Sprintf(`{"opa":{"host":"http://%s","policy":"p"}}`, l.Addr()), func(s *plugintest.Site) {
		s.Want(s.Do("GET", "/", ""), 403, plugintest.AnyBody, false)
	})
}

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"host":"http://a","policy":"p"}`, ""},
		{`{"host":"http://a"}`, `property "policy" is required`},
		{`{"host":"a:8181","policy":"p"}`, `property "host" validation failed: "a:8181" is not an http or https URL`},
		{`{"host":"http://a","policy":"%zz"}`, `property "policy" validation failed: "%zz" cannot be part of a URL`},
		{`{"host":"http://a","policy":"p","timeout":0}`, `property "timeout" validation failed`},
	})
}
