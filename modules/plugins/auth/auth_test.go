// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/sha256"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

func TestParseBasic(t *testing.T) {
	for _, c := range []struct {
		field, user, password string
		ok                    bool
	}{
		{"Basic dTpw", "u", "p", true},
		{"bASIC \t dTpw", "u", "p", true},
		{"Basic dTpwOnE=", "u", "p:q", true},
		{"Basic dTpwOnE", "u", "p:q", true},
		{"Basic Og==", "", "", true},
		{"Basic dQ==", "u", "", false},
		{"BasicdTpw", "", "", false},
		{"Basic", "", "", false},
		{"Basic ", "", "", false},
		{"Basi", "", "", false},
		{"Ldap dTpw", "", "", false},
		{"Basic dTpw dTpw", "", "", false},
		{"Basic d", "", "", false},
	} {
		user, password, ok := ParseBasic(c.field, "Basic")
		if ok != c.ok || ok && (user != c.user || password != c.password) {
			t.Errorf("%q: got %q, %q, %v", c.field, user, password, ok)
		}
	}
}

func FuzzParseBasic(f *testing.F) {
	f.Add("Basic dTpw", "Basic")
	f.Add("ldap dTpwOnE=", "Ldap")
	f.Fuzz(func(t *testing.T, field, scheme string) {
		user, password, ok := ParseBasic(field, scheme)
		if !ok && password != "" || len(user)+len(password) > len(field) {
			t.Errorf("%q: got %q, %q, %v", field, user, password, ok)
		}
	})
}

func TestWithoutBearer(t *testing.T) {
	for field, want := range map[string]string{
		"Bearer x": "x", "bearer x": "x", "x": "x", "Bearer": "Bearer", "Bearer ": "Bearer ", "": "", "Bearers x": "Bearers x",
	} {
		if got := WithoutBearer(field); got != want {
			t.Errorf("%q: got %q, want %q", field, got, want)
		}
	}
}

// credentials is a table of nothing but credentials.
type credentials struct {
	gateway.Table
	byKey map[string]*gateway.Credential
}

func (c *credentials) Credential(_, key string) *gateway.Credential { return c.byKey[key] }

type config struct{ _ int }

func TestCache(t *testing.T) {
	cache := new(Cache)
	old, now := new(config), time.Unix(1000, 0)
	table := &credentials{byKey: map[string]*gateway.Credential{"k": {Config: old}}}
	sum := sha256.Sum256([]byte("token"))
	find := func(at time.Time) bool {
		x := &gateway.Exchange{Table: table, Start: at}
		credential, _ := cache.Find(x, "p", "s", &sum)
		return credential != nil && credential == table.byKey["k"]
	}
	if find(now) {
		t.Error("the empty cache knows something")
	}
	proof := &Proof{Sum: sum, Scope: "s", Key: "k", Config: old, From: 900, Until: 1100}
	cache.Add(proof)
	if credential, _ := cache.Find(&gateway.Exchange{Table: table, Start: now}, "p", "other", &sum); credential != nil {
		t.Error("the proof holds in another scope")
	}
	for at, want := range map[int64]bool{899: false, 900: true, 1099: true, 1100: false} {
		cache.Add(proof)
		if find(time.Unix(at, 0)) != want {
			t.Errorf("at %d: want %v", at, want)
		}
	}
	cache.Add(proof)
	table.byKey["k"] = &gateway.Credential{Config: new(config)}
	if find(now) {
		t.Error("a credential that has changed is proven")
	}
	table.byKey["k"] = &gateway.Credential{Config: old}
	if find(now) {
		t.Error("what was found out of date is still there")
	}
	cache.Add(proof)
	delete(table.byKey, "k")
	if find(now) {
		t.Error("a credential that has gone is proven")
	}
}

// TestCacheIsBounded: many proofs come and are found at once, and no more than the cache holds stay.
func TestCacheIsBounded(t *testing.T) {
	cache := new(Cache)
	c := new(config)
	x := &gateway.Exchange{Table: &credentials{byKey: map[string]*gateway.Credential{"k": {Config: c}}}, Start: time.Unix(1000, 0)}
	const many = 4 * cacheSlots
	var all sync.WaitGroup
	for part := range 4 {
		all.Go(func() {
			for i := part; i < many; i += 4 {
				sum := sha256.Sum256([]byte(strconv.Itoa(i)))
				cache.Add(&Proof{Sum: sum, Scope: "s", Key: "k", Config: c, Until: NoUntil})
			}
		})
	}
	all.Wait()
	last := sha256.Sum256([]byte("last"))
	cache.Add(&Proof{Sum: last, Scope: "s", Key: "k", Config: c, Until: NoUntil})
	if credential, _ := cache.Find(x, "p", "s", &last); credential == nil {
		t.Error("the newest is not found")
	}
	found := 0
	for i := range many {
		sum := sha256.Sum256([]byte(strconv.Itoa(i)))
		if credential, proof := cache.Find(x, "p", "s", &sum); credential != nil {
			if proof.Sum != sum {
				t.Fatal("found another one")
			}
			found++
		}
	}
	if found > 2*cacheSlots || found < cacheSlots {
		t.Errorf("%d of %d are found, want about %d", found, many, 2*cacheSlots)
	}
}
