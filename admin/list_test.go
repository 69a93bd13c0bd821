// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

func route(members string) string {
	return `{"uri":"/a",` + members + `"upstream":{"nodes":{"a:1":1}}}`
}

// listed returns total and the ids of a list, in its order.
func (a api) listed(path string) (total string, ids []string) {
	a.t.Helper()
	w := a.call(http.MethodGet, prefix+path, "")
	if w.Code != http.StatusOK || !strings.HasSuffix(w.Body.String(), "\n") {
		a.t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	doc, err := normalize(w.Body.Bytes())
	if err != nil {
		a.t.Fatalf("GET %s: %v: %s", path, err, w.Body)
	}
	for item := range eachItem(lookup(doc, "list")) {
		key, _ := stringOf(lookup(item, "key"))
		_, id, _ := gateway.ParseKey(key)
		ids = append(ids, id)
	}
	return string(lookup(doc, "total")), ids
}

func TestPages(t *testing.T) {
	// Created in the order 25, 24 ... 1; by key 1, 10, 11 ...
	var objects []gateway.Object
	var created, byKey []string
	for i := 25; i >= 1; i-- {
		id := fmt.Sprint(i)
		objects = append(objects, stored(gateway.Services, id, `{}`))
		created = append(created, id)
		byKey = append(byKey, id)
	}
	slices.Sort(byKey)
	a := openAPI(t, objects)
	for _, c := range []struct {
		query string
		want  []string
	}{
		{"", byKey},
		{"?page=1", byKey},
		{"?page_size=10", byKey},
		{"?page=x&page_size=10", byKey},
		{"?page=1&page_size=x", byKey},
		{"?page=1&page_size=NaN", byKey},
		{"?page=1&page_size=10", created[:10]},
		{"?page=2&page_size=10", created[10:20]},
		{"?page=3&page_size=10", created[20:]},
		{"?page=4&page_size=10", nil},
		{"?page=1e300&page_size=500", nil},
		{"?page=0&page_size=10", created[:10]},
		{"?page=-7&page_size=10", created[:10]},
		{"?page=1&page_size=500", created},
	} {
		if total, got := a.listed("/services" + c.query); total != "25" || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %s of %s, want %s", c.query, got, total, c.want)
		}
	}
	for _, size := range []string{"9", "501", "-1", "0", "1e300"} {
		if w := a.call("GET", prefix+"/services?page=1&page_size="+size, ""); w.Code != 400 || w.Body.String() != "page_size must be between 10 and 500" {
			t.Errorf("page_size=%s: got %d %s", size, w.Code, w.Body)
		}
	}
}

func TestFilters(t *testing.T) {
	a := openAPI(t, []gateway.Object{
		stored(gateway.Services, "1", `{"name":"one"}`), stored(gateway.Services, "2", `{}`),
		stored(gateway.Upstreams, "2", `{"nodes":{"a:1":1}}`),
		stored(gateway.Routes, "a", route(`"name":"foo1","labels":{"env":"x"},"service_id":"1",`)),
		stored(gateway.Routes, "b", `{"uris":["/b","/world/*"],"service_id":1,"labels":{"envy":"x"}}`),
		stored(gateway.Routes, "c", `{"uri":"/hello/world","name":"bar","service_id":"1","upstream_id":"2"}`),
		stored(gateway.Routes, "d", `{"uri":"/d","name":"a\u0062c","upstream_id":"2"}`),
		stored(gateway.Consumers, "foo", `{"username":"foo"}`),
	})
	for _, c := range []struct{ path, want string }{
		{"/routes?name=foo", "a"},
		{"/routes?name=^fo", "a"},
		{"/routes?name=^o", ""},
		{"/routes?name=abc", "d"},
		{"/routes?name=nil", "b"},
		{"/routes?name=(", ""},
		{"/routes?name=", "a b c d"},
		{"/routes?label=env", "a"},
		{"/routes?label=x", ""},
		{"/routes?uri=world", "b c"},
		{"/routes?uri=^/b$", "b"},
		{"/routes?filter=service_id%3D1", "a c"},
		{"/routes?filter=service_id%3D1%26upstream_id%3D2", "c"},
		{"/routes?filter=service_id%3D9%26service_id%3D1", "a c"},
		{"/routes?filter=upstream_id%3D2%26host%3Dx", "c d"},
		{"/routes?filter=host%3Dx", "a b c d"},
		{"/routes?filter=service_id%3D1&name=bar", "c"},
		{"/routes?filter=service_id%3D1&page=1&page_size=10", "a c"},
		{"/services?filter=service_id%3D9", "1 2"},
		{"/services?name=one", "1"},
		{"/consumers?name=foo", ""},
		{"/consumers?name=nil", "foo"},
	} {
		total, got := a.listed(c.path)
		if strings.Join(got, " ") != c.want || total != fmt.Sprint(len(got)) {
			t.Errorf("%s: got %s of %s, want %s", c.path, got, total, c.want)
		}
	}
}

func TestListsOfFolders(t *testing.T) {
	a := openAPI(t, []gateway.Object{
		jack, stored(gateway.Consumers, "jackson", `{"username":"jackson"}`),
		stored(gateway.Credentials, "jack/credentials/c1", `{"plugins":{}}`),
		stored(gateway.Credentials, "jack/credentials/c2", `{"plugins":{}}`),
		stored(gateway.Secrets, "aws/1", `{}`), stored(gateway.Secrets, "vault/1", `{}`),
	})
	for _, c := range []struct{ path, want string }{
		{"/consumers", "jack jackson"},
		{"/consumers/jack/credentials", "jack/credentials/c1 jack/credentials/c2"},
		{"/secrets", "aws/1 vault/1"},
		{"/secrets/vault", "vault/1"},
		{"/secrets/gcp", ""},
	} {
		if _, got := a.listed(c.path); strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %s, want %s", c.path, got, c.want)
		}
	}
	a.want("GET", prefix+"/consumers/jackson/credentials", "", 404, `{"message":"Key not found"}`)
	a.want("GET", prefix+"/services/1/graphql_cost_decorations", "", 404, `{"message":"Key not found"}`)
}

// counter is a client that keeps nothing of what it reads, and looks now and then at how much the server keeps.
type counter struct {
	header        http.Header
	bytes, writes int
	peak          uint64
}

func (c *counter) Header() http.Header { return c.header }
func (c *counter) WriteHeader(int)     {}

func (c *counter) Write(p []byte) (int, error) {
	if c.writes%256 == 0 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		c.peak = max(c.peak, stats.HeapAlloc)
	}
	c.writes++
	c.bytes += len(p)
	return len(p), nil
}

func TestLongListsTakeNoMemory(t *testing.T) {
	const n = 10_000
	var objects []gateway.Object
	for i := range n {
		objects = append(objects, stored(gateway.Services, fmt.Sprint(i), `{"desc":"`+strings.Repeat("x", 200)+`"}`))
	}
	a := openAPI(t, objects)
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := &counter{header: http.Header{}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+prefix+"/services", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host, r.Body = "localhost", http.NoBody
	a.ServeHTTP(c, r)
	if c.bytes < n*200 {
		t.Errorf("%d bytes in the list", c.bytes)
	}
	if grown := int64(c.peak) - int64(before.HeapAlloc); grown > 256<<10 {
		t.Errorf("the heap has grown by %d bytes for a list of %d", grown, c.bytes)
	}
}

// BenchmarkList lists ten thousand routes as a client would, and says after which time the first bytes come.
func BenchmarkList(b *testing.B) {
	var objects []gateway.Object
	for i := range 10_000 {
		objects = append(objects, stored(gateway.Routes, fmt.Sprint(i), fmt.Sprintf(
			`{"uri":"/r/%d/*","desc":"%s","plugins":{"key-auth":{}},"upstream":{"nodes":{"a:1":1}}}`, i, strings.Repeat("x", 200))))
	}
	a := openAPI(b, objects)
	for name, query := range map[string]string{"all": "", "page": "?page=500&page_size=20", "uri": "?uri=9.9", "pcre": "?uri=9(?=9)"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var first time.Duration
			for b.Loop() {
				w := &firstByte{header: http.Header{}}
				r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://localhost"+prefix+"/routes"+query, nil)
				if err != nil {
					b.Fatal(err)
				}
				r.Host, r.Body = "localhost", http.NoBody
				start := time.Now()
				a.ServeHTTP(w, r)
				first += w.at.Sub(start)
			}
			b.ReportMetric(float64(first.Nanoseconds())/float64(b.N), "ns/first-byte")
		})
	}
}

// firstByte notes when the first part of an answer comes, and drops it.
type firstByte struct {
	header http.Header
	at     time.Time
}

func (w *firstByte) Header() http.Header { return w.header }
func (w *firstByte) WriteHeader(int)     {}

func (w *firstByte) Write(p []byte) (int, error) {
	if w.at.IsZero() {
		w.at = time.Now()
	}
	return len(p), nil
}
