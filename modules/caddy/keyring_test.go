// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// A restart reads what was encrypted before it, with the key that the first start made.
func TestSecretsSurviveRestart(t *testing.T) {
	s := newSite(t)
	path := filepath.Join(t.TempDir(), "ando.db")
	s.store = fmt.Sprintf(`{"module":"bolt","path":%q}`, path)
	up := node(t, "up")
	s.mustLoad(gatewayHandler, "")
	s.do("PUT", s.admin, "/apisix/admin/routes/1", `{"uri":"/*","plugins":{"key-auth":{}},"upstream":{"nodes":{"`+up+`":1}}}`)
	s.do("PUT", s.admin, "/apisix/admin/consumers", `{"username":"jack","plugins":{"key-auth":{"key":"jacks-plain-key"}}}`)
	s.expect(s.get(s.port, "/a", "apikey", "jacks-plain-key"), "200 up /a jack")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(raw, []byte("jack")) || bytes.Contains(raw, []byte("jacks-plain-key")) {
		t.Error("the store's file has not what it should have")
	}
	stat, err := os.Stat(path + ".key")
	if err != nil || stat.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", stat, err)
	}
	s.mustLoad(gatewayHandler, "")
	s.expect(s.get(s.port, "/a", "apikey", "jacks-plain-key"), "200 up /a jack")
	// A reload reads it too.
	s.mustLoad(gatewayHandler, `, "router": "radixtree_uri"`)
	s.expect(s.get(s.port, "/a", "apikey", "jacks-plain-key"), "200 up /a jack")
}
