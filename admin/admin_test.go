// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	_ "github.com/andogate/ando/modules/plugins/standard"
	"github.com/andogate/ando/modules/secret"
	"github.com/andogate/ando/modules/store/memory"
	"github.com/andogate/ando/modules/table"
)

// testPlugins are all plugins, and one that keeps secrets everywhere.
func testPlugins() gateway.Plugins {
	plugins := gateway.RegisteredPlugins()
	plugins[secretive.Name] = secretive
	return plugins
}

var secretive = &gateway.Plugin{
	Name: "secretive", Priority: -1,
	Schema:         []byte(`{"type":"object","encrypt_fields":["token","list.token"]}`),
	MetadataSchema: []byte(`{"type":"object","encrypt_fields":["token"]}`),
	New:            func(gateway.Env, json.RawMessage) (any, error) { return struct{}{}, nil },
}

func newCompiler(plugins gateway.Plugins) *table.Compiler {
	return &table.Compiler{Plugins: plugins, Keyring: testKeyring}
}

var testKeyring = secret.Generate()

// testTime is in the future, so that nothing that is written with a ttl expires.
var testTime = time.Unix(4_000_000_000, 0)

// api is an Admin API over a gateway of its own, with an empty store.
type api struct {
	*Handler
	t testing.TB
}

func newAPI(t testing.TB, change ...func(*Config)) api {
	t.Helper()
	return openAPI(t, nil, change...)
}

// openAPI is newAPI with objects in the store. They may be such that they cannot be served.
func openAPI(t testing.TB, objects []gateway.Object, change ...func(*Config)) api {
	t.Helper()
	return openStore(t, storeOf(objects), change...)
}

// storeOf returns a store with the objects, which are numbered in their order.
func storeOf(objects []gateway.Object) gateway.Store {
	objects = slices.Clone(objects)
	for i := range objects {
		objects[i].Created, objects[i].Modified = uint64(i+1), uint64(i+1)
	}
	return memory.New(objects...)
}

// openStore is newAPI over a store, which is closed with the gateway.
func openStore(t testing.TB, store gateway.Store, change ...func(*Config)) api {
	t.Helper()
	return openPlugins(t, testPlugins(), store, change...)
}

// openPlugins is openStore with other plugins.
func openPlugins(t testing.TB, plugins gateway.Plugins, store gateway.Store, change ...func(*Config)) api {
	t.Helper()
	compiler := newCompiler(plugins)
	g, _, err := gateway.Open(t.Context(), store, &gateway.Generation{
		Compiler: compiler, Settings: gateway.DefaultSettings(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	cfg := Config{
		Gateway: g, Checker: compiler, Plugins: plugins, Keyring: testKeyring,
		Stream: true, Now: func() time.Time { return testTime },
	}
	for _, f := range change {
		if f != nil {
			f(&cfg)
		}
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return api{h, t}
}

// call sends a request without a body when body is empty.
func (a api) call(method, path, body string, header ...string) *httptest.ResponseRecorder {
	a.t.Helper()
	r := httptest.NewRequestWithContext(a.t.Context(), method, "http://localhost:9180"+path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w
}

// want sends a request and checks status and whole body.
func (a api) want(method, path, body string, status int, answer string) {
	a.t.Helper()
	w := a.call(method, path, body)
	if got := strings.TrimSuffix(w.Body.String(), "\n"); w.Code != status || got != answer {
		a.t.Errorf("%s %s %s\ngot  %d %s\nwant %d %s", method, path, body, w.Code, got, status, answer)
	}
}

// put stores an object, which must be possible.
func (a api) put(path, body string) {
	a.t.Helper()
	if w := a.call(http.MethodPut, prefix+path, body); w.Code >= 300 {
		a.t.Fatalf("PUT %s %s: %d %s", path, body, w.Code, w.Body)
	}
}

// value returns the value of a stored object as text.
func (a api) value(path string) string {
	a.t.Helper()
	w := a.call(http.MethodGet, prefix+path, "")
	if w.Code != http.StatusOK {
		a.t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	return string(lookup(w.Body.Bytes(), "value"))
}
