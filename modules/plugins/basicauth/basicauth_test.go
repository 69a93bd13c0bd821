// SPDX-License-Identifier: Apache-2.0

package basicauth

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

// consumers returns a gateway with a route for 1 000 consumers, "c0" with the password "secret-0" and so on.
func consumers(t testing.TB) *gateway.Gateway {
	t.Helper()
	objects := []gateway.Object{{
		Kind: gateway.Routes, ID: "1",
		Value: json.RawMessage(`{"id":"1","uri":"/*","plugins":{"basic-auth":{}},"upstream":{"nodes":{"127.0.0.1:1":1}}}`),
	}}
	for i := range 1000 {
		objects = append(objects, consumer(fmt.Sprintf("c%d", i), fmt.Sprintf("secret-%d", i)))
	}
	return gatewaytest.Open(t, objects...)
}

func consumer(user, password string) gateway.Object {
	return gateway.Object{
		Kind: gateway.Consumers, ID: user,
		Value: json.RawMessage(fmt.Sprintf(`{"username":%q,"plugins":{"basic-auth":{"username":%[1]q,"password":%q}}}`, user, password)),
	}
}

func field(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// authenticate takes an exchange through its hooks up to where it would be forwarded.
func authenticate(g *gateway.Gateway, x *gateway.Exchange, authorization string) gateway.Step {
	x.Request.Method, x.Request.Host, x.Request.Path, x.Request.EscapedPath = "GET", "h", "/a", "/a"
	x.Request.Header.Add("Authorization", authorization)
	g.Begin(x, nil)
	step := x.Next(false)
	if step == gateway.StepReply {
		x.FilterHeader()
	}
	x.Finish()
	x.Reset()
	return step
}

// TestChange: what was proven with a password is forgotten with it, and with its consumer.
func TestChange(t *testing.T) {
	g := consumers(t)
	x := new(gateway.Exchange)
	check := func(what, authorization string, want gateway.Step) {
		t.Helper()
		for range 2 {
			if got := authenticate(g, x, authorization); got != want {
				t.Errorf("%s: got step %v, want %v", what, got, want)
			}
		}
	}
	submit := func(c gateway.Change) {
		t.Helper()
		if _, err := g.Submit(t.Context(), func(gateway.Tx) ([]gateway.Change, error) { return []gateway.Change{c}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	old, fresh := field("c7", "secret-7"), field("c7", "new")
	check("before", old, gateway.StepForward)
	check("too early", fresh, gateway.StepReply)
	submit(gateway.Change{Object: consumer("c7", "new")})
	check("old password", old, gateway.StepReply)
	check("new password", fresh, gateway.StepForward)
	submit(gateway.Change{Object: gateway.Object{Kind: gateway.Consumers, ID: "c7"}, Delete: true})
	check("deleted", fresh, gateway.StepReply)
	submit(gateway.Change{Object: consumer("c7", "secret-7")})
	check("back", old, gateway.StepForward)
	check("back with another password", fresh, gateway.StepReply)
}

func TestAllocs(t *testing.T) {
	g := consumers(t)
	x := new(gateway.Exchange)
	authorization := field("c500", "secret-500")
	if got := authenticate(g, x, authorization); got != gateway.StepForward {
		t.Fatalf("got step %v", got)
	}
	if n := testing.AllocsPerRun(100, func() { authenticate(g, x, authorization) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkBasicAuth(b *testing.B) {
	g := consumers(b)
	x := new(gateway.Exchange)
	for name, authorization := range map[string]string{
		"known": field("c500", "secret-500"), "wrong": field("c500", "x"), "unknown": field("nobody", "x"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				authenticate(g, x, authorization)
			}
		})
	}
}
