// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/andogate/ando/admin/standalone"
)

// adc makes the calls that APISIX's declarative CLI makes of an Admin API, and depends on what it depends on.
type adc struct{ api }

// adcKinds are what adc reads, in the order in which it writes: what is referred to comes first.
var adcKinds = []string{"ssls", "upstreams", "services", "plugin_configs", "global_rules", "plugin_metadata", "consumers", "routes", "stream_routes"}

// ok sends a request that adc takes for failed unless it gets a 2xx.
func (c adc) ok(method, path, body string) []byte {
	c.t.Helper()
	w := c.call(method, prefix+path, body, "Content-Type", "application/json")
	if w.Code < 200 || w.Code > 299 {
		c.t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// list reads a collection: an answer without an array ends adc.
func (c adc) list(path string) (values []map[string]any, keys []string) {
	c.t.Helper()
	var answer struct {
		List []struct {
			Key   string
			Value map[string]any
		}
	}
	body := c.ok("GET", path, "")
	if err := json.Unmarshal(body, &answer); err != nil || answer.List == nil {
		c.t.Fatalf("GET %s: %v %s", path, err, body)
	}
	for _, item := range answer.List {
		values, keys = append(values, item.Value), append(keys, item.Key)
	}
	return values, keys
}

// dump reads everything, by the path it is written to.
func (c adc) dump() map[string]map[string]any {
	c.t.Helper()
	all := map[string]map[string]any{}
	for _, kind := range adcKinds {
		if w := c.call("GET", prefix+"/"+kind, ""); kind == "stream_routes" && w.Code >= 400 {
			continue
		}
		values, keys := c.list("/" + kind)
		for i, value := range values {
			// plugin_metadata and global_rules are known by the last segment of their keys.
			all["/"+kind+"/"+keys[i][strings.LastIndexByte(keys[i], '/')+1:]] = adcModel(value)
			if kind != "consumers" {
				continue
			}
			folder := fmt.Sprintf("/consumers/%s/credentials", value["username"])
			if c.call("GET", prefix+folder, "").Code == http.StatusNotFound {
				continue
			}
			credentials, _ := c.list(folder)
			for _, credential := range credentials {
				all[fmt.Sprintf("%s/%s", folder, credential["id"])] = adcModel(credential)
			}
		}
	}
	return all
}

// adcModel is what adc compares: no id, no times, no private keys, and nodes as an array.
func adcModel(value map[string]any) map[string]any {
	value = maps.Clone(value)
	for _, name := range []string{"id", "create_time", "update_time", "key", "keys"} {
		delete(value, name)
	}
	if upstream, ok := value["upstream"].(map[string]any); ok {
		value["upstream"] = adcModel(upstream)
	}
	if nodes, ok := value["nodes"].(map[string]any); ok {
		list := []any{}
		for _, address := range slices.Sorted(maps.Keys(nodes)) {
			host, port, _ := strings.Cut(address, ":")
			list = append(list, map[string]any{"host": host, "port": json.Number(port), "weight": nodes[address]})
		}
		value["nodes"] = list
	}
	return value
}

// sync makes the API have what is wanted and returns what it had to do.
func (c adc) sync(wanted map[string]string) (events []string) {
	c.t.Helper()
	had := c.dump()
	paths := slices.SortedFunc(maps.Keys(wanted), func(a, b string) int { return c.rank(a) - c.rank(b) })
	for _, path := range paths {
		want := decodedObject(c.t, wanted[path])
		if before, there := had[path]; there && plain(before) == plain(adcModel(want)) {
			continue
		}
		events = append(events, "PUT "+path)
		c.ok("PUT", path, wanted[path])
	}
	gone := slices.SortedFunc(maps.Keys(had), func(a, b string) int { return c.rank(b) - c.rank(a) })
	for _, path := range gone {
		if _, stays := wanted[path]; !stays {
			events = append(events, "DELETE "+path)
			c.ok("DELETE", path, "")
		}
	}
	return events
}

func (c adc) rank(path string) int {
	kind, rest, _ := strings.Cut(path[1:], "/")
	return 2*slices.Index(adcKinds, kind) + strings.Count(rest, "/")/2
}

func decodedObject(t testing.TB, text string) map[string]any {
	t.Helper()
	var value map[string]any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return value
}

// plain makes values comparable, however their numbers were read.
func plain(value any) string {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// wantedByADC is a configuration in the shape that adc gives it.
func wantedByADC(t *testing.T) map[string]string {
	t.Helper()
	ssl := withCertificate(t, []byte(`{"id":"ssl1","cert":"<valid PEM>","key":"<valid PEM>","snis":["a.com"]}`))
	return map[string]string{
		"/ssls/ssl1":                     ssl,
		"/upstreams/5f1a":                `{"id":"5f1a","name":"default","type":"roundrobin","nodes":[{"host":"10.0.0.1","port":80,"weight":100}],"scheme":"http"}`,
		"/upstreams/5f1b":                `{"id":"5f1b","labels":{"__ADC_UPSTREAM_SERVICE_ID":"5f1a"},"nodes":{"10.0.0.2:80":1,"10.0.0.3:80":2}}`,
		"/services/5f1a":                 `{"id":"5f1a","name":"shop","hosts":["shop.example.com"],"upstream_id":"5f1a","labels":{"managed-by":"adc","k8s/name":"shop"}}`,
		"/routes/r1":                     `{"id":"r1","name":"orders","uris":["/orders/*"],"methods":["GET","POST"],"service_id":"5f1a","plugins":{"key-auth":{}},"timeout":{"connect":1.5,"send":60,"read":60}}`,
		"/consumers/jack":                `{"username":"jack","desc":"<&> \u00e9"}`,
		"/consumers/jack/credentials/c1": `{"id":"c1","name":"main","plugins":{"key-auth":{"key":"jacks-key"}}}`,
		"/global_rules/response-rewrite": `{"plugins":{"response-rewrite":{"headers":{"set":{"X-A":"b"}}}}}`,
		"/plugin_configs/auth":           `{"id":"auth","plugins":{"key-auth":{}}}`,
		"/plugin_metadata/key-auth":      `{"log_format":{"host":"$host"}}`,
	}
}

// What adc has written it reads back, so that its next run has nothing to do; then it takes all of it away again.
func TestADC(t *testing.T) {
	for _, stream := range []bool{false, true} {
		c := adc{newAPI(t, func(c *Config) { c.Stream = stream })}
		if got := c.call("GET", prefix+"/routes", "").Header().Get("Server"); got != "APISIX/3.18.0" {
			t.Errorf("version from %q", got)
		}
		wanted := wantedByADC(t)
		if got := c.sync(wanted); len(got) != len(wanted) {
			t.Errorf("first: %q", got)
		}
		if got := c.sync(wanted); len(got) > 0 {
			t.Errorf("again: %q", got)
		}
		wanted["/routes/r1"] = strings.Replace(wanted["/routes/r1"], `"POST"`, `"PUT"`, 1)
		delete(wanted, "/consumers/jack/credentials/c1")
		if got := c.sync(wanted); !slices.Equal(got, []string{"PUT /routes/r1", "DELETE /consumers/jack/credentials/c1"}) {
			t.Errorf("changed: %q", got)
		}
		if got := c.sync(wanted); len(got) > 0 {
			t.Errorf("changed, again: %q", got)
		}
		if got := c.sync(nil); len(got) != len(wanted) {
			t.Errorf("nothing: %q", got)
		}
		if got := c.dump(); len(got) > 0 {
			t.Errorf("left: %v", got)
		}
	}
}

// adc asks what is wrong before it writes, and finds the offender by the name of its list and its index.
func TestADCValidates(t *testing.T) {
	a := newAPI(t)
	a.want("POST", prefix+"/configs/validate", `{"routes":[],"services":[{"id":"s"}],"consumers":[],"ssls":[],"global_rules":[],`+
		`"stream_routes":[],"plugin_metadata":[],"upstreams":[]}`, 200, "{}")
	body := a.call("POST", prefix+"/configs/validate", `{"services":[{"id":"s"},{"id":"t","hosts":1}]}`).Body.Bytes()
	for found := range eachItem(lookup(body, "errors")) {
		if kind, _ := stringOf(lookup(found, "resource_type")); kind != "services" || string(lookup(found, "index")) != "1" {
			t.Errorf("got %s", body)
		}
		return
	}
	t.Errorf("got %s", body)
}

// ingress makes the calls of APISIX's ingress controller: the whole document, with the time as the version of what changed.
type ingress struct {
	api
	now int64
}

func (c *ingress) sync(wanted map[string]any) (status int) {
	c.t.Helper()
	if w := c.call("HEAD", prefix, ""); w.Code != 200 || w.Header().Get("Server") == "" {
		c.t.Errorf("HEAD: %d", w.Code)
	}
	if w := c.call("HEAD", configs, ""); w.Code != 200 {
		c.t.Errorf("HEAD configs: %d", w.Code)
	}
	doc := decodedObject(c.t, string(c.pulled()))
	for name, items := range wanted {
		version, ok := doc[name+"_conf_version"].(float64)
		if !ok {
			c.t.Fatalf("no version of %s in %v", name, doc)
		}
		if plain(doc[name]) != plain(items) {
			doc[name], doc[name+"_conf_version"] = items, max(float64(c.now), version+1)
		}
	}
	raw := plain(doc)
	digest := sha1.Sum([]byte(raw))
	w := c.call(http.MethodPut, configs, raw, "X-Digest", hex.EncodeToString(digest[:]), "Content-Type", "application/json")
	if w.Code != 202 && w.Code != 204 {
		c.t.Errorf("PUT: %d %s", w.Code, w.Body)
	}
	return w.Code
}

func TestIngressController(t *testing.T) {
	c := &ingress{newAPI(t, func(c *Config) { c.Standalone = new(standalone.State) }), 1763850000123}
	wanted := map[string]any{
		"services":     []any{map[string]any{"id": "s", "upstream_id": "u", "hosts": []any{"a.com"}}},
		"upstreams":    []any{map[string]any{"id": "u", "nodes": []any{map[string]any{"host": "10.0.0.1", "port": 80, "weight": 1}}}},
		"routes":       []any{map[string]any{"id": "r", "uris": []any{"/a"}, "service_id": "s", "labels": map[string]any{"managed-by": "apisix-ingress-controller"}}},
		"consumers":    []any{map[string]any{"username": "jack"}, map[string]any{"id": "jack/credentials/c", "plugins": map[string]any{"key-auth": map[string]any{"key": "k"}}}},
		"global_rules": []any{map[string]any{"id": "response-rewrite", "plugins": map[string]any{"response-rewrite": map[string]any{"body": "x"}}}},
	}
	if got := c.sync(wanted); got != 202 {
		t.Errorf("first: %d", got)
	}
	revision, version := c.gateway.Table().Revision(), string(lookup(c.pulled(), "routes_conf_version"))
	if version != "1763850000123" {
		t.Errorf("version %s", version)
	}
	// The second run sends what it has read; its digest is new, since what it has read has versions.
	c.now++
	c.sync(wanted)
	if got := c.sync(wanted); got != 204 {
		t.Errorf("third: %d", got)
	}
	if got := string(lookup(c.pulled(), "routes_conf_version")); got != version || c.gateway.Table().Revision() != revision {
		t.Errorf("nothing was to be done, and the version is %s, the revision %d", got, c.gateway.Table().Revision())
	}
	wanted["routes"] = []any{}
	c.sync(wanted)
	if got := c.keys(); len(got) != 5 || slices.Contains(got, "/apisix/routes/r") {
		t.Errorf("left: %q", got)
	}
}

// The calls of APISIX's dashboard, screen by screen.
func TestDashboard(t *testing.T) {
	key := []string{"X-API-KEY", "secret"}
	a := newAPI(t, func(c *Config) { c.Stream, c.Keys = false, []Key{{Key: "secret"}} })
	call := func(method, path, body string, status int) []byte {
		t.Helper()
		w := a.call(method, prefix+path, body, key...)
		if w.Code != status {
			t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		return w.Body.Bytes()
	}
	if w := a.call("GET", prefix+"/routes?page=1&page_size=10", ""); w.Code != 401 {
		t.Errorf("the dialog for the key does not open: %d", w.Code)
	}

	for _, kind := range []string{"routes", "services", "upstreams", "ssls", "global_rules", "plugin_configs", "consumer_groups", "consumers", "protos", "secrets"} {
		if got := call("GET", "/"+kind+"?page=1&page_size=10", "", 200); string(lookup(got, "total")) != "0" {
			t.Errorf("%s: %s", kind, got)
		}
	}
	if got, _ := stringOf(lookup(call("GET", "/stream_routes?page=1&page_size=10", "", 400), "error_msg")); got != "stream mode is disabled, can not add stream routes" {
		t.Errorf("stream routes: %s", got)
	}

	const upstream = `{"name":"u","type":"roundrobin","nodes":[{"host":"10.0.0.1","port":80,"weight":1,"priority":0}],"scheme":"http","pass_host":"pass"}`
	upstreamID, _ := stringOf(lookup(call("POST", "/upstreams", upstream, 201), "value", "id"))
	serviceID, _ := stringOf(lookup(call("POST", "/services", `{"name":"s","upstream_id":"`+upstreamID+`"}`, 201), "value", "id"))
	route := `{"name":"r","uri":"/r","service_id":"` + serviceID + `"}`
	routeID, _ := stringOf(lookup(call("POST", "/routes", route, 201), "value", "id"))
	call("POST", "/routes", `{"name":"other","uri":"/o","upstream_id":"`+upstreamID+`"}`, 201)
	of := call("GET", "/routes?page=1&page_size=10&filter=service_id%3D"+serviceID, "", 200)
	if string(lookup(of, "total")) != "1" || !strings.Contains(string(of), routeID) {
		t.Errorf("of the service: %s", of)
	}
	if got := call("GET", "/routes?page=1&page_size=10&name=oth", "", 200); string(lookup(got, "total")) != "1" {
		t.Errorf("by name: %s", got)
	}
	detail := lookup(call("GET", "/routes/"+routeID, "", 200), "value")
	edited := parseFields(detail)
	for _, name := range []string{"id", "create_time", "update_time"} {
		if edited.get(name) == nil {
			t.Errorf("no %s in %s", name, detail)
		}
		edited.remove(name)
	}
	edited.set("desc", quote("edited"))
	call("PUT", "/routes/"+routeID, string(edited.text()), 200)

	call("PUT", "/plugin_configs/V1StGXR8_Z5jdHi6B-myT", `{"plugins":{"key-auth":{}}}`, 201)
	call("PUT", "/consumers", `{"username":"jack"}`, 201)
	call("GET", "/consumers/jack/credentials", "", 404)
	call("PUT", "/consumers/jack/credentials/c1", `{"plugins":{"key-auth":{"key":"k"}}}`, 201)
	call("PUT", "/secrets/vault/1", `{"uri":"http://127.0.0.1:8200","prefix":"kv","token":"t"}`, 201)
	if got := call("GET", "/secrets?page=1&page_size=10", "", 200); !strings.Contains(string(got), `"id":"vault/1"`) {
		t.Errorf("secrets: %s", got)
	}

	call("GET", "/plugins/list", "", 200)
	call("GET", "/plugins/list?subsystem=stream", "", 200)
	call("GET", "/plugins?all=true&subsystem=stream", "", 200)
	if got := lookup(call("GET", "/plugins?all=true", "", 200), "key-auth"); lookup(got, "consumer_schema") == nil || lookup(got, "type") == nil {
		t.Errorf("key-auth: %s", got)
	}
	if got := call("GET", "/plugins/key-auth?schema_type=consumer", "", 200); lookup(got, "properties", "key") == nil {
		t.Errorf("key-auth of a consumer: %s", got)
	}
	call("GET", "/plugin_metadata/key-auth", "", 404)

	call("DELETE", "/services/"+serviceID, "", 400)
	call("DELETE", "/routes/"+routeID, "", 200)
	call("DELETE", "/services/"+serviceID, "", 200)
}
