// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/andogate/ando/admin/standalone"
	"github.com/andogate/ando/modules/gateway"
)

const configs = prefix + "/configs"

func newDocumentAPI(t testing.TB) api {
	t.Helper()
	return newAPI(t, func(c *Config) { c.Standalone = new(standalone.State) })
}

// push replaces the document and checks status and body.
func (a api) push(digest, body string, status int, answer string) {
	a.t.Helper()
	w := a.call(http.MethodPut, configs, body, "X-Digest", digest)
	if got := strings.TrimSuffix(w.Body.String(), "\n"); w.Code != status || got != answer {
		a.t.Errorf("PUT %.200s\ngot  %d %s\nwant %d %s", body, w.Code, got, status, answer)
	}
}

func (a api) accept(digest, body string) {
	a.t.Helper()
	a.push(digest, body, http.StatusAccepted, "")
}

func (a api) pulled() []byte {
	a.t.Helper()
	return a.call(http.MethodGet, configs, "").Body.Bytes()
}

// exists reports which objects are served, by key.
func (a api) keys() []string {
	var keys []string
	for _, kind := range gateway.Kinds {
		for o := range a.gateway.Table().Objects(kind) {
			keys = append(keys, o.Key())
		}
	}
	slices.Sort(keys)
	return keys
}

const oneRoute = `{"routes":[{"id":"r1","uri":"/a","upstream":{"type":"roundrobin","nodes":{"a:1":1}}}]`

func TestDocumentExamples(t *testing.T) {
	ran := 0
	for _, c := range readExamples(t) {
		if !strings.Contains(c.Precondition, "API-driven standalone") {
			continue
		}
		ran++
		t.Run(fmt.Sprint(c.N), func(t *testing.T) {
			a := newDocumentAPI(t)
			if strings.HasSuffix(c.Precondition, "stored version 100") {
				a.accept("100", oneRoute+`,"routes_conf_version":100}`)
			}
			if c.Status == http.StatusNoContent {
				a.accept(c.Headers["X-Digest"], oneRoute+`}`)
			}
			var header []string
			for name, value := range c.Headers {
				header = append(header, name, value)
			}
			before := a.keys()
			w := a.call(c.Method, c.Path, string(c.body()), header...)
			for _, problem := range c.check(w, c.Status, "") {
				t.Error(problem)
			}
			names, _ := c.Expect.all["headers"].([]any)
			for _, name := range names {
				if w.Header().Get(name.(string)) == "" {
					t.Errorf("no %s", name)
				}
			}
			if c.Expect.all["then"] != nil && string(lookup(a.pulled(), "routes_conf_version")) != "1" {
				t.Errorf("then %s", a.pulled())
			}
			if changed := !slices.Equal(a.keys(), before); changed && (c.Status != http.StatusAccepted || len(before) > 0) {
				t.Errorf("from %v to %v", before, a.keys())
			}
		})
	}
	if ran != 10 {
		t.Errorf("%d cases ran", ran)
	}
}

// Everything but the document is not there.
func TestDocumentPaths(t *testing.T) {
	a := newDocumentAPI(t)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"HEAD", "", 200},
		{"GET", "/routes", 404},
		{"PUT", "/routes/1", 404},
		{"GET", "/plugins/list", 404},
		{"POST", "/configs", 404},
		{"DELETE", "/configs", 404},
		{"GET", "/configs/validate", 404},
		{"GET", "/configs", 200},
		{"HEAD", "/configs", 200},
	} {
		if w := a.call(c.method, prefix+c.path, ""); w.Code != c.status {
			t.Errorf("%s %s: %d", c.method, c.path, w.Code)
		}
	}
	a.want("POST", configs+"/validate", oneRoute+`}`, 200, "{}")
	etcd := newAPI(t)
	etcd.want("GET", configs, "", 404, `{"error_msg":"Unsupported resource type: configs"}`)
}

func TestDocumentVersions(t *testing.T) {
	a := newDocumentAPI(t)
	if got := lookup(a.pulled(), "upstreams_conf_version"); string(got) != "0" {
		t.Errorf("never set: %s", got)
	}
	w := a.call("HEAD", configs, "")
	if _, there := w.Header()["X-Last-Modified"]; there {
		t.Error("nothing was ever modified")
	}
	a.push("", `{}`, 400, `{"error_msg":"missing digest header"}`)
	a.push("1", ``, 400, `{"error_msg":"invalid request body: empty request body"}`)
	a.push("1", `{"routes_conf_version":"1"}`, 400, `{"error_msg":"routes_conf_version must be a number"}`)

	// A version is a time in milliseconds, and comes back digit by digit.
	a.accept("2", oneRoute+`,"routes_conf_version":1763850000123,"upstreams":[{"id":"u","nodes":{"a:1":1},"modifiedIndex":1763850000123}]}`)
	doc := a.pulled()
	if got := string(lookup(doc, "routes_conf_version")) + " " + string(lookup(doc, "upstreams_conf_version")); got != "1763850000123 1" {
		t.Errorf("versions %s", got)
	}
	if got := string(lookup(doc, "upstreams")); got != `[{"id":"u","modifiedIndex":1763850000123,"nodes":{"a:1":1}}]` {
		t.Errorf("upstreams %s", got)
	}
	w = a.call("HEAD", configs, "")
	if got := w.Header().Get("X-Digest") + " " + w.Header().Get("X-Last-Modified"); got != "2 4000000000" || w.Body.Len() > 0 {
		t.Errorf("HEAD %s %s", got, w.Body)
	}

	a.push("3", `{"routes_conf_version":1763850000122}`, 400,
		`{"error_msg":"routes_conf_version must be greater than or equal to (1763850000123)"}`)
	// The version before keeps what was there, whatever comes with it; a section that is missing is emptied.
	a.accept("4", `{"routes_conf_version":1763850000123,"routes":[{"id":"bad"}]}`)
	if got := a.keys(); !slices.Equal(got, []string{"/apisix/routes/r1"}) {
		t.Errorf("kept %v", got)
	}
	a.accept("5", `{"routes_conf_version":1763850000124}`)
	if got := a.keys(); len(got) > 0 {
		t.Errorf("kept %v", got)
	}
}

// A document that is tried is refused as it would be, and otherwise leaves nothing.
func TestDocumentDryRun(t *testing.T) {
	a := newDocumentAPI(t)
	a.accept("1", oneRoute+`}`)
	before, keys := string(a.pulled()), a.keys()
	for body, want := range map[string]int{
		`{"services":[{"id":"s"}]}`:            http.StatusAccepted,
		`{"routes":[{"id":"r","uri":1}]}`:      http.StatusBadRequest,
		oneRoute + `,"routes_conf_version":0}`: http.StatusBadRequest,
	} {
		w := a.call(http.MethodPut, configs+"?dry_run=true", body, "X-Digest", "2")
		if w.Code != want || (w.Header().Get(dryRunField) == "true") != (want == http.StatusAccepted) {
			t.Errorf("%s: got %d %s", body, w.Code, w.Body)
		}
		if after := string(a.pulled()); after != before || !slices.Equal(a.keys(), keys) {
			t.Errorf("%s: it was done", body)
		}
	}
	if w := a.call(http.MethodPut, configs+"?dry_run=maybe", oneRoute+`}`, "X-Digest", "2"); w.Code != http.StatusBadRequest {
		t.Errorf("got %d", w.Code)
	}
}

func TestDocumentRefusals(t *testing.T) {
	a := newDocumentAPI(t)
	a.accept("ok", oneRoute+`}`)
	before := string(a.pulled())
	revision := a.gateway.Table().Revision()
	for _, c := range []struct{ body, message string }{
		{`{"consumers":[{"username":"john"},{"id":"john/credentials/x","plugins":{"key-auth":{"key":"1"}}},{"id":"john/credentials/x","plugins":{"key-auth":{"key":"2"}}}]}`, "found duplicate credential id john/credentials/x in consumers"},
		{`{"secrets":[{"id":"vault","uri":"http://a"}]}`, "invalid secret id: vault"},
		{`{"secrets":[{"id":"safe/1"}]}`, "invalid secret manager: safe"},
		{`{"routes":[{"id":"r2","uri":"/a","plugins":{"no-such":{}}}]}`, "unknown plugin [no-such]"},
		{`{"routes":[{"id":"r2","uri":1,"upstream":{"nodes":{"a:1":1}}}]}`, `invalid configuration: property "uri" validation failed: wrong type: expected string, got number`},
		{`{"routes":{"a":1}}`, "routes must be an array"},
		{`{"routes":[1]}`, "invalid configuration: wrong type: expected object, got number"},
		{`[]`, "invalid request body: expected an object"},
		// Two consumers with one key are only found when all of them are compiled.
		{`{"consumers":[{"username":"a","plugins":{"key-auth":{"key":"k"}}},{"username":"b","plugins":{"key-auth":{"key":"k"}}}]}`, "duplicate key of plugin key-auth found with consumer: a"},
	} {
		w := a.call(http.MethodPut, configs, c.body, "X-Digest", c.message)
		if message, _ := stringOf(lookup(w.Body.Bytes(), "error_msg")); w.Code != 400 || message != c.message {
			t.Errorf("%s\ngot  %d %s\nwant %s", c.body, w.Code, w.Body, c.message)
		}
	}
	if string(a.pulled()) != before || a.gateway.Table().Revision() != revision {
		t.Error("a refusal has changed something")
	}
}

func TestDocumentYAML(t *testing.T) {
	a := newDocumentAPI(t)
	put := func(body string) (status int, answer string) {
		w := a.call(http.MethodPut, configs, body, "X-Digest", body, "Content-Type", "application/yaml; charset=utf-8")
		return w.Code, w.Body.String()
	}
	if status, answer := put("- a"); status != 400 || answer != `{"error_msg":"invalid request body: invalid yaml request body"}`+"\n" {
		t.Errorf("got %d %s", status, answer)
	}
	if status, answer := put("routes_conf_version: 1763850000123\nroutes:\n- {id: '1', uri: /a, upstream: {nodes: {'a:1': 1}}}\n"); status != 202 {
		t.Errorf("got %d %s", status, answer)
	}
	w := a.call(http.MethodGet, configs, "", "Accept", "application/yaml")
	if got := w.Header().Get("Content-Type"); got != "application/yaml" {
		t.Errorf("type %s", got)
	}
	if got := w.Body.String(); !strings.Contains(got, `"routes_conf_version": 1763850000123`) || !strings.Contains(got, `    "uri": "/a"`) {
		t.Errorf("got %s", got)
	}
	// What was given out is taken again.
	again := newDocumentAPI(t)
	if w := again.call(http.MethodPut, configs, w.Body.String(), "X-Digest", "x", "Content-Type", "application/yaml"); w.Code != 202 {
		t.Fatalf("got %d %s", w.Code, w.Body)
	}
	if got, want := string(again.pulled()), string(a.pulled()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// bigDocument has n routes of a kilobyte, each with an upstream of its own.
func bigDocument(n int) string {
	var b strings.Builder
	b.WriteString(`{"routes":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"r%d","uri":"/api/%[1]d/*","upstream_id":"u%[1]d","plugins":{"response-rewrite":{"body":"%01000[1]d"}}}`, i)
	}
	b.WriteString(`],"upstreams":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":"u%d","type":"roundrobin","nodes":[{"host":"10.0.%d.%d","port":80,"weight":1}]}`, i, i/250, i%250)
	}
	b.WriteString(`]}`)
	return b.String()
}

// A document of more than ten megabytes is taken, and what did not change in the next one is not written again.
func TestBigDocument(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 500
	}
	a := newDocumentAPI(t)
	body := bigDocument(n)
	a.accept("1", body)
	if got := len(a.keys()); got != 2*n {
		t.Fatalf("%d objects", got)
	}
	revision := a.gateway.Table().Revision()
	a.accept("2", strings.Replace(body, `"/api/77/*"`, `"/api/other/*"`, 1))
	if got := a.gateway.Table().Revision(); got != revision+1 {
		t.Errorf("%d changes for one", got-revision)
	}
	a.accept("3", `{}`)
	if got := a.keys(); len(got) > 0 {
		t.Errorf("%d objects are left", len(got))
	}
}

func BenchmarkDocument(b *testing.B) {
	body := bigDocument(10_000)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			a := newDocumentAPI(b)
			b.StartTimer()
			a.accept("1", body)
		}
	})
	b.Run("same", func(b *testing.B) {
		a := newDocumentAPI(b)
		n := 0
		for b.Loop() {
			n++
			a.accept(fmt.Sprint(n), body)
		}
	})
}
