// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

func TestPatch(t *testing.T) {
	const first = `{"uri":"/hello","methods":["GET"],"labels":{"a":"1","b":"2"},"upstream":{"nodes":{"a:1":1,"b:1":1}},"id":"1","create_time":5,"update_time":5}`
	with := func(members string) string {
		return strings.Replace(first, `"id":"1","create_time":5,"update_time":5`, members, 1)
	}
	const times = `"id":"1","create_time":5,"update_time":4000000000`
	for _, c := range []struct {
		name, path, body string
		status           int
		want             string
	}{
		{"new member", "", `{"desc":"x"}`, 200, with(times + `,"desc":"x"`)},
		{"merged", "", `{"labels":{"b":null,"c":"3"}}`, 200, strings.Replace(with(times), `"b":"2"`, `"c":"3"`, 1)},
		{"array replaced", "", `{"methods":["PUT"]}`, 200, strings.Replace(with(times), `"GET"`, `"PUT"`, 1)},
		{"removed", "", `{"methods":null,"nothing":null}`, 200, strings.Replace(with(times), `"methods":["GET"],`, "", 1)},
		{
			"map becomes array", "", `{"upstream":{"nodes":[{"host":"c","weight":1}]}}`, 200,
			strings.Replace(with(times), `{"a:1":1,"b:1":1}`, `[{"host":"c","weight":1}]`, 1),
		},
		{"times given", "", `{"create_time":7,"update_time":8}`, 200, with(`"id":"1","create_time":7,"update_time":8`)},
		{"times removed", "", `{"create_time":null,"update_time":null}`, 200, with(`"id":"1","create_time":4000000000,"update_time":4000000000`)},
		{"id removed", "", `{"id":null}`, 200, with(`"create_time":5,"update_time":4000000000,"id":"1"`)},
		{"sub path", "/upstream/nodes", `{"z:1":1}`, 200, strings.Replace(with(times), `{"a:1":1,"b:1":1}`, `{"z:1":1}`, 1)},
		{"scalar at a sub path", "/uri", `"/x"`, 200, strings.Replace(with(times), `"/hello"`, `"/x"`, 1)},
		{
			"sub path is made", "/upstream/timeout", `{"connect":1,"send":1,"read":1}`, 200,
			strings.Replace(with(times), `"b:1":1}}`, `"b:1":1},"timeout":{"connect":1,"send":1,"read":1}}`, 1),
		},
		{"encoded sub path", "/upstream/nodes/a%3A1", `9`, 200, strings.Replace(with(times), `"a:1":1`, `"a:1":9`, 1)},
		{"update_time at a sub path", "/update_time", `8`, 200, with(times)},
		{
			"whole document", "/", `{"uri":"/x","upstream":{"nodes":{"a:1":1}}}`, 200,
			`{"uri":"/x","upstream":{"nodes":{"a:1":1}},` + strings.Replace(times, "5", "4000000000", 1) + `}`,
		},
		{"through a scalar", "/uri/x", `1`, 400, "invalid sub-path: /uri/x"},
		{"through an array", "/methods/0/x", `1`, 400, "invalid sub-path: /methods/0/x"},
		{"deep sub path", strings.Repeat("/a", 1001), `1`, 400, "invalid sub-path: " + strings.Repeat("/a", 1001)},
		{
			"deep together", strings.Repeat("/a", 501), strings.Repeat("[", 500) + strings.Repeat("]", 500), 400,
			"invalid configuration: Found too many nested data structures (1001) at character 3145",
		},
		{"null byte", "/labels/a%00b", `"x"`, 400, "invalid sub-path: /labels/a\x00b"},
		{"null is a value at a sub path", "/methods", `null`, 400, `invalid configuration: property "methods" validation failed: wrong type: expected array, got userdata`},
		{"another id", "", `{"id":"2"}`, 400, "wrong route id"},
		{"not valid", "", `{"uri":1}`, 400, `invalid configuration: property "uri" validation failed: wrong type: expected string, got number`},
		{"no such upstream", "", `{"upstream_id":"9"}`, 400, "failed to fetch upstream info by upstream id [9], response code: 404"},
		{"scalar", "", `1`, 400, "invalid configuration"},
		{"null", "", `null`, 400, "invalid configuration"},
		{"no body", "", ``, 400, "missing new configuration"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := openAPI(t, []gateway.Object{stored(gateway.Routes, "1", first)})
			w := a.call("PATCH", prefix+"/routes/1"+c.path, c.body)
			got := string(lookup(w.Body.Bytes(), "value"))
			stored := got
			if c.status != 200 {
				got, _ = stringOf(lookup(w.Body.Bytes(), "error_msg"))
				stored = first
			}
			if w.Code != c.status || got != c.want {
				t.Errorf("got %d %s, want %s", w.Code, w.Body, c.want)
			}
			if now := a.value("/routes/1"); now != stored {
				t.Errorf("stored is %s, want %s", now, stored)
			}
		})
	}
}

func TestPatchWithoutObject(t *testing.T) {
	a := newAPI(t)
	a.want("PATCH", prefix+"/routes", `{}`, 400, `{"error_msg":"missing route id"}`)
	a.want("PATCH", prefix+"/routes/1", `{}`, 404, `{"message":"Key not found"}`)
	a.want("PATCH", prefix+"/secrets/vault", `{}`, 400, `{"error_msg":"no secret id"}`)
	a.want("PATCH", prefix+"/secrets", `{}`, 400, `{"error_msg":"no secret id"}`)
	a.want("PATCH", prefix+"/protos/1", `{}`, 405, "{\"error_msg\":\"not supported `PATCH` method for proto\"}")
}

func TestDecorations(t *testing.T) {
	const path = prefix + "/services/s/graphql_cost_decorations"
	a := newAPI(t)
	a.want("PUT", path+"/1", `{"field_path":"Query.a"}`, 404, `{"error_msg":"service not found"}`)
	a.want("POST", path, `{"field_path":"Query.a"}`, 404, `{"error_msg":"service not found"}`)
	a.put("/services/s", `{}`)
	a.want("PUT", path+"/1", `{"field_path":"Query.a"}`, 201,
		`{"key":"/apisix/services/s/graphql_cost_decorations/1","value":{"field_path":"Query.a","id":"1","create_time":4000000000,"update_time":4000000000}}`)
	if w := a.call("POST", path, `{"field_path":"Query.b"}`); w.Code != 201 || !strings.Contains(w.Body.String(), `"id":"00000000000000000003"`) {
		t.Errorf("POST: got %d %s", w.Code, w.Body)
	}
	a.want("PATCH", path+"/1", `{"service_id":"2"}`, 400, `{"error_msg":"service_id can not be patched"}`)
	a.want("PATCH", path+"/1/field_path", `"x"`, 400, `{"error_msg":"invalid sub-path: /field_path"}`)
	if _, ids := a.listed("/services"); len(ids) != 1 {
		t.Errorf("services: got %s", ids)
	}
	if _, ids := a.listed("/services/s/graphql_cost_decorations"); len(ids) != 2 {
		t.Errorf("decorations: got %s", ids)
	}
	a.want("DELETE", prefix+"/services/s", "", 200, `{"key":"/apisix/services/s","deleted":"1"}`)
	a.want("GET", path, "", 404, `{"message":"Key not found"}`)
}

func TestDeleteTakesCredentialsAlong(t *testing.T) {
	a := openAPI(t, []gateway.Object{
		jack, stored(gateway.Consumers, "jackson", `{"username":"jackson"}`),
		stored(gateway.Credentials, "jack/credentials/c1", `{"plugins":{}}`),
		stored(gateway.Credentials, "jackson/credentials/c1", `{"plugins":{}}`),
	})
	a.want("DELETE", prefix+"/consumers/jack", "", 200, `{"key":"/apisix/consumers/jack","deleted":"1"}`)
	a.want("GET", prefix+"/consumers/jack/credentials/c1", "", 404, `{"message":"Key not found"}`)
	if got := a.value("/consumers/jackson/credentials/c1"); got == "" {
		t.Error("another consumer's credential is gone")
	}
	a.want("PUT", prefix+"/consumers/jack/credentials/c1", `{"plugins":{}}`, 404, `{"error_msg":"consumer not found"}`)
}

func TestDeleteReferrers(t *testing.T) {
	a := newAPI(t)
	a.put("/upstreams/1", `{"nodes":{"a:1":1}}`)
	a.put("/upstreams/11", `{"nodes":{"a:1":1}}`)
	a.put("/routes/r", `{"uri":"/a","upstream_id":1}`)
	a.want("DELETE", prefix+"/upstreams/1", "", 400, `{"error_msg":"can not delete this upstream, route [r] is still using it now"}`)
	a.want("DELETE", prefix+"/upstreams/1?force=1", "", 400, `{"error_msg":"can not delete this upstream, route [r] is still using it now"}`)
	a.want("DELETE", prefix+"/upstreams/11", "", 200, `{"key":"/apisix/upstreams/11","deleted":"1"}`)
	a.want("DELETE", prefix+"/routes/r", "", 200, `{"key":"/apisix/routes/r","deleted":"1"}`)
	a.want("DELETE", prefix+"/upstreams/1", "", 200, `{"key":"/apisix/upstreams/1","deleted":"1"}`)
	a.want("DELETE", prefix+"/upstreams", "", 400, `{"error_msg":"missing upstream id"}`)
}

// Spellings that hide a reference from a search for the word do not hide it from the API.
func TestHiddenReferrer(t *testing.T) {
	a := newAPI(t)
	a.put("/upstreams/1", `{"nodes":{"a:1":1}}`)
	a.put("/routes/r", `{"uri":"/a","upstream\u005fid":"\u0031"}`)
	a.want("DELETE", prefix+"/upstreams/1", "", 400, `{"error_msg":"can not delete this upstream, route [r] is still using it now"}`)
}

func TestStreamReferences(t *testing.T) {
	const path = prefix + "/stream_routes"
	a := newAPI(t)
	a.put("/stream_routes/1", `{"protocol":{"name":"dubbo"},"upstream":{"nodes":{"a:1":1}}}`)
	a.want("PUT", path+"/2", `{"protocol":{"name":"redis","superior_id":"1"}}`, 400,
		`{"error_msg":"protocol mismatch: subordinate protocol [redis] does not match superior protocol [dubbo]"}`)
	a.put("/stream_routes/2", `{"protocol":{"name":"dubbo","superior_id":1}}`)
	a.want("DELETE", path+"/1", "", 400, `{"error_msg":"can not delete this stream route directly, stream route [2] is still using it as superior_id"}`)
}

func TestCertificateReferences(t *testing.T) {
	a := openAPI(t, []gateway.Object{stored(gateway.SSLs, "s", `{"type":"server"}`), stored(gateway.SSLs, "c", `{"type":"client"}`)})
	for _, c := range []struct {
		id     string
		status int
		want   string
	}{
		{"c", 201, ""},
		{"s", 400, "failed to fetch ssl info by ssl id [s], wrong ssl type"},
		{"x", 400, "failed to fetch ssl info by ssl id [x], response code: 404"},
	} {
		upstream := `{"scheme":"https","nodes":{"a:1":1},"tls":{"client_cert_id":"` + c.id + `"}}`
		for path, body := range map[string]string{
			"/upstreams/" + c.id: upstream, "/routes/" + c.id: `{"uri":"/a","upstream":` + upstream + `}`, "/services/" + c.id: `{"upstream":` + upstream + `}`,
		} {
			w := a.call("PUT", prefix+path, body)
			if message, _ := stringOf(lookup(w.Body.Bytes(), "error_msg")); w.Code != c.status || message != c.want {
				t.Errorf("PUT %s: got %d %s, want %q", path, w.Code, w.Body, c.want)
			}
		}
	}
}

func TestTrafficSplitReferrers(t *testing.T) {
	a := openAPI(t, []gateway.Object{
		stored(gateway.Upstreams, "1", someNodes), stored(gateway.Upstreams, "2", someNodes), stored(gateway.Upstreams, "3", someNodes),
		stored(gateway.Routes, "r", `{"uri":"/a","plugins":{"traffic-split":{"rules":[{"weighted_upstreams":[{"weight":1},{"upstream_id":2}]},{}]}}}`),
		stored(gateway.Services, "s", `{"plugins":{"traffic-split":{"rules":[{"weighted_upstreams":[{"upstream_id":"3"}]}]}}}`),
	})
	a.want("DELETE", prefix+"/upstreams/2", "", 400, `{"error_msg":"can not delete this upstream, plugin in route [r] is still using it now"}`)
	a.want("DELETE", prefix+"/upstreams/3", "", 400, `{"error_msg":"can not delete this upstream, plugin in service [s] is still using it now"}`)
	a.want("DELETE", prefix+"/upstreams/1", "", 200, `{"key":"/apisix/upstreams/1","deleted":"1"}`)
}

func TestUniqueKeysAndRules(t *testing.T) {
	a := newAPI(t)
	a.put("/consumers/jack", `{"username":"jack","plugins":{"key-auth":{"key":"k1"}}}`)
	a.put("/consumers/jack/credentials/c1", `{"plugins":{"key-auth":{"key":"k2"}}}`)
	a.put("/consumers/jack", `{"username":"jack","plugins":{"key-auth":{"key":"k1"}}}`)
	a.put("/consumers/jack/credentials/c1", `{"plugins":{"key-auth":{"key":"k2"}}}`)
	a.put("/consumers/jack", `{"username":"jack","plugins":{"key-auth":{"key":"k2"}}}`)
	a.want("PUT", prefix+"/consumers/jack/credentials/c2", `{"plugins":{"key-auth":{"key":"k2"}}}`, 400,
		`{"error_msg":"duplicate key of plugin key-auth found with consumer: jack"}`)
	a.put("/consumers/jack", `{"username":"jack","plugins":{"key-auth":{"key":"k1"}}}`)
	a.want("PUT", prefix+"/consumers/rose", `{"username":"rose","plugins":{"key-auth":{"key":"k2"}}}`, 400,
		`{"error_msg":"duplicate key of plugin key-auth found with credential: c1 of consumer: jack"}`)
	a.put("/global_rules/1", `{"plugins":{"key-auth":{}}}`)
	a.put("/global_rules/1", `{"plugins":{"key-auth":{}}}`)
	a.want("PUT", prefix+"/global_rules/2", `{"plugins":{"key-auth":{}}}`, 400,
		`{"error_msg":"plugin 'key-auth' already exists in global rule with id '1'"}`)
}

func TestDeclaredObjectsAreReadOnly(t *testing.T) {
	a := newAPI(t)
	declared := stored(gateway.Services, "1", `{"name":"declared"}`)
	declared.Origin = gateway.OriginCaddyfile
	detach, _, err := a.gateway.Attach(&gateway.Generation{
		Compiler: newCompiler(a.plugins), Settings: gateway.DefaultSettings(), Objects: []gateway.Object{declared},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer detach()
	for _, method := range []string{"PUT", "PATCH", "DELETE"} {
		a.want(method, prefix+"/services/1", `{"name":"x"}`, 403, `{"error_msg":"`+gateway.ErrReadOnly.Error()+`"}`)
	}
	if got := a.value("/services/1"); got != `{"name":"declared"}` {
		t.Errorf("got %s", got)
	}
}

// Writers that patch one object at once lose nothing of each other.
func TestParallelPatches(t *testing.T) {
	const writers, patches = 64, 8
	a := newAPI(t)
	a.put("/routes/1", route(`"labels":{},`))
	var group sync.WaitGroup
	for n := range writers {
		group.Go(func() {
			for i := range patches {
				// Half of them by a sub path.
				path, body := prefix+"/routes/1", fmt.Sprintf(`{"labels":{"w%d-%d":"x"}}`, n, i)
				if n%2 == 0 {
					path, body = fmt.Sprintf("%s/labels/w%d-%d", path, n, i), `"x"`
				}
				w := httptest.NewRecorder()
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPatch, "http://localhost"+path, strings.NewReader(body))
				a.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					t.Errorf("PATCH %s: %d %s", path, w.Code, w.Body)
				}
			}
		})
	}
	group.Wait()
	if got := len(parseFields(lookup([]byte(a.value("/routes/1")), "labels"))); got != writers*patches {
		t.Errorf("%d labels, want %d", got, writers*patches)
	}
}

// Of many that create one object, one does; of an upstream and the route that needs it, not one without the other.
func TestParallelDecisions(t *testing.T) {
	a := newAPI(t)
	var group sync.WaitGroup
	var created, posted sync.Map
	for n := range 32 {
		group.Go(func() {
			if a.call("PUT", prefix+"/services/1", `{}`).Code == 201 {
				created.Store(n, true)
			}
			w := a.call("POST", prefix+"/services", `{}`)
			id, _ := stringOf(lookup(w.Body.Bytes(), "value", "id"))
			if _, taken := posted.LoadOrStore(id, true); taken || id == "" {
				t.Errorf("POST: %d %s", w.Code, w.Body)
			}
			id = fmt.Sprint("u", n)
			a.put("/upstreams/"+id, `{"nodes":{"a:1":1}}`)
			var pair sync.WaitGroup
			var deleted, routed int
			pair.Go(func() { deleted = a.call("DELETE", prefix+"/upstreams/"+id, "").Code })
			pair.Go(func() {
				routed = a.call("PUT", prefix+"/routes/"+id, `{"uri":"/a","upstream_id":"`+id+`"}`).Code
			})
			pair.Wait()
			if (deleted == 200) == (routed == 201) {
				t.Errorf("DELETE %d, PUT %d", deleted, routed)
			}
		})
	}
	group.Wait()
	n := 0
	created.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d were told that they created the object", n)
	}
}

func BenchmarkPut(b *testing.B) {
	a := newAPI(b)
	b.ReportAllocs()
	for b.Loop() {
		if w := a.call(http.MethodPut, prefix+"/routes/1", plainRoute); w.Code >= 300 {
			b.Fatal(w.Body)
		}
	}
}

// BenchmarkPutAmongMany writes routes where there are ten thousand of them.
func BenchmarkPutAmongMany(b *testing.B) {
	var objects []gateway.Object
	for i := range 10_000 {
		objects = append(objects, stored(gateway.Routes, fmt.Sprint(i), fmt.Sprintf(`{"uri":"/r/%d","upstream":{"nodes":{"a:1":1}}}`, i)))
	}
	a := openAPI(b, objects)
	b.ReportAllocs()
	for b.Loop() {
		if w := a.call(http.MethodPut, prefix+"/routes/77", `{"uri":"/r/77","upstream":{"nodes":{"a:1":1}}}`); w.Code >= 300 {
			b.Fatal(w.Body)
		}
	}
}

// BenchmarkDeleteRefused looks through ten thousand routes for one that refers to the upstream.
func BenchmarkDeleteRefused(b *testing.B) {
	objects := []gateway.Object{stored(gateway.Upstreams, "1", `{"nodes":{"a:1":1}}`), stored(gateway.Upstreams, "2", `{"nodes":{"a:1":1}}`)}
	for i := range 10_000 {
		objects = append(objects, stored(gateway.Routes, fmt.Sprint(i), fmt.Sprintf(`{"uri":"/r/%d","upstream_id":"2"}`, i)))
	}
	objects = append(objects, stored(gateway.Routes, "x", `{"uri":"/x","upstream_id":"1"}`))
	a := openAPI(b, objects)
	for b.Loop() {
		if w := a.call(http.MethodDelete, prefix+"/upstreams/1", ""); w.Code != 400 {
			b.Fatal(w.Body)
		}
	}
}
