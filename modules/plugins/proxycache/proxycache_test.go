// SPDX-License-Identifier: Apache-2.0

package proxycache

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/cache"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
	_ "github.com/andogate/ando/modules/plugins/responserewrite"
)

// origin is a node that counts. What it answers the request says: status and fields in the arguments of that name.
type origin struct {
	*httptest.Server
	requests atomic.Int32
	// hold, when not nil, is waited for in the middle of a body.
	hold chan bool
}

func newOrigin(t *testing.T) *origin {
	t.Helper()
	o := new(origin)
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := o.requests.Add(1)
		query := r.URL.Query()
		for _, field := range query["field"] {
			name, value, _ := strings.Cut(field, ":")
			w.Header().Add(name, value)
		}
		var status int
		if fmt.Sscan(query.Get("status"), &status); status > 0 {
			w.WriteHeader(status)
		}
		if status == 204 || status == 304 {
			return
		}
		fmt.Fprintf(w, "%s response %d %s", r.Method, n, r.Header.Get("X-Lang"))
		if o.hold != nil {
			w.(http.Flusher).Flush()
			<-o.hold
			if query.Get("abort") != "" {
				panic(http.ErrAbortHandler)
			}
			io.WriteString(w, " and its end")
		}
	}))
	t.Cleanup(o.Close)
	return o
}

// cached is a client of a gateway before an origin.
type cached struct {
	*testing.T
	*origin
	url  string
	zone *cache.Zone
}

var zoneNumber atomic.Int32

// onEach runs a test for every wire, with zones in memory and on disk, for a route with proxy-cache and these further
// members of its config.
func onEach(t *testing.T, config string, test func(c *cached), objects ...gateway.Object) {
	t.Helper()
	for _, strategy := range []string{"memory", "disk"} {
		for _, wire := range gatewaytest.Wires() {
			t.Run(strategy+" "+wire.Name, func(t *testing.T) { test(open(t, strategy, wire, config, objects...)) })
		}
	}
}

func open(t *testing.T, strategy string, wire gatewaytest.Wire, config string, objects ...gateway.Object) *cached {
	t.Helper()
	zone := cache.ZoneConfig{Name: fmt.Sprintf("zone%d", zoneNumber.Add(1)), Fresh: 300 * time.Second}
	if strategy == "disk" {
		zone.Path = t.TempDir()
	}
	if err := cache.Define(zone); err != nil {
		t.Fatal(err)
	}
	o := newOrigin(t)
	plugins, more, _ := strings.Cut(config, "|")
	if plugins != "" {
		plugins = "," + plugins
	}
	route := gateway.Object{Kind: gateway.Routes, ID: "1", Value: fmt.Appendf(nil,
		`{"id":"1","uri":"/*","plugins":{"proxy-cache":{"cache_strategy":%q,"cache_zone":%q%s}%s},"upstream":{"nodes":{%q:1}}}`,
		strategy, zone.Name, plugins, more, o.Listener.Addr())}
	g := gatewaytest.Open(t, append([]gateway.Object{route}, objects...)...)
	return &cached{T: t, origin: o, url: "http://" + wire.Serve(t, g), zone: cache.Find(zone.Name)}
}

// do returns the answer, and what the plugin says about it. A miss has been stored, or will not be, when it returns.
func (c *cached) do(method, target string, fields ...string) (res *http.Response, body string) {
	c.Helper()
	r, err := http.NewRequest(method, c.url+target, nil)
	if err != nil {
		c.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	r.Close = true
	res, err = http.DefaultTransport.RoundTrip(r)
	if err != nil {
		c.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		c.Fatal(err)
	}
	return res, string(raw)
}

// want says what becomes of a request: its Apisix-Cache-Status, and the number that the origin gave the response.
func (c *cached) want(outcome string, number int, method, target string, fields ...string) *http.Response {
	c.Helper()
	res, body := c.do(method, target, fields...)
	if got := res.Header.Get(statusField); got != outcome {
		c.Errorf("%s %s %q: got %q, want %q", method, target, fields, got, outcome)
	}
	if want := fmt.Sprintf("response %d ", number); number > 0 && !strings.Contains(body, want) {
		c.Errorf("%s %s %q: got %q, want %s", method, target, fields, body, want)
	}
	c.settle()
	return res
}

// settle waits until nobody fetches anything: a zone on disk is written to beside the answer.
func (c *cached) settle() {
	for deadline := time.Now().Add(20 * time.Second); c.zone.Busy(); {
		if time.Now().After(deadline) {
			c.Fatal("somebody still fetches something")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestHit(t *testing.T) {
	onEach(t, "", func(c *cached) {
		c.want("MISS", 1, "GET", "/a?field=X-A:1&field=X-B:2&field=X-B:3")
		res := c.want("HIT", 1, "GET", "/a?field=X-A:1&field=X-B:2&field=X-B:3")
		if res.Header.Get("X-A") != "1" || len(res.Header.Values("X-B")) != 2 || res.Header.Get("Age") == "" || res.ContentLength != 15 ||
			len(res.Header.Values("Server")) != 1 {
			c.Errorf("got %v", res.Header)
		}
		res = c.want("HIT", 0, "HEAD", "/a?field=X-A:1&field=X-B:2&field=X-B:3")
		// Go's server does not say how long the body would be.
		if res.ContentLength != 15 && res.ContentLength != -1 {
			c.Errorf("HEAD: got %v", res.Header)
		}
		c.want("MISS", 2, "GET", "/b")
		c.want("", 3, "PUT", "/b")
		c.want("MISS", 4, "GET", "/gone?status=404")
		if res := c.want("HIT", 4, "GET", "/gone?status=404"); res.StatusCode != 404 {
			c.Errorf("got %d", res.StatusCode)
		}
		c.want("MISS", 5, "GET", "/bad?status=500")
		c.want("MISS", 6, "GET", "/bad?status=500")
		// A response to HEAD is none to GET.
		c.want("MISS", 0, "HEAD", "/head")
		c.want("MISS", 8, "GET", "/head")
	})
}

func TestNotKept(t *testing.T) {
	onEach(t, `"cache_http_status":[200,204,206,304],"no_cache":["$arg_no","$http_x_no"]`, func(c *cached) {
		for _, target := range []string{
			"/?field=Cache-Control:private", "/?field=Cache-Control:max-age%3D60,%20No-Store", "/?field=Cache-Control:no-cache",
			"/?field=Set-Cookie:a%3Db", "/?field=Vary:*", "/?status=206", "/?no=1",
		} {
			c.want("MISS", 0, "GET", target)
			c.want("MISS", 0, "GET", target)
		}
		c.want("MISS", 0, "GET", "/?no=0")
		c.want("HIT", 0, "GET", "/?no=0")
		c.want("MISS", 0, "GET", "/?status=204")
		if res := c.want("HIT", 0, "GET", "/?status=204"); res.StatusCode != 204 {
			c.Errorf("got %d", res.StatusCode)
		}
		// What belongs to somebody's credentials is nobody else's, unless the node says so.
		c.want("MISS", 0, "GET", "/mine", "Authorization", "Bearer one")
		c.want("MISS", 0, "GET", "/mine", "Authorization", "Bearer two")
		c.want("MISS", 0, "GET", "/all?field=Cache-Control:public", "Authorization", "Bearer one")
		c.want("HIT", 0, "GET", "/all?field=Cache-Control:public", "Authorization", "Bearer two")
	})
	onEach(t, `"cache_set_cookie":true,"max_resp_body_size":20,"cache_bypass":["$arg_by"]`, func(c *cached) {
		c.want("MISS", 1, "GET", "/?field=Set-Cookie:a%3Db")
		c.want("HIT", 1, "GET", "/?field=Set-Cookie:a%3Db")
		c.want("MISS", 2, "GET", "/long", "X-Lang", "xxxxxxxxxx")
		c.want("MISS", 3, "GET", "/long", "X-Lang", "xxxxxxxxxx")
		c.want("BYPASS", 4, "GET", "/?by=1")
		c.want("BYPASS", 5, "GET", "/?by=1")
	})
}

func TestFreshness(t *testing.T) {
	onEach(t, `"cache_control":true`, func(c *cached) {
		past := "field=Expires:Mon,%2023%20Nov%202020%2001:00:00%20GMT"
		for _, stale := range []string{
			"/?field=Cache-Control:max-age%3D0", "/?field=Cache-Control:max-age%3D60&field=Age:60", "/?" + past,
			"/?field=Cache-Control:s-maxage%3D0,max-age%3D60", "/?field=Cache-Control:max-age%3D60&field=X-Accel-Expires:0", "/?field=Expires:0",
		} {
			c.want("MISS", 0, "GET", stale)
			c.want("MISS", 0, "GET", stale)
		}
		for _, fresh := range []string{
			"/1?field=Cache-Control:max-age%3D60&" + past, "/2?field=Cache-Control:max-age%3D0,s-maxage%3D60",
			"/3?field=X-Accel-Expires:60&" + past, "/4?field=Expires:Thu,%2031%20Dec%202099%2001:00:00%20GMT", "/5",
		} {
			c.want("MISS", 0, "GET", fresh)
			c.want("HIT", 0, "GET", fresh)
		}
	})
}

func TestExpired(t *testing.T) {
	for _, strategy := range []string{"memory", "disk"} {
		c := open(t, strategy, gatewaytest.Wires()[0], `"cache_control":true`)
		const target = "/?field=Cache-Control:max-age%3D1"
		c.want("MISS", 1, "GET", target)
		c.want("HIT", 1, "GET", target)
		// A second has to go by: there is no clock to set behind a wire.
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			res, _ := c.do("GET", target)
			if outcome := res.Header.Get(statusField); outcome == "EXPIRED" {
				break
			} else if outcome != "HIT" || time.Now().After(deadline) {
				c.Fatalf("got %s", outcome)
			}
		}
		c.settle()
		c.want("HIT", 2, "GET", target)
	}
}

// TestRequestDirectives is about a zone in memory: nginx, whose cache on disk APISIX uses, heeds no request.
func TestRequestDirectives(t *testing.T) {
	for _, wire := range gatewaytest.Wires() {
		t.Run(wire.Name, func(t *testing.T) {
			c := open(t, "memory", wire, `"cache_control":true`)
			if res, _ := c.do("GET", "/a", "Cache-Control", "only-if-cached"); res.StatusCode != 504 {
				t.Errorf("got %d", res.StatusCode)
			}
			c.settle()
			c.want("MISS", 1, "GET", "/a")
			c.want("HIT", 1, "GET", "/a", "Cache-Control", "only-if-cached")
			c.want("HIT", 1, "GET", "/a", "Cache-Control", "max-age=60, min-fresh=1, max-stale")
			c.want("STALE", 2, "GET", "/a", "Cache-Control", "min-fresh=301")
			c.want("BYPASS", 3, "GET", "/a", "Cache-Control", "no-cache")
			c.want("BYPASS", 4, "GET", "/a", "Pragma", "no-cache")
			c.want("BYPASS", 5, "GET", "/a", "Cache-Control", "no-store")
			c.want("HIT", 2, "GET", "/a")
		})
	}
}

func TestAccepts(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	e := &cache.Entry{Stored: now, Fresh: 100 * time.Second}
	for _, test := range []struct {
		field string
		age   int
		want  bool
	}{
		{"", 99, true},
		{"", 100, false},
		{"max-age=10", 10, true},
		{"max-age=10", 11, false},
		{"max-age=x", 1, false},
		{"min-fresh=10", 90, true},
		{"min-fresh=10", 91, false},
		{"max-stale=10", 110, true},
		{"max-stale=10", 111, false},
		{"max-stale", 10_000, true},
		{"max-stale, max-age=99999999999", 10_000, true},
		{`MAX-AGE="10"`, 11, false},
	} {
		var h gateway.Header
		h.Add("Cache-Control", test.field)
		d := parseRequest(&h)
		if got := d.accepts(e, now.Add(time.Duration(test.age)*time.Second)); got != test.want {
			t.Errorf("%s at %d: %v", test.field, test.age, got)
		}
	}
}

func TestVary(t *testing.T) {
	onEach(t, "", func(c *cached) {
		const target = "/?field=Vary:X-Lang"
		c.want("MISS", 1, "GET", target, "X-Lang", "en")
		c.want("MISS", 2, "GET", target, "X-Lang", "de")
		c.want("HIT", 1, "GET", target, "X-Lang", "en")
		c.want("HIT", 2, "GET", target, "X-Lang", " de ")
		c.want("MISS", 3, "GET", target)
		// What is compressed depends on what the client takes.
		const compressed = "/?field=Content-Encoding:x-none"
		c.want("MISS", 4, "GET", compressed, "Accept-Encoding", "x-none")
		c.want("MISS", 5, "GET", compressed, "Accept-Encoding", "identity")
	})
}

func TestConditional(t *testing.T) {
	onEach(t, "", func(c *cached) {
		const target = `/?field=ETag:"one"&field=Last-Modified:Mon,%2023%20Nov%202020%2001:00:00%20GMT`
		c.want("MISS", 1, "GET", target)
		for _, fields := range [][]string{
			{"If-None-Match", `"one"`},
			{"If-None-Match", `"two", W/"one"`},
			{"If-None-Match", "*"},
			{"If-Modified-Since", "Mon, 23 Nov 2020 01:00:00 GMT"},
		} {
			if res := c.want("HIT", 0, "GET", target, fields...); res.StatusCode != 304 || res.Header.Get("ETag") != `"one"` {
				c.Errorf("%q: got %d %v", fields, res.StatusCode, res.Header)
			}
		}
		for _, fields := range [][]string{
			{"If-None-Match", `"two"`, "If-Modified-Since", "Mon, 23 Nov 2020 01:00:00 GMT"},
			{"If-Modified-Since", "Mon, 23 Nov 2020 00:59:59 GMT"},
			{"If-Modified-Since", "yesterday"},
		} {
			if res := c.want("HIT", 1, "GET", target, fields...); res.StatusCode != 200 {
				c.Errorf("%q: got %d", fields, res.StatusCode)
			}
		}
	})
}

func TestPurge(t *testing.T) {
	onEach(t, `"cache_method":["GET","POST"]`, func(c *cached) {
		purge := func(want int) {
			c.Helper()
			if res, _ := c.do("PURGE", "/a"); res.StatusCode != want {
				c.Errorf("PURGE: got %d, want %d", res.StatusCode, want)
			}
		}
		purge(404)
		c.want("MISS", 1, "GET", "/a")
		c.want("MISS", 2, "POST", "/a")
		c.want("HIT", 1, "GET", "/a")
		c.want("HIT", 2, "POST", "/a")
		purge(200)
		purge(404)
		c.want("MISS", 3, "GET", "/a")
		c.want("MISS", 4, "POST", "/a")
	})
}

func TestIsolation(t *testing.T) {
	consumers := []gateway.Object{
		{Kind: gateway.Consumers, ID: "jack", Value: []byte(`{"username":"jack","plugins":{"key-auth":{"key":"j"}}}`)},
		{Kind: gateway.Consumers, ID: "rose", Value: []byte(`{"username":"rose","plugins":{"key-auth":{"key":"r"}}}`)},
	}
	onEach(t, `|,"key-auth":{}`, func(c *cached) {
		c.want("MISS", 1, "GET", "/", "apikey", "j")
		c.want("MISS", 2, "GET", "/", "apikey", "r")
		c.want("HIT", 1, "GET", "/", "apikey", "j")
		if res, _ := c.do("GET", "/"); res.StatusCode != 401 || res.Header.Get(statusField) != "" {
			c.Errorf("nobody: got %d %v", res.StatusCode, res.Header)
		}
	}, consumers...)
	onEach(t, `"consumer_isolation":false|,"key-auth":{}`, func(c *cached) {
		c.want("MISS", 1, "GET", "/", "apikey", "j")
		c.want("HIT", 1, "GET", "/", "apikey", "r")
	}, consumers...)
	onEach(t, ``, func(c *cached) {
		c.want("MISS", 1, "GET", "/", "Authorization", "Basic amFjazp4")
		c.want("HIT", 1, "GET", "/", "Authorization", "Basic amFjazp4")
		c.want("MISS", 2, "GET", "/", "Authorization", "Basic cm9zZTp4")
	})
}

// TestFiltersRunOnHits: what other plugins do to responses they do to stored ones too, once.
func TestFiltersRunOnHits(t *testing.T) {
	onEach(t, `"hide_cache_headers":true|,"response-rewrite":{"headers":{"add":["X-Seen: yes"]}}`, func(c *cached) {
		for _, outcome := range []string{"MISS", "HIT", "HIT"} {
			res := c.want(outcome, 1, "GET", "/?field=Cache-Control:max-age%3D60&field=Expires:0")
			if len(res.Header.Values("X-Seen")) != 1 || res.Header.Get("Cache-Control") != "" || res.Header.Get("Expires") != "" {
				c.Errorf("%s: got %v", outcome, res.Header)
			}
		}
	})
}

// TestOneFetch: of requests that come while a response is fetched, none makes the node answer again.
func TestOneFetch(t *testing.T) {
	onEach(t, "", func(c *cached) {
		c.hold = make(chan bool)
		var all sync.WaitGroup
		var hits atomic.Int32
		for range 64 {
			all.Go(func() {
				res, body := c.do("GET", "/")
				if res.Header.Get(statusField) == "HIT" {
					hits.Add(1)
				}
				if body != "GET response 1  and its end" {
					c.Errorf("got %q", body)
				}
			})
		}
		c.hold <- true
		// Whoever comes to the node all the same is counted, and not held.
		close(c.hold)
		all.Wait()
		if n := c.requests.Load(); n != 1 || hits.Load() != 63 {
			c.Errorf("%d requests to the node, %d hits", n, hits.Load())
		}
	})
}

// TestBrokenBody: what did not come to its end is not kept, and whoever waited for it goes on.
func TestBrokenBody(t *testing.T) {
	onEach(t, "", func(c *cached) {
		c.hold = make(chan bool, 1)
		c.hold <- true
		r, err := http.NewRequest("GET", c.url+"/?abort=1", nil)
		if err != nil {
			c.Fatal(err)
		}
		r.Close = true
		if res, err := http.DefaultTransport.RoundTrip(r); err == nil {
			if _, err := io.ReadAll(res.Body); err == nil {
				c.Error("the body is complete")
			}
			res.Body.Close()
		}
		c.settle()
		c.hold <- true
		if res, _ := c.do("GET", "/"); res.Header.Get(statusField) != "MISS" {
			c.Errorf("got %v", res.Header)
		}
	})
}

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{}`, ""},
		{`{"cache_strategy":"memory","cache_zone":"memory_cache"}`, ""},
		{`{"cache_zone":"none"}`, "cache_zone none not found"},
		{`{"cache_strategy":"memory"}`, "invalid or empty cache_zone for cache_strategy: memory"},
		{`{"cache_zone":"memory_cache"}`, "invalid or empty cache_zone for cache_strategy: disk"},
		{`{"cache_key":["$host","$request_method"]}`, "cache_key variable $request_method unsupported"},
		{`{"cache_key":["$a-b"]}`, `property "cache_key" validation failed: failed to validate item 1`},
		{`{"cache_method":["PUT"]}`, `property "cache_method" validation failed`},
		{`{"cache_http_status":[]}`, `property "cache_http_status" validation failed`},
	})
}

func BenchmarkHit(b *testing.B) {
	x := plugintest.Open(b, `{"proxy-cache":{"cache_strategy":"memory","cache_zone":"memory_cache"}}`)
	zone := cache.Find("memory_cache")
	zone.Put("\x00h\x00/a\x00", &cache.Entry{
		Status: 200, Body: make([]byte, 1024), Stored: time.Now(), Fresh: time.Hour,
		Fields: []cache.Field{{Name: "Content-Type", Value: "text/plain"}, {Name: "ETag", Value: `"1"`}},
	}, nil, nil)
	b.ReportAllocs()
	for b.Loop() {
		if x.Run(nil) != gateway.StepReply || x.Response.Status != 200 {
			b.Fatal("no hit")
		}
	}
}
