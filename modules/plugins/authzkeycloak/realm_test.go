// SPDX-License-Identifier: Apache-2.0

package authzkeycloak

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/andogate/ando/modules/plugins/plugintest"
)

// one returns a compiled config that asks the server.
func (k *keycloak) one(t *testing.T, changes config) *authzKeycloak {
	t.Helper()
	var both map[string]json.RawMessage
	if err := json.Unmarshal([]byte(k.plugins(changes)), &both); err != nil {
		t.Fatal(err)
	}
	compiled, err := plugintest.Compile(t, name, string(both[name]))
	if err != nil {
		t.Fatal(err)
	}
	return compiled.(*authzKeycloak)
}

func (k *keycloak) wantCounts(t *testing.T, when string, want map[string]int) {
	t.Helper()
	for _, what := range []string{"discovery", "client_credentials", "refresh_token", "resources"} {
		if n := k.count(what); n != want[what] {
			t.Errorf("%s: %s %d times, want %d", when, what, n, want[what])
		}
	}
}

// TestKept: the discovery document and the service account's token are asked for once, by however many at once, and are
// known to every config that says the same of the server.
func TestKept(t *testing.T) {
	k := newKeycloak(t)
	a := k.one(t, config{"lazy_load_paths": true})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if ids, err := a.realm.resources(t.Context(), "/course/1"); err != nil || len(ids) != 1 || ids[0] != "r-course" {
				t.Errorf("got %v, %v", ids, err)
			}
		})
	}
	all.Wait()
	k.wantCounts(t, "at once", map[string]int{"discovery": 1, "client_credentials": 1, "resources": 16})
	again := k.one(t, config{"permissions": []string{"x"}, "lazy_load_paths": true, "http_method_as_scope": true})
	if again.realm != a.realm {
		t.Error("another config of the same server knows nothing")
	}
	for _, other := range []config{{"client_secret": "other"}, {"client_id": "other"}, {"ssl_verify": false}, {"timeout": 5000}} {
		if k.one(t, other).realm == a.realm {
			t.Errorf("%v: shares what another client was told", other)
		}
	}
}

// TestServiceAccount: an access token is used as long as it lasts, then renewed in the way that is open.
func TestServiceAccount(t *testing.T) {
	for what, c := range map[string]struct {
		change  config
		prepare func(k *keycloak)
		want    map[string]int
	}{
		"good":               {nil, func(*keycloak) {}, map[string]int{}},
		"expired":            {nil, func(k *keycloak) { k.expiresIn = 1 }, map[string]int{"refresh_token": 1}},
		"leeway":             {config{"access_token_expires_leeway": 299}, func(*keycloak) {}, map[string]int{"refresh_token": 1}},
		"not told":           {config{"access_token_expires_in": 1}, func(k *keycloak) { k.expiresIn = 0 }, map[string]int{"refresh_token": 1}},
		"not told, default":  {nil, func(k *keycloak) { k.expiresIn = 0 }, map[string]int{}},
		"refresh expired":    {nil, func(k *keycloak) { k.expiresIn, k.refreshExpiresIn = 1, 1 }, map[string]int{"client_credentials": 1}},
		"refresh leeway":     {config{"refresh_token_expires_leeway": 1799}, func(k *keycloak) { k.expiresIn = 1 }, map[string]int{"client_credentials": 1}},
		"refresh not told":   {config{"refresh_token_expires_in": 1}, func(k *keycloak) { k.expiresIn, k.refreshExpiresIn = 1, 0 }, map[string]int{"client_credentials": 1}},
		"refresh by default": {nil, func(k *keycloak) { k.expiresIn, k.refreshExpiresIn = 1, 0 }, map[string]int{"refresh_token": 1}},
		"no refresh token":   {nil, func(k *keycloak) { k.expiresIn, k.withoutRefresh = 1, true }, map[string]int{"client_credentials": 1}},
	} {
		t.Run(what, func(t *testing.T) {
			k := newKeycloak(t)
			c.prepare(k)
			a := k.one(t, c.change)
			lookUp := func() {
				t.Helper()
				if _, err := a.realm.resources(t.Context(), "/course/1"); err != nil {
					t.Fatal(err)
				}
			}
			lookUp()
			k.wantCounts(t, "first", map[string]int{"discovery": 1, "client_credentials": 1, "resources": 1})
			lookUp()
			c.want["resources"] = 1
			k.wantCounts(t, "second", c.want)
		})
	}
}

// TestServerForgets: a server that was started again knows none of its tokens; neither does that cost a request.
func TestServerForgets(t *testing.T) {
	k := newKeycloak(t)
	a := k.one(t, nil)
	lookUp := func() {
		t.Helper()
		if _, err := a.realm.resources(t.Context(), "/course/1"); err != nil {
			t.Fatal(err)
		}
	}
	lookUp()
	k.set(func() { k.protection["protection-0"] = false })
	k.wantCounts(t, "before", map[string]int{"discovery": 1, "client_credentials": 1, "resources": 1})
	lookUp()
	k.wantCounts(t, "access token", map[string]int{"client_credentials": 1, "resources": 2})
	k.set(func() { k.expiresIn = 1 })
	a.realm.session.drop(a.realm.session.value)
	lookUp()
	k.set(func() { k.refreshToken = "" })
	k.count("client_credentials")
	k.count("resources")
	lookUp()
	k.wantCounts(t, "refresh token", map[string]int{"refresh_token": 1, "client_credentials": 1, "resources": 1})
}

func TestTimesOfCache(t *testing.T) {
	r := &realm{realmConfig: realmConfig{TTL: 60, AccessLife: 300, AccessLeeway: 10, RefreshLife: 3600, RefreshLeeway: 20}}
	now := time.Unix(1000, 0)
	told := func(n float64) *float64 { return &n }
	for _, c := range []struct {
		tokens          tokens
		access, refresh int64
	}{
		{tokens{}, 60, 60},
		{tokens{ExpiresIn: told(50), RefreshExpiresIn: told(40)}, 39, 19},
		{tokens{ExpiresIn: told(0), RefreshExpiresIn: told(-5)}, -11, -21},
		{tokens{ExpiresIn: told(1e300), RefreshExpiresIn: told(1e300)}, 60, 60},
	} {
		s, until := r.sessionOf(&c.tokens, now)
		if until.Unix()-1000 != c.access || s.refreshUntil.Unix()-1000 != c.refresh {
			t.Errorf("%+v: until %d and %d", c.tokens, until.Unix()-1000, s.refreshUntil.Unix()-1000)
		}
	}
}

// TestHeld: what is out of date is fetched again, what failed too, and nobody waits longer than they want to.
func TestHeld(t *testing.T) {
	var h held[int]
	now := time.Unix(1000, 0)
	fetched := 0
	next := func(_ context.Context, now time.Time, last *int) (*int, time.Time, error) {
		fetched++
		n := fetched
		if last != nil && *last != n-1 {
			t.Errorf("the last one was %d", *last)
		}
		return &n, now.Add(10 * time.Second), nil
	}
	for _, c := range []struct{ at, want int }{{0, 1}, {9, 1}, {10, 2}, {19, 2}, {21, 3}} {
		if got, err := h.get(t.Context(), now.Add(time.Duration(c.at)*time.Second), next); err != nil || *got != c.want {
			t.Errorf("at %d: got %v, %v, want %d", c.at, *got, err, c.want)
		}
	}
	broken := errors.New("broken")
	failing := func(context.Context, time.Time, *int) (*int, time.Time, error) { return nil, now, broken }
	if _, err := h.get(t.Context(), now.Add(time.Hour), failing); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	release := make(chan bool)
	slow := func(context.Context, time.Time, *int) (*int, time.Time, error) {
		<-release
		n := 7
		return &n, now.Add(2 * time.Hour), nil
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := h.get(gone, now.Add(time.Hour), slow); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(release)
	if got, err := h.get(t.Context(), now.Add(time.Hour), failing); err != nil || *got != 7 {
		t.Errorf("what one began is not there for the next: %v", err)
	}
}

// TestDiscoveryOutlives: the document that is known stays in use while there is no other.
func TestDiscoveryOutlives(t *testing.T) {
	k := newKeycloak(t)
	a := k.one(t, config{"permissions": []string{"r-admin"}})
	if _, err := a.realm.tokenEndpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.set(func() { k.document = nil })
	a.realm.endpoints.mu.Lock()
	a.realm.endpoints.until = time.Time{}
	a.realm.endpoints.mu.Unlock()
	for range 2 {
		if got, err := a.realm.tokenEndpoint(t.Context()); err != nil || got != k.tokenURL() {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if n := k.count("discovery"); n != 2 {
		t.Errorf("asked for the document %d times, want 2", n)
	}
}
