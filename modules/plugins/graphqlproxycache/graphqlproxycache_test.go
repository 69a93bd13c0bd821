// SPDX-License-Identifier: Apache-2.0

package graphqlproxycache

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/cache"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
	_ "github.com/andogate/ando/modules/plugins/publicapi"
)

// site is a gateway before a node that counts its responses.
type site struct {
	*testing.T
	url, strategy string
	zone          *cache.Zone
	requests      atomic.Int32
	// field is one that the node sends, and status its status when it is not 0.
	field  [2]string
	status int
}

var zones atomic.Int32

// onEach runs a test on every wire with a zone in memory and one on disk. Route 1 is any path with these further members of the
// plugin's config and these further plugins; /purge/ leads to the plugin's API.
func onEach(t *testing.T, config, plugins string, test func(s *site), objects ...gateway.Object) {
	t.Helper()
	for _, strategy := range []string{"memory", "disk"} {
		for _, wire := range gatewaytest.Wires() {
			t.Run(strategy+" "+wire.Name, func(t *testing.T) {
				zone := cache.ZoneConfig{Name: fmt.Sprintf("graphql%d", zones.Add(1)), Fresh: time.Hour}
				if strategy == "disk" {
					zone.Path = t.TempDir()
				}
				if err := cache.Define(zone); err != nil {
					t.Fatal(err)
				}
				s := &site{T: t, strategy: strategy, zone: cache.Find(zone.Name)}
				node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if s.field[0] != "" {
						w.Header().Set(s.field[0], s.field[1])
					}
					if s.status != 0 {
						w.WriteHeader(s.status)
					}
					fmt.Fprintf(w, "response %d", s.requests.Add(1))
				}))
				t.Cleanup(node.Close)
				route := func(id, uri, plugins string) gateway.Object {
					return gateway.Object{Kind: gateway.Routes, ID: id, Value: fmt.Appendf(nil,
						`{"id":%q,"uri":%q,"plugins":{%s},"upstream":{"nodes":{%q:1}}}`, id, uri, plugins, node.Listener.Addr())}
				}
				own := fmt.Sprintf(`"graphql-proxy-cache":{"cache_strategy":%q,"cache_zone":%q%s}%s`, strategy, zone.Name, config, plugins)
				g := gatewaytest.Open(t, append([]gateway.Object{
					route("1", "/*", own), route("2", "/two", own), route("bare", "/bare", ""),
					route("p", "/apisix/plugin/graphql-proxy-cache/*", `"public-api":{}`),
				}, objects...)...)
				s.url = "http://" + wire.Serve(t, g)
				test(s)
			})
		}
	}
}

// do sends a request; fields are names and values. What it brings has been stored when it returns.
func (s *site) do(method, target, body string, fields ...string) (*http.Response, string) {
	s.Helper()
	r, err := http.NewRequest(method, s.url+target, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "Host" {
			r.Host = fields[i+1]
		}
		r.Header.Add(fields[i], fields[i+1])
	}
	r.Close = true
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); s.zone.Busy(); {
		if time.Now().After(deadline) {
			s.Fatal("somebody still fetches something")
		}
		time.Sleep(time.Millisecond)
	}
	return res, string(raw)
}

// want sends a request and says what becomes of it: its Apisix-Cache-Status, and the number of the node's response.
func (s *site) want(outcome string, number int, method, target, body string, fields ...string) (key string) {
	s.Helper()
	res, got := s.do(method, target, body, fields...)
	if res.StatusCode != 200 || res.Header.Get("Apisix-Cache-Status") != outcome || got != fmt.Sprintf("response %d", number) {
		s.Errorf("%s %s %s %q: got %d %q %q, want %s, response %d",
			method, target, body, fields, res.StatusCode, res.Header.Get("Apisix-Cache-Status"), got, outcome, number)
	}
	if keys := res.Header.Values(keyField); len(keys) > 0 {
		key = keys[0]
	}
	if (len(key) == 32) != (outcome != "BYPASS") {
		s.Errorf("%s %s: the key is %q", method, target, key)
	}
	return key
}

var (
	asJSON    = []string{"Content-Type", "application/json"}
	asGraphQL = []string{"Content-Type", "application/graphql"}
)

func TestCached(t *testing.T) {
	onEach(t, "", "", func(s *site) {
		key := s.want("MISS", 1, "POST", "/graphql", `{"query":"{a}"}`, asJSON...)
		if again := s.want("HIT", 1, "POST", "/graphql", `{"query":"{a}"}`, asJSON...); again != key {
			s.Errorf("the key was %s and is %s", key, again)
		}
		s.want("MISS", 2, "POST", "/graphql", `{"query":"{a}","variables":{"b":1}}`, asJSON...)
		s.want("MISS", 3, "POST", "/graphql", `{a}`, asGraphQL...)
		s.want("HIT", 3, "POST", "/graphql", `{a}`, asGraphQL...)
		s.want("MISS", 4, "GET", "/graphql?query=%7Ba%7D", "")
		s.want("HIT", 4, "GET", "/graphql?query=%7Ba%7D", "")
		s.want("MISS", 5, "POST", "/graphql", `{a}`, append(asGraphQL, "Host", "other")...)
		s.want("MISS", 6, "POST", "/other", `{a}`, asGraphQL...)
		s.want("MISS", 7, "POST", "/graphql?x=1", `{a}`, asGraphQL...)
		s.want("MISS", 8, "POST", "/two", `{a}`, asGraphQL...)
		// What is no query is the node's, also beside one, and is not kept.
		for i, body := range []string{
			`{"query":"mutation {a}"}`, `{"query":"query q {a} mutation m {a}","operationName":"q"}`, `{"query":"subscription {a}"}`,
		} {
			s.want("BYPASS", 9+2*i, "POST", "/graphql", body, asJSON...)
			s.want("BYPASS", 10+2*i, "POST", "/graphql", body, asJSON...)
		}
		s.want("BYPASS", 15, "GET", "/graphql?query=mutation%7Ba%7D", "")
		s.want("BYPASS", 16, "GET", "/graphql?query=%7Ba%7D&query=mutation%7Ba%7D", "")
	})
}

func TestNotKept(t *testing.T) {
	onEach(t, "", "", func(s *site) {
		s.field = [2]string{"Set-Cookie", "a=b"}
		s.want("MISS", 1, "POST", "/", `{a}`, asGraphQL...)
		s.want("MISS", 2, "POST", "/", `{a}`, asGraphQL...)
		s.field = [2]string{"Vary", "X-Lang"}
		s.want("MISS", 3, "POST", "/", `{a}`, append(asGraphQL, "X-Lang", "de")...)
		s.want("MISS", 4, "POST", "/", `{a}`, append(asGraphQL, "X-Lang", "en")...)
		s.want("HIT", 3, "POST", "/", `{a}`, append(asGraphQL, "X-Lang", "de")...)
		s.field = [2]string{}
		s.status = 500
		for n := range 2 {
			if _, got := s.do("POST", "/", `{b}`, asGraphQL...); got != fmt.Sprintf("response %d", 5+n) {
				s.Errorf("got %s", got)
			}
		}
		s.status = 0
		// Somebody else's token does not open what is there.
		s.want("MISS", 7, "POST", "/", `{c}`, append(asGraphQL, "Authorization", "Bearer 1")...)
		s.want("MISS", 8, "POST", "/", `{c}`, append(asGraphQL, "Authorization", "Bearer 2")...)
		s.want("MISS", 9, "POST", "/", `{c}`, append(asGraphQL, "Authorization", "Basic YTpi")...)
		s.want("HIT", 9, "POST", "/", `{c}`, append(asGraphQL, "Authorization", "Basic YTpi")...)
		s.want("MISS", 10, "POST", "/", `{c}`, append(asGraphQL, "Authorization", "Basic YjpiCg==")...)
	})
	onEach(t, `,"cache_set_cookie":true`, "", func(s *site) {
		s.field = [2]string{"Set-Cookie", "a=b"}
		s.want("MISS", 1, "POST", "/", `{a}`, asGraphQL...)
		if s.strategy == "memory" {
			s.want("HIT", 1, "POST", "/", `{a}`, asGraphQL...)
		} else {
			s.want("MISS", 2, "POST", "/", `{a}`, asGraphQL...)
		}
	})
}

func TestConsumers(t *testing.T) {
	consumer := func(name string) gateway.Object {
		return gateway.Object{Kind: gateway.Consumers, ID: name, Value: fmt.Appendf(nil, `{"username":%q,"plugins":{"key-auth":{"key":%[1]q}}}`, name)}
	}
	for isolated, want := range map[bool]string{true: "MISS", false: "HIT"} {
		onEach(t, fmt.Sprintf(`,"consumer_isolation":%v`, isolated), `,"key-auth":{}`, func(s *site) {
			s.want("MISS", 1, "POST", "/", `{a}`, append(asGraphQL, "apikey", "jack")...)
			s.want("HIT", 1, "POST", "/", `{a}`, append(asGraphQL, "apikey", "jack")...)
			number := 1
			if isolated {
				number = 2
			}
			s.want(want, number, "POST", "/", `{a}`, append(asGraphQL, "apikey", "rose")...)
		}, consumer("jack"), consumer("rose"))
	}
}

func TestRefused(t *testing.T) {
	long := strings.Repeat(" ", 1<<20)
	onEach(t, "", "", func(s *site) {
		for _, c := range []struct {
			method, target, body string
			fields               []string
			status               int
			message              string
		}{
			{"PUT", "/", `{a}`, asGraphQL, 405, ""},
			{"HEAD", "/?query=%7Ba%7D", "", nil, 405, ""},
			{"POST", "/", "", asGraphQL, 400, "Invalid graphql request: can't get graphql request body"},
			// Who sends all of it may hear of a reset before the answer.
			{"POST", "/", "{a}" + long, append(asGraphQL[:2:2], "Expect", "100-continue"), 400, "Invalid graphql request: can't get graphql request body"},
			{"GET", "/", "", nil, 400, "Invalid graphql request: can't get graphql request body"},
			{"GET", "/?q=%7Ba%7D", "", nil, 400, "invalid graphql request, args[query] is nil"},
			{"GET", "/?query=%7Ba", "", nil, 400, "Invalid graphql request: failed to parse graphql query"},
			{"POST", "/", `{"query":"{a"}`, asJSON, 400, "Invalid graphql request: failed to parse graphql query"},
			{"POST", "/", `fragment F on A {a}`, asGraphQL, 400, "Invalid graphql request: empty graphql query"},
			{"POST", "/", `{}`, asJSON, 400, "invalid graphql request, json body[query] is nil"},
			{"POST", "/", `{a}`, nil, 400, "invalid graphql request, error content-type: "},
		} {
			res, got := s.do(c.method, c.target, c.body, c.fields...)
			want := ""
			if c.message != "" {
				text, _ := json.Marshal(c.message)
				want = fmt.Sprintf("{\"message\":%s}\n", text)
			}
			if res.StatusCode != c.status || want != "" && got != want {
				s.Errorf("%s %s %.40s: got %d %s, want %d %s", c.method, c.target, c.body, res.StatusCode, got, c.status, want)
			}
		}
		if n := s.requests.Load(); n != 0 {
			s.Errorf("the node was asked %d times", n)
		}
	})
}

func TestPurge(t *testing.T) {
	onEach(t, "", "", func(s *site) {
		const api = "/apisix/plugin/graphql-proxy-cache/"
		status := func(method, path string) int {
			s.Helper()
			res, _ := s.do(method, path, "")
			return res.StatusCode
		}
		key := s.want("MISS", 1, "POST", "/", `{a}`, asGraphQL...)
		if got := status("PURGE", api+s.strategy+"/1/"+key); got != 200 {
			s.Errorf("got %d", got)
		}
		s.want("MISS", 2, "POST", "/", `{a}`, asGraphQL...)
		// Every variant goes with the key.
		s.field = [2]string{"Vary", "X-Lang"}
		key = s.want("MISS", 3, "POST", "/", `{b}`, append(asGraphQL, "X-Lang", "de")...)
		s.want("MISS", 4, "POST", "/", `{b}`, append(asGraphQL, "X-Lang", "en")...)
		if got := status("PURGE", api+s.strategy+"/1/"+key); got != 200 {
			s.Errorf("got %d", got)
		}
		s.want("MISS", 5, "POST", "/", `{b}`, append(asGraphQL, "X-Lang", "de")...)
		missing, other := 200, "disk"
		if s.strategy == "disk" {
			missing, other = 404, "memory"
		}
		for path, want := range map[string]int{
			s.strategy + "/1/0123": missing, s.strategy + "/unknown/" + key: 404, s.strategy + "/bare/" + key: 404,
			other + "/1/" + key: 400, "redis/1/" + key: 400, s.strategy + "/1/": 400, s.strategy + "/1": 400,
		} {
			if got := status("PURGE", api+path); got != want {
				s.Errorf("PURGE %s: got %d, want %d", path, got, want)
			}
		}
		if got := status("GET", api+s.strategy+"/1/"+key); got != 404 {
			s.Errorf("GET: got %d", got)
		}
	})
}

// TestSettingsOf: a route's config may be elsewhere.
func TestSettingsOf(t *testing.T) {
	object := func(kind gateway.Kind, id, rest string) gateway.Object {
		return gateway.Object{Kind: kind, ID: id, Value: fmt.Appendf(nil, `{"id":%q,%s}`, id, rest)}
	}
	const plugin = `"plugins":{"graphql-proxy-cache":{"cache_strategy":"memory","cache_zone":"memory_cache"}}`
	table := gatewaytest.Open(
		t,
		object(gateway.Services, "7", plugin+`,"upstream":{"nodes":{"127.0.0.1:1":1}}`),
		object(gateway.PluginConfigs, "c", plugin),
		object(gateway.Routes, "service", `"uri":"/a","service_id":7`),
		object(gateway.Routes, "config", `"uri":"/b","plugin_config_id":"c","upstream":{"nodes":{"127.0.0.1:1":1}}`),
		object(gateway.Routes, "none", `"uri":"/c","upstream":{"nodes":{"127.0.0.1:1":1}}`),
		object(gateway.Routes, "defaults", `"uri":"/d","plugins":{"graphql-proxy-cache":{}},"upstream":{"nodes":{"127.0.0.1:1":1}}`),
	).Table()
	for id, want := range map[string]settings{
		"service": {Strategy: "memory", Zone: "memory_cache"}, "config": {Strategy: "memory", Zone: "memory_cache"},
		"none": {}, "defaults": {Strategy: "disk", Zone: "disk_cache_one"},
	} {
		if got, ok := settingsOf(table, id); got != want || ok != (id != "none") {
			t.Errorf("%s: got %+v %v, want %+v", id, got, ok, want)
		}
	}
}

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{}`, ""},
		{`{"cache_strategy":"memory","cache_zone":"memory_cache","cache_ttl":1}`, ""},
		{`{"cache_zone":"nowhere"}`, "cache_zone nowhere not found"},
		{`{"cache_strategy":"memory"}`, "invalid or empty cache_zone for cache_strategy: memory"},
		{`{"cache_zone":"memory_cache"}`, "invalid or empty cache_zone for cache_strategy: disk"},
		{`{"cache_strategy":"redis"}`, `property "cache_strategy" validation failed: matches none of the enum values`},
		{`{"cache_ttl":0}`, `property "cache_ttl" validation failed: expected 0 to be at least 1`},
	})
}

func BenchmarkHit(b *testing.B) {
	x := plugintest.Open(b, `{"graphql-proxy-cache":{"cache_strategy":"memory","cache_zone":"memory_cache"}}`)
	x.Bench(b, func(x *gateway.Exchange) { x.Request.Query = "query=%7Ba%7D" })
}
