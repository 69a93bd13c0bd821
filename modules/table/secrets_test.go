// SPDX-License-Identifier: Apache-2.0

package table

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/secret"
	"github.com/andogate/ando/modules/store/memory"
)

// vaulted is a gateway whose secrets are in a vault of one secret, "kv/jack" with the member key.
type vaulted struct {
	*testing.T
	gateway *gateway.Gateway
	secrets *Secrets
	value   atomic.Value
	down    atomic.Bool
	now     time.Time
}

func newVaulted(t *testing.T, objects ...gateway.Object) *vaulted {
	t.Helper()
	v := &vaulted{T: t, now: time.Now()}
	v.value.Store("one")
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `{"data":{"key":%q}}`, v.value.Load())
	}))
	t.Cleanup(vault.Close)
	objects = append(objects, gateway.Object{
		Kind: gateway.Secrets, ID: "vault/1", Value: json.RawMessage(fmt.Sprintf(`{"uri":%q,"prefix":"kv","token":"t"}`, vault.URL)),
	})
	for i := range objects {
		objects[i].Created, objects[i].Modified = uint64(i+1), uint64(i+1)
	}
	resolver := &secret.Resolver{Now: func() time.Time { return v.now }}
	var seen []string
	plugins := toyPlugins()
	plugins["guarded"] = guarded(&seen)
	compiler := &Compiler{Plugins: plugins, Secrets: resolver}
	g, faults, err := gateway.Open(context.Background(), memory.New(objects...), &gateway.Generation{Compiler: compiler})
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	t.Cleanup(func() { g.Close() })
	v.gateway = g
	v.secrets = &Secrets{Gateway: g, Resolver: resolver, Log: zap.NewNop}
	return v
}

// wantKeys says which credentials of the plugin guarded there are, of those that may be.
func (v *vaulted) wantKeys(keys ...string) {
	v.Helper()
	want := make(map[string]bool)
	for _, key := range keys {
		want[key] = true
	}
	for _, key := range []string{"one", "two", "new", reference} {
		if found := v.gateway.Table().Credential("guarded", key) != nil; found != want[key] {
			v.Errorf("credential %s: %v", key, found)
		}
	}
}

const reference = "$secret://vault/1/jack/key"

func TestCredentialInVault(t *testing.T) {
	v := newVaulted(t, gateway.Object{
		Kind: gateway.Consumers, ID: "jack", Value: json.RawMessage(`{"username":"jack","plugins":{"guarded":{"key":"` + reference + `"}}}`),
	})
	v.wantKeys()
	v.secrets.Pass(context.Background())
	v.wantKeys("one")
	v.value.Store("two")
	v.secrets.Pass(context.Background())
	v.wantKeys("one")
	v.now = v.now.Add(secret.RefreshAfter)
	v.secrets.Pass(context.Background())
	v.wantKeys("two")
	v.down.Store(true)
	v.now = v.now.Add(secret.RefreshAfter)
	v.secrets.Pass(context.Background())
	v.wantKeys("two")
	// A value that the schema refuses does not take the one before away.
	v.down.Store(false)
	v.value.Store("far too long for a key")
	v.now = v.now.Add(secret.RefreshAfter)
	v.secrets.Pass(context.Background())
	v.wantKeys("two")
	if _, err := v.gateway.Submit(context.Background(), func(gateway.Tx) ([]gateway.Change, error) {
		return []gateway.Change{{Delete: true, Object: gateway.Object{Kind: gateway.Secrets, ID: "vault/1"}}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	v.secrets.Pass(context.Background())
	v.wantKeys()
}

func TestWriteFetchesFirst(t *testing.T) {
	v := newVaulted(t)
	jack := json.RawMessage(`{"username":"jack","plugins":{"guarded":{"key":"` + reference + `"}}}`)
	v.secrets.Prefetch(context.Background(), jack)
	if _, err := v.gateway.Submit(context.Background(), func(gateway.Tx) ([]gateway.Change, error) {
		return []gateway.Change{{Object: gateway.Object{Kind: gateway.Consumers, ID: "jack", Value: jack}}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	v.wantKeys("one")
	// Somebody else cannot have the key that it stands for.
	if _, err := v.gateway.Submit(context.Background(), func(gateway.Tx) ([]gateway.Change, error) {
		return []gateway.Change{{Object: gateway.Object{
			Kind: gateway.Consumers, ID: "rose", Value: json.RawMessage(`{"username":"rose","plugins":{"guarded":{"key":"one"}}}`),
		}}}, nil
	}); err == nil {
		t.Error("two consumers with one key")
	}
}

// TestUnresolvedIsClosed: a config, or an upstream, whose secret nobody knows answers 503.
func TestUnresolvedIsClosed(t *testing.T) {
	routes := map[string]string{
		"1": `{"uri":"/1","plugins":{"guarded":{"key":"` + reference + `"}},"upstream":{"nodes":{"a:1":1}}}`,
		"2": `{"uri":"/2","upstream":{"nodes":{"a:1":1},"tls":{"client_cert":"c","client_key":"` + reference + `"}}}`,
		"3": `{"uri":"/3","plugins":{"guarded":{"key":"open"}},"upstream":{"nodes":{"a:1":1}}}`,
		"4": `{"uri":"/4","plugins":{"guarded":{"key":"$env://ANDO_TEST_KEY"}},"upstream":{"nodes":{"a:1":1}}}`,
	}
	var objects []gateway.Object
	for id, value := range routes {
		objects = append(objects, gateway.Object{Kind: gateway.Routes, ID: id, Value: json.RawMessage(value)})
	}
	t.Setenv("ANDO_TEST_KEY", "a")
	v := newVaulted(t, objects...)
	answers := func(want map[string]int) {
		t.Helper()
		for path, status := range want {
			x := new(gateway.Exchange)
			x.Request.Method, x.Request.Path, x.Request.EscapedPath, x.Request.Host = "GET", path, path, "h"
			v.gateway.Begin(x, nil)
			got := 0
			if x.Next(true) == gateway.StepReply {
				got = x.Response.Status
			}
			if got != status {
				t.Errorf("%s: got %d, want %d", path, got, status)
			}
		}
	}
	answers(map[string]int{"/1": 503, "/2": 503, "/3": 0, "/4": 0})
	v.secrets.Pass(context.Background())
	answers(map[string]int{"/1": 0, "/3": 0, "/4": 0})
}

// TestOthersGoOn: what does not refer to a secret that changes keeps what was compiled of it.
func TestOthersGoOn(t *testing.T) {
	v := newVaulted(t,
		gateway.Object{Kind: gateway.Routes, ID: "1", Value: json.RawMessage(`{"uri":"/1","plugins":{"guarded":{"key":"` + reference + `"}}}`)},
		gateway.Object{Kind: gateway.Routes, ID: "2", Value: json.RawMessage(`{"uri":"/2","plugins":{"guarded":{"key":"k"}}}`)},
	)
	route := func(id string) any { return v.gateway.Table().(*Table).objects[kindRoutes].get(id).compiled }
	one, two := route("1"), route("2")
	v.secrets.Pass(context.Background())
	if route("1") == one || route("2") != two {
		t.Error("another route was compiled again, or the one was not")
	}
	one = route("1")
	v.secrets.Pass(context.Background())
	if route("1") != one {
		t.Error("a route was compiled again although nothing had changed")
	}
}

func BenchmarkPass(b *testing.B) {
	var objects []gateway.Object
	for i := range 10_000 {
		objects = append(objects, gateway.Object{
			Kind: gateway.Consumers, ID: fmt.Sprintf("c%d", i), Created: uint64(i + 1), Modified: uint64(i + 1),
			Value: json.RawMessage(fmt.Sprintf(`{"username":"c%d","plugins":{"guarded":{"key":"$secret://vault/2/c%[1]d/key"}}}`, i)),
		})
	}
	var seen []string
	resolver := new(secret.Resolver)
	g, _, err := gateway.Open(context.Background(), memory.New(objects...), &gateway.Generation{
		Compiler: &Compiler{Plugins: gateway.Plugins{"guarded": guarded(&seen)}, Secrets: resolver},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	s := &Secrets{Gateway: g, Resolver: resolver, Log: zap.NewNop}
	for b.Loop() {
		s.Pass(context.Background())
	}
}
