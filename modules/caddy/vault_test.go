// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// A key that is kept in Vault lets its consumer in from the answer to the write on, after a change of the manager, a
// reload and a restart.
func TestKeyInVault(t *testing.T) {
	var down atomic.Bool
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() || r.URL.Path != "/v1/kv/jack" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `{"data":{"key":%q}}`, "key-for-"+r.Header.Get("X-Vault-Token"))
	}))
	defer vault.Close()
	s := newSite(t)
	up := node(t, "up")
	s.mustLoad(gatewayHandler, "")
	written := func(method, path, body string) {
		t.Helper()
		if answer := s.do(method, s.admin, "/apisix/admin"+path, body); !strings.HasPrefix(answer, "20") {
			t.Fatalf("%s %s: %s", method, path, answer)
		}
	}
	manager := func(token string) string {
		return fmt.Sprintf(`{"uri":%q,"prefix":"kv","token":%q}`, vault.URL, token)
	}
	const reference = "$secret://vault/1/jack/key"
	admitted := func(key string) {
		t.Helper()
		s.expect(s.get(s.port, "/a", "apikey", key), "200 up /a jack")
		s.expect(s.get(s.port, "/a", "apikey", reference), `401 {"message":"Invalid API key in request"}`)
	}
	written("PUT", "/secrets/vault/1", manager("one"))
	written("PUT", "/routes/1", `{"uri":"/*","plugins":{"key-auth":{}},"upstream":{"nodes":{"`+up+`":1}}}`)
	written("PUT", "/consumers", `{"username":"jack","plugins":{"key-auth":{"key":"`+reference+`"}}}`)
	admitted("key-for-one")
	written("PUT", "/secrets/vault/1", manager("two"))
	admitted("key-for-two")
	s.mustLoad(gatewayHandler, `, "router": "radixtree_uri"`)
	admitted("key-for-two")
	down.Store(true)
	written("PUT", "/routes/2", `{"uri":"/b","plugins":{"key-auth":{}}}`)
	admitted("key-for-two")
	down.Store(false)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	// Whoever stops does not wait for the gateway's end; a process that starts anew has none.
	for open := true; open; {
		open = false
		gateways.Range(func(any, any) bool { open = true; return false })
		time.Sleep(time.Millisecond)
	}
	resolvers.Clear()
	s.mustLoad(gatewayHandler, "")
	admitted("key-for-two")
	if answer := s.get(s.admin, "/apisix/admin/consumers/jack"); !strings.Contains(answer, reference) || strings.Contains(answer, "key-for") {
		t.Errorf("the consumer is shown as %s", answer)
	}
}
