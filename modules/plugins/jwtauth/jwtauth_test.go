// SPDX-License-Identifier: Apache-2.0

package jwtauth

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/responserewrite"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

const secret = "a secret that nobody else knows!"

func object(kind gateway.Kind, id string, value any) gateway.Object {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return gateway.Object{Kind: kind, ID: id, Value: raw}
}

type fields = map[string]any

// route is for every path below its id's; config is that of jwt-auth.
func route(id string, config fields) gateway.Object {
	return object(gateway.Routes, id, fields{
		"id": id, "uri": "/" + id + "/*", "plugins": fields{name: config},
		"upstream": fields{"nodes": fields{"127.0.0.1:1": 1}},
	})
}

func consumer(user string, config fields) gateway.Object {
	return object(gateway.Consumers, user, fields{"username": user, "plugins": fields{name: config}})
}

// consumers returns a gateway with a route for 1 000 consumers, "c0" and so on, that have the secret and their number in
// common.
func consumers(t testing.TB) *gateway.Gateway {
	t.Helper()
	objects := []gateway.Object{route("a", fields{}), route("exp", fields{"claims_to_verify": []string{"exp"}})}
	for i := range 1000 {
		user := fmt.Sprintf("c%d", i)
		objects = append(objects, consumer(user, fields{"key": user, "secret": secret + user}))
	}
	return gatewaytest.Open(t, objects...)
}

func sign(t testing.TB, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// request is what a client sends, and when.
type request struct {
	path, token string
	at          time.Time
}

// authenticate takes an exchange through its hooks up to where it would be forwarded. It returns who it is and, for a
// refusal, the body.
func authenticate(g *gateway.Gateway, x *gateway.Exchange, r request) (user, refusal string) {
	x.Request.Method, x.Request.Host = "GET", "h"
	x.Request.Path, x.Request.EscapedPath = "/a/", "/a/"
	if r.path != "" {
		x.Request.Path, x.Request.EscapedPath = r.path, r.path
	}
	x.Start = r.at
	x.Request.Header.Add("Authorization", r.token)
	g.Begin(x, nil)
	if x.Next(false) == gateway.StepReply {
		refusal = string(x.Response.Body)
		x.FilterHeader()
	} else if x.Consumer != nil {
		user = x.Consumer.Name
	}
	x.Finish()
	x.Reset()
	return user, refusal
}

// TestProofsAreForgotten: what was verified counts for the same key of the same consumer, as long as the token lives.
func TestProofsAreForgotten(t *testing.T) {
	g := consumers(t)
	x := new(gateway.Exchange)
	start := time.Unix(2_000_000_000, 0)
	claims := jwt.MapClaims{"key": "c7", "nbf": start.Unix() - 10, "exp": start.Unix() + 10}
	old := sign(t, jwt.SigningMethodHS256, []byte(secret+"c7"), claims)
	fresh := sign(t, jwt.SigningMethodHS256, []byte("new"), claims)
	check := func(what, token string, after time.Duration, want string) {
		t.Helper()
		for range 2 {
			if got, refusal := authenticate(g, x, request{token: token, at: start.Add(after)}); got != want {
				t.Errorf("%s: got %q, want %q: %s", what, got, want, refusal)
			}
		}
	}
	submit := func(c gateway.Change) {
		t.Helper()
		if _, err := g.Submit(t.Context(), func(gateway.Tx) ([]gateway.Change, error) { return []gateway.Change{c}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	check("before", old, 0, "c7")
	check("just in time", old, 9*time.Second, "c7")
	check("expired", old, 10*time.Second, "")
	check("first moment", old, -10*time.Second, "c7")
	check("not yet", old, -11*time.Second, "")
	check("again", old, 0, "c7")
	check("too early", fresh, 0, "")
	submit(gateway.Change{Object: consumer("c7", fields{"key": "c7", "secret": "new"})})
	check("old key", old, 0, "")
	check("new key", fresh, 0, "c7")
	submit(gateway.Change{Object: consumer("c7", fields{"key": "c7", "secret": "new", "algorithm": "HS512"})})
	check("new algorithm", fresh, 0, "")
	submit(gateway.Change{Object: consumer("c7", fields{"key": "other", "secret": "new"})})
	check("renamed", fresh, 0, "")
	submit(gateway.Change{Object: consumer("c7", fields{"key": "c7", "secret": "new"})})
	check("back", fresh, 0, "c7")
	submit(gateway.Change{Object: gateway.Object{Kind: gateway.Consumers, ID: "c7"}, Delete: true})
	check("deleted", fresh, 0, "")
}

// TestProofsOfOtherConfigs: a token that one route has let in is not let in by another that wants more of it.
func TestProofsOfOtherConfigs(t *testing.T) {
	g := gatewaytest.Open(t, route("a", fields{}), route("exp", fields{"claims_to_verify": []string{"exp"}}),
		route("sub", fields{"key_claim_name": "sub"}),
		consumer("jack", fields{"key": "jack", "secret": "one"}), consumer("rose", fields{"key": "rose", "secret": "one"}))
	x := new(gateway.Exchange)
	token := sign(t, jwt.SigningMethodHS256, []byte("one"), jwt.MapClaims{"key": "jack", "sub": "rose"})
	for range 2 {
		for path, want := range map[string]string{"/a/": "jack", "/exp/": "", "/sub/": "rose"} {
			if got, refusal := authenticate(g, x, request{path: path, token: token}); got != want {
				t.Errorf("%s: got %q, want %q: %s", path, got, want, refusal)
			}
		}
	}
}

func TestAllocs(t *testing.T) {
	g := consumers(t)
	x := new(gateway.Exchange)
	r := request{token: "Bearer " + sign(t, jwt.SigningMethodHS256, []byte(secret+"c500"), jwt.MapClaims{"key": "c500", "exp": 1 << 33})}
	if got, refusal := authenticate(g, x, r); got != "c500" {
		t.Fatalf("got %q: %s", got, refusal)
	}
	if n := testing.AllocsPerRun(100, func() { authenticate(g, x, r) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkJWTAuth(b *testing.B) {
	g := consumers(b)
	x := new(gateway.Exchange)
	r := request{token: "Bearer " + sign(b, jwt.SigningMethodHS256, []byte(secret+"c500"), jwt.MapClaims{
		"key": "c500", "exp": 1 << 33, "iat": 1_700_000_000, "iss": "https://issuer.example.com",
	})}
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			authenticate(g, x, r)
		}
	})
	// A plugin config of the benchmark's own, so that the cache can be passed by.
	j, err := compile(gateway.Env{}, json.RawMessage(`{"key_claim_name":"key"}`))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("verified", func(b *testing.B) {
		b.ReportAllocs()
		x.Request.Method, x.Request.Path, x.Start = "GET", "/a/", time.Now()
		g.Begin(x, nil)
		for b.Loop() {
			if known, _, refusal := j.(*jwtAuth).verify(x, r.token[len("Bearer "):]); known == nil {
				b.Fatalf("%s", refusal)
			}
		}
		x.Finish()
		x.Reset()
	})
}
