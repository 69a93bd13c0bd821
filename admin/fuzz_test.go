// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// FuzzHandler sends whatever it is given. No answer may be a server error, a refusal must have changed nothing, and what
// was stored must be readable, under its own id.
func FuzzHandler(f *testing.F) {
	for _, c := range readExamples(f) {
		if strings.HasPrefix(c.Path, prefix) && c.Plugin == "" {
			f.Add(c.Method, strings.TrimPrefix(c.Path, prefix), c.body())
		}
	}
	for _, path := range []string{
		"/routes/a%2Fb", "/routes/%00", "/routes/..", "/routes//x", "/routes/1/a/b/", "/secrets/vault/1/token", "/consumers//credentials/",
		"/services/1/graphql_cost_decorations/1", "/routes?ttl=1e9&page=1&page_size=10&name=(&uri=a&label=b&filter=%25", "/%F0%28",
	} {
		for _, method := range []string{"GET", "PUT", "POST", "PATCH", "DELETE"} {
			f.Add(method, path, []byte(`{"uri":"/a","upstream":{"nodes":{"a:1":1}}}`))
			f.Add(method, path, []byte(`[{"id":"\u0000"}]`))
		}
	}
	a := newAPI(f)
	for _, o := range []struct{ path, body string }{
		{"/upstreams/1", `{"nodes":{"a:1":1}}`},
		{"/services/1", `{"upstream_id":"1"}`},
		{"/consumers/jack", `{"username":"jack"}`},
		{"/routes/1", plainRoute},
		{"/secrets/vault/1", `{"uri":"http://a","prefix":"p","token":"t"}`},
		{"/plugin_configs/1", `{"plugins":{}}`},
	} {
		a.put(o.path, o.body)
	}
	f.Fuzz(func(t *testing.T, method, path string, body []byte) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+prefix+path, strings.NewReader(string(body)))
		if err != nil || r.URL.Host != "localhost" {
			return
		}
		r.Host = "localhost"
		before := a.gateway.Table().Revision()
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		after := a.gateway.Table().Revision()
		switch {
		case w.Code >= 500:
			t.Fatalf("%s %s %q: %d %s", method, path, body, w.Code, w.Body)
		case w.Code >= 300 && after != before, method == http.MethodGet && after != before:
			t.Fatalf("%s %s %q: %d %s, but something has changed", method, path, body, w.Code, w.Body)
		case strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && w.Code >= 300 && strings.HasPrefix(w.Body.String(), "{"):
			if !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%s %s %q: %s", method, path, body, w.Body)
			}
		}
		if w.Code == http.StatusCreated {
			checkStored(t, a, w.Body.Bytes())
		}
	})
}

func resourceOf(kind gateway.Kind) *resource {
	for _, r := range resources {
		if r.kind == kind {
			return r
		}
	}
	for _, r := range subresources {
		if r.kind == kind {
			return r
		}
	}
	return nil
}

// checkStored reads back what a write says it has stored, and deletes it, so that objects do not pile up.
func checkStored(t *testing.T, a api, answer []byte) {
	t.Helper()
	key, _ := stringOf(lookup(answer, "key"))
	path := prefix + strings.TrimPrefix(key, "/apisix")
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+path, nil))
	kind, id, _ := gateway.ParseKey(key)
	o := gateway.Object{Kind: kind, ID: id, Value: lookup(answer, "value")}
	if w.Code != http.StatusOK || string(lookup(w.Body.Bytes(), "value")) != string(a.shown(resourceOf(kind), o)) {
		t.Fatalf("stored as %s, read back as %d %s", answer, w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodDelete, "http://localhost"+path+"?force=true", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("DELETE %s: %d %s", path, w.Code, w.Body)
	}
}
