// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/plugins/limit/redistest"
)

// TestRedis: sessions in Redis are as good as those in cookies, have room for more, and end there too.
func TestRedis(t *testing.T) {
	server := redistest.Start(t, "requirepass seeded-redis-password")
	server.Client.Options().Password = "seeded-redis-password"
	p := newFakeProvider(t)
	large := strings.Repeat("r", 30000)
	p.tokens = claims{"refresh_token": large}
	config := strings.Replace(p.loginConfig(`,"set_refresh_token_header":true`), `"session":{`, fmt.Sprintf(
		`"session":{"storage":"redis","redis":{"host":%q,"port":%d,"password":"seeded-redis-password","database":3,"prefix":"ando","connect_timeout":20000,"send_timeout":20000,"read_timeout":20000},`,
		server.Host(), server.Port()), 1)
	v := newVisitor(t, config)
	do := func(args ...any) any {
		t.Helper()
		conn := server.Client.Conn()
		defer conn.Close()
		for _, before := range [][]any{{"AUTH", "seeded-redis-password"}, {"SELECT", 3}} {
			if err := conn.Do(t.Context(), before...).Err(); err != nil {
				t.Fatal(err)
			}
		}
		got, err := conn.Do(t.Context(), args...).Result()
		if err != nil {
			t.Fatal(args, err)
		}
		return got
	}
	keys := func() []any { return do("KEYS", "*").([]any) }

	q := v.login("/page")
	begun := maps.Clone(v.cookies)
	if got := keys(); len(got) != 1 || !strings.HasPrefix(got[0].(string), "ando:") {
		t.Fatalf("keys %v", got)
	}
	if ttl := do("TTL", keys()[0]).(int64); ttl < 1 || ttl > loginLife {
		t.Errorf("a login is awaited for %d s", ttl)
	}
	if a := v.back(q); a.status != 302 {
		t.Fatalf("got %d: %s", a.status, v.reasons())
	}
	if a := v.get("/page"); a.status != 0 || a.node.Get("X-Refresh-Token") != large || len(v.cookies) != 1 || len(a.node.Values("Cookie")) > 0 {
		t.Errorf("got %d, %d cookies", a.status, len(v.cookies))
	}
	// The name from before the login, which somebody may have planted, is nobody's.
	planted := newVisitor(t, config)
	planted.cookies = begun
	if a := planted.get("/page"); a.status != 302 {
		t.Errorf("planted: got %d", a.status)
	}
	own := ""
	for _, key := range keys() {
		if stored := do("GET", key).(string); strings.Contains(stored, "rrrr") || strings.Contains(stored, "jack") {
			t.Error("a session is stored as it is")
		} else if len(stored) > 30000 {
			own = key.(string)
		}
	}
	if ttl := do("TTL", own).(int64); ttl < 800 || ttl > defaultIdling {
		t.Errorf("a session is kept for %d s", ttl)
	}
	// One session in the place of another is none.
	other := newVisitor(t, config)
	other.logIn()
	stored := do("GET", own)
	for _, key := range keys() {
		do("SET", key, stored, "KEEPTTL")
	}
	if a := other.get("/page"); a.status != 302 {
		t.Errorf("somebody else's session: got %d", a.status)
	}
	if a := v.get("/page"); a.status != 0 {
		t.Errorf("got %d", a.status)
	}
	cookies := maps.Clone(v.cookies)
	v.get("/logout")
	v.cookies = cookies
	if a := v.get("/page"); a.status != 302 {
		t.Errorf("after the logout: got %d", a.status)
	}
	v.cookies = map[string]string{}
	v.logIn()
	do("FLUSHALL")
	if a := v.get("/page"); a.status != 302 {
		t.Errorf("forgotten: got %d", a.status)
	}
	v.logIn()
	v.now = time.Now().Add(2000 * time.Second)
	if a := v.get("/page"); a.status != 302 {
		t.Errorf("idle: got %d", a.status)
	}
	server.Stop()
	v.now = time.Time{}
	if a := v.get("/page"); a.status != 503 || strings.Contains(v.reasons(), "seeded") {
		t.Errorf("store is down: got %d: %s", a.status, v.reasons())
	}
}
