// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
)

func init() { caddy.RegisterModule(new(stumbling)) }

// stumbling is an app that does not start.
type stumbling struct{}

func (*stumbling) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test_stumbling", New: func() caddy.Module { return new(stumbling) }}
}
func (*stumbling) Start() error { return errors.New("stumbled") }
func (*stumbling) Stop() error  { return nil }

// site is a Caddy in this process, with one server.
type site struct {
	t           *testing.T
	port, admin string
	store       string
	// adminFields are further fields of the app's admin config.
	adminFields string
}

func newSite(t *testing.T) *site {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	store := fmt.Sprintf(`{"module":"bolt","path":%q}`, filepath.Join(t.TempDir(), "ando.db"))
	return &site{t: t, port: freePort(t), admin: freePort(t), store: store}
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

// load replaces the config. handlers are those of the server, more are further fields of the ando app and more apps.
func (s *site) load(handlers, appFields, apps string) error {
	return caddy.Load(fmt.Appendf(nil, `{
		"admin": {"disabled": true, "config": {"persist": false}},
		"logging": {"logs": {"default": {"level": "PANIC"}}},
		"apps": {
			"ando": {"admin": {"listen": "127.0.0.1:%s" %s}, "store": %s %s},
			"http": {"servers": {"s": {"listen": ["ando/127.0.0.1:%s"], "protocols": ["h1"],
				"listener_wrappers": [{"wrapper": "ando"}], "automatic_https": {"disable": true},
				"routes": [{"handle": [%s]}]}}}
			%s
		}}`, s.admin, s.adminFields, s.store, appFields, s.port, handlers, apps), true)
}

func (s *site) mustLoad(handlers, appFields string) {
	s.t.Helper()
	if err := s.load(handlers, appFields, ""); err != nil {
		s.t.Fatal(err)
	}
}

// get returns status and body.
func (s *site) get(port, path string, header ...string) string {
	s.t.Helper()
	return s.do("GET", port, path, "", header...)
}

func (s *site) do(method, port, path, body string, header ...string) string {
	s.t.Helper()
	r, err := http.NewRequest(method, "http://127.0.0.1:"+port+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	r.Close = true
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", res.StatusCode, strings.TrimSuffix(string(read), "\n"))
}

func (s *site) expect(got, want string) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("got %s, want %s", got, want)
	}
}

// node answers with its name and what it was sent.
func node(t *testing.T, name string) (hostPort string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", name, r.URL.Path, r.Header.Get("X-Consumer-Username"))
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

const gatewayHandler = `{"handler":"ando"}`

// declaredRoute is the field of the app, or of a handler, that declares one route.
func declaredRoute(id, uri, nodeAddress string) string {
	return fmt.Sprintf(`, "objects": [{"kind":"routes","id":%q,"value":{"uri":%q,"upstream":{"nodes":{%q:1}}}}]`, id, uri, nodeAddress)
}

const noRoute = `404 {"error_msg":"404 Route Not Found"}`

// Apps start in any order, so a config that fails does so before or after the gateway has joined it: each of the rounds
// draws anew.
func TestFailedConfigLeavesNothingBehind(t *testing.T) {
	s := newSite(t)
	address := node(t, "n")
	s.mustLoad(gatewayHandler, declaredRoute("a", "/a", address))
	s.expect(s.do("PUT", s.admin, "/apisix/admin/routes/stored", fmt.Sprintf(`{"uri":"/s","upstream":{"nodes":{%q:1}}}`, address))[:3], "201")
	for range 10 {
		if err := s.load(gatewayHandler, declaredRoute("b", "/b", address), `, "test_stumbling": {}`); err == nil {
			t.Fatal("the config that cannot start was taken")
		}
		s.expect(s.get(s.port, "/a"), "200 n /a ")
		s.expect(s.get(s.port, "/b"), noRoute)
		s.expect(s.get(s.port, "/s"), "200 n /s ")
		s.expect(s.get(s.admin, "/apisix/admin/routes/b")[:3], "404")
	}
	s.mustLoad(gatewayHandler, declaredRoute("b", "/b", address))
	s.expect(s.get(s.port, "/a"), noRoute)
	s.expect(s.get(s.port, "/b"), "200 n /b ")
	s.expect(s.get(s.port, "/s"), "200 n /s ")
}

func TestMemoryOutlivesReload(t *testing.T) {
	s := newSite(t)
	s.store = `{"module":"memory"}`
	s.mustLoad(gatewayHandler, "")
	route := fmt.Sprintf(`{"uri":"/s","upstream":{"nodes":{%q:1}}}`, node(t, "n"))
	s.expect(s.do("PUT", s.admin, "/apisix/admin/routes/1", route)[:3], "201")
	s.mustLoad(gatewayHandler, `, "show_upstream_status": true`)
	s.expect(s.get(s.port, "/s"), "200 n /s ")
}

func TestAnotherStore(t *testing.T) {
	s := newSite(t)
	s.mustLoad(gatewayHandler, "")
	route := fmt.Sprintf(`{"uri":"/s","upstream":{"nodes":{%q:1}}}`, node(t, "n"))
	s.expect(s.do("PUT", s.admin, "/apisix/admin/routes/1", route)[:3], "201")
	first := s.store
	s.store = fmt.Sprintf(`{"module":"bolt","path":%q}`, filepath.Join(t.TempDir(), "other.db"))
	s.mustLoad(gatewayHandler, "")
	s.expect(s.get(s.port, "/s"), noRoute)
	s.store = first
	s.mustLoad(gatewayHandler, "")
	s.expect(s.get(s.port, "/s"), "200 n /s ")
}

// One file is one gateway, however its path is spelled.
func TestStoreKeyIsThePathWithoutDetours(t *testing.T) {
	dir := t.TempDir()
	var keys []string
	for _, path := range []string{"/ando.db", "/./ando.db", "/sub/../ando.db"} {
		store := &BoltStore{Path: dir + path}
		if err := store.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, store.StoreKey())
	}
	if keys[0] != keys[1] || keys[1] != keys[2] {
		t.Errorf("got %q", keys)
	}
}

func TestObjectsOfHandlers(t *testing.T) {
	s := newSite(t)
	address := node(t, "n")
	one := `{"handler":"ando"` + declaredRoute("x", "/x", address) + `}`
	// The second of them is never reached, and is part of the config all the same.
	s.mustLoad(one+`, {"handler":"ando"`+declaredRoute("y", "/y", address)+`}`, declaredRoute("z", "/z", address))
	for _, path := range []string{"/x", "/y", "/z"} {
		s.expect(s.get(s.port, path), "200 n "+path+" ")
	}
	s.mustLoad(one+`,`+one, "")
	s.expect(s.get(s.port, "/x"), "200 n /x ")
	err := s.load(one+`, {"handler":"ando"`+declaredRoute("x", "/other", address)+`}`, "", "")
	if err == nil || !strings.Contains(err.Error(), "routes x: declared twice, and differently") {
		t.Errorf("got %v", err)
	}
}

func TestDeclaredRefusals(t *testing.T) {
	for _, c := range []struct{ object, want string }{
		{`{"kind":"rotues","id":"1","value":{}}`, `rotues 1: unknown kind "rotues"`},
		{`{"kind":"routes","id":"1","value":[]}`, `routes 1: value: one JSON object is expected`},
		{`{"kind":"routes","id":"1","value":{"uri":"/x","plugins":{"key-auth":{"header":1}}}}`, `routes 1: failed to check the configuration of plugin key-auth`},
		{`{"kind":"routes","id":"1","value":{"id":"2","uri":"/x","plugins":{}}}`, `routes 1: id: "2" is not the object's id "1"`},
		{`{"kind":"consumers","id":"jack","value":{"username":"john"}}`, `consumers jack: username: "john" is not the object's id "jack"`},
		{`{"kind":"credentials","id":"c1","value":{"plugins":{}}}`, `credentials c1: a credential's id is CONSUMER/credentials/ID, not "c1"`},
		{`{"kind":"routes","id":"1","value":{"uri":"/x","upstream":{"nodes":{"n:1":1}},"expression":"request.nothing"}}`, `routes 1: failed to validate the 'expression'`},
	} {
		s := newSite(t)
		err := s.load(gatewayHandler, `, "objects": [`+c.object+`]`, "")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\ngot  %v\nwant %s", c.object, err, c.want)
		}
	}
}

const jack = `, "objects": [{"kind":"consumers","id":"jack","value":{"plugins":{"key-auth":{"key":"jacks-key"}}}}]`

func TestKeyAuthAsHandler(t *testing.T) {
	s := newSite(t)
	balance := fmt.Sprintf(`{"handler":"ando_load_balance","upstream":{"nodes":{%q:1}}}`, node(t, "n"))
	s.mustLoad(`{"handler":"ando_key_auth","header":"x-key","hide_credentials":true}, `+balance, jack)
	s.expect(s.get(s.port, "/p"), `401 {"message":"Missing API key in request"}`)
	s.expect(s.get(s.port, "/p", "X-Key", "wrong"), `401 {"message":"Invalid API key in request"}`)
	s.expect(s.get(s.port, "/p", "X-Key", "jacks-key"), "200 n /p jack")
	s.expect(s.get(s.port, "/p", "X-Consumer-Username", "jack"), `401 {"message":"Missing API key in request"}`)
}

func TestPluginAsHandler(t *testing.T) {
	s := newSite(t)
	s.mustLoad(`{"handler":"ando_plugin","name":"response-rewrite","config":{"body":"rewritten"}},
		{"handler":"static_response","status_code":201,"body":"static"}`, "")
	s.expect(s.get(s.port, "/"), "201 rewritten")
	err := s.load(`{"handler":"ando_plugin","name":"response-rewrite"}, {"handler":"static_response"}`, `, "plugins": ["key-auth"]`, "")
	if err == nil || !strings.Contains(err.Error(), "unknown plugin [response-rewrite]") {
		t.Errorf("a plugin that is not allowed: %v", err)
	}
}

// What a balancer has counted outlives a reload: otherwise every reload would send the next request to the first node.
func TestLoadBalanceOutlivesReload(t *testing.T) {
	s := newSite(t)
	balance := fmt.Sprintf(`{"handler":"ando_load_balance","upstream":{"nodes":{%q:1,%q:1}}}`, node(t, "n1"), node(t, "n2"))
	seen := map[string]int{}
	for range 6 {
		s.mustLoad(balance, "")
		seen[s.get(s.port, "/")]++
	}
	if seen["200 n1 / "] != 3 || seen["200 n2 / "] != 3 {
		t.Errorf("got %v", seen)
	}
}

func TestAdminOnASite(t *testing.T) {
	s := newSite(t)
	err := s.load(`{"handler":"ando_admin"}`, "", "")
	if err == nil || !strings.Contains(err.Error(), "the Admin API needs a key on a site") {
		t.Errorf("without a key: %v", err)
	}
	s.adminFields = `, "keys": [{"key":"secret"}]`
	s.mustLoad(`{"handler":"ando_admin"}, {"handler":"static_response","body":"next"}`, "")
	s.expect(s.get(s.port, "/apisix/administration"), "200 next")
	s.expect(s.get(s.port, "/apisix/admin/routes"), `401 {"error_msg":"failed to check token","description":"missing apikey"}`)
	s.expect(s.get(s.port, "/apisix/admin/routes", "X-API-KEY", "secret"), `200 {"total":0,"list":[]}`)
}
