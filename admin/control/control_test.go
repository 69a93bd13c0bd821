// SPDX-License-Identifier: Apache-2.0

package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	_ "github.com/andogate/ando/modules/plugins/standard"
	"github.com/andogate/ando/modules/store/memory"
	"github.com/andogate/ando/modules/table"
	"github.com/andogate/ando/modules/upstream/health"
)

func object(kind gateway.Kind, id, value string) gateway.Object {
	return gateway.Object{Kind: kind, ID: id, Value: []byte(value)}
}

func newHandler(t *testing.T, objects ...gateway.Object) *Handler {
	t.Helper()
	plugins := gateway.RegisteredPlugins()
	g, _, err := gateway.Open(t.Context(), memory.New(objects...), &gateway.Generation{
		Compiler: &table.Compiler{Plugins: plugins}, Settings: gateway.DefaultSettings(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	pool := health.NewPool(nil)
	t.Cleanup(pool.Close)
	if err := g.OnTable(pool.Follow); err != nil {
		t.Fatal(err)
	}
	h, err := New(Config{Gateway: g, Plugins: plugins, Health: pool})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func call(t *testing.T, h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:9090"+path, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func expect(t *testing.T, h http.Handler, method, path string, status int, body string) {
	t.Helper()
	w := call(t, h, method, path)
	if got := strings.TrimSuffix(w.Body.String(), "\n"); w.Code != status || got != body {
		t.Errorf("%s %s\ngot  %d %s\nwant %d %s", method, path, w.Code, got, status, body)
	}
}

// The cases of the Admin API's examples that are for these two APIs.
func TestExamples(t *testing.T) {
	file, err := os.Open("../testdata/examples.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	ran := 0
	for lines.Scan() {
		var c struct {
			N                                    int
			Resource, Method, Path, Precondition string
			Status                               int `json:"expect_status"`
			Expect                               struct {
				Body     any
				Text     string
				ErrorMsg string `json:"error_msg"`
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		var h http.Handler
		switch c.Resource {
		case "status":
			h = Status(func() []string { return nil }, func() []string { return nil })
		case "control":
			var objects []gateway.Object
			if strings.HasSuffix(c.Precondition, "route without checks") {
				objects = append(objects, object(gateway.Routes, "1", `{"uri":"/a","upstream":{"nodes":{"a:1":1}}}`))
			}
			h = newHandler(t, objects...)
		default:
			continue
		}
		ran++
		w := call(t, h, c.Method, c.Path)
		var got any
		if w.Body.Len() > 0 && c.Expect.Text == "" {
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Errorf("case %d: %v", c.N, err)
			}
		}
		message, _ := got.(map[string]any)
		_, isArray := got.([]any)
		switch {
		case w.Code != c.Status:
			t.Errorf("case %d: %d %s, want %d", c.N, w.Code, w.Body, c.Status)
		case c.Expect.ErrorMsg != "" && message["error_msg"] != c.Expect.ErrorMsg,
			c.Expect.Text != "" && w.Body.String() != c.Expect.Text,
			c.Expect.Body == "array" && !isArray,
			c.Expect.Body != nil && c.Expect.Body != "array" && !reflect.DeepEqual(got, c.Expect.Body):
			t.Errorf("case %d: %s, want %+v", c.N, w.Body, c.Expect)
		}
	}
	if err := lines.Err(); err != nil || ran != 6 {
		t.Errorf("%d cases ran, %v", ran, err)
	}
}

func TestHealthcheck(t *testing.T) {
	const passive = `"checks":{"active":{"type":"tcp","healthy":{"interval":3600}},"passive":{"unhealthy":{"tcp_failures":2}}}`
	h := newHandler(t,
		object(gateway.Upstreams, "u", `{"nodes":{"127.0.0.1:1":1,"127.0.0.2:1":1},`+passive+`}`),
		object(gateway.Upstreams, "empty", `{"nodes":{},`+passive+`}`),
		object(gateway.Services, "s", `{"upstream":{"nodes":{"127.0.0.1:1":1},"checks":{"active":{"type":"https","healthy":{"interval":3600},"host":"h","port":5}}}}`),
		object(gateway.Routes, "r", `{"uri":"/a","upstream":{"nodes":{"127.0.0.1:1":1},"checks":{"passive":{"type":"https"}}}}`),
		object(gateway.Routes, "served", `{"uri":"/c","service_id":"s"}`),
		object(gateway.Routes, "mentions", `{"uri":"/b","desc":"checks","plugins":{}}`))
	counter := func(tcp int) string {
		return fmt.Sprintf(`"counter":{"success":0,"http_failure":0,"tcp_failure":%d,"timeout_failure":0}`, tcp)
	}
	fresh := func(hostname, ip string, port int) string {
		return fmt.Sprintf(`{"ip":%q,"port":%d,"hostname":%q,"status":"healthy",%s}`, ip, port, hostname, counter(0))
	}
	route := `{"name":"/apisix/routes/r","type":"https","nodes":[` + fresh("127.0.0.1", "127.0.0.1", 1) + `]}`
	expectTimeless(t, h, "/v1/healthcheck", `[`+route+`,`+
		`{"name":"/apisix/services/s","type":"https","nodes":[`+fresh("h", "127.0.0.1", 5)+`]},`+
		`{"name":"/apisix/upstreams/empty","type":"tcp","nodes":{}},`+
		`{"name":"/apisix/upstreams/u","type":"tcp","nodes":[`+fresh("127.0.0.1", "127.0.0.1", 1)+`,`+fresh("127.0.0.2", "127.0.0.2", 1)+`]}]`)
	expect(t, h, "GET", "/v1/healthcheck/routes/r", 200, route)

	u := h.cfg.Gateway.Table().Upstream("u")
	u.Health.Report(u.Nodes[1], 0, gateway.FailedConnect)
	u.Health.Report(u.Nodes[1], 0, gateway.FailedConnect)
	expectTimeless(t, h, "/v1/healthcheck/upstreams/u", `{"name":"/apisix/upstreams/u","type":"tcp","nodes":[`+
		fresh("127.0.0.1", "127.0.0.1", 1)+`,{"ip":"127.0.0.2","port":1,"hostname":"127.0.0.2","status":"unhealthy",`+
		counter(2)+`,"reason":"request: no connection"}]}`)

	expect(t, h, "GET", "/v1/healthcheck/routes/served", 404, `{"error_msg":"no checker for routes[served]"}`)
	expect(t, h, "GET", "/v1/healthcheck/routes/mentions", 404, `{"error_msg":"no checker for routes[mentions]"}`)
	expect(t, h, "GET", "/v1/healthcheck/ssls/1", 400, `{"error_msg":"invalid src type ssls"}`)
	expect(t, h, "GET", "/v1/healthcheck/routes", 404, `{"error_msg":"missing src id for src type routes"}`)
	expect(t, h, "GET", "/v1/healthcheck/routes/x", 404, `{"error_msg":"routes[x] not found"}`)
	w := call(t, h, "GET", "/v1/healthcheck", "Accept", "text/html,*/*")
	page := w.Body.String()
	if got := w.Header().Get("Content-Type"); got != "text/html; charset=utf-8" ||
		!strings.Contains(page, "<td>/apisix/routes/r</td><td>https</td>") || !strings.Contains(page, "<td>unhealthy</td><td>0</td><td>0</td><td>2</td>") ||
		!strings.Contains(page, "<td>/apisix/upstreams/empty</td><td>tcp</td>") {
		t.Errorf("got %s %s", got, w.Body)
	}
}

var times = regexp.MustCompile(`,"(since|next_probe)":"([^"]*)"`)

// expectTimeless is expect for answers with times. Those have to be times, and are left out of what is compared.
func expectTimeless(t *testing.T, h http.Handler, path, body string) {
	t.Helper()
	got := call(t, h, "GET", path).Body.String()
	found := times.FindAllStringSubmatch(got, -1)
	if len(found) == 0 {
		t.Errorf("%s: nothing is probed: %s", path, got)
	}
	for _, field := range found {
		if _, err := time.Parse(time.RFC3339, field[2]); err != nil {
			t.Errorf("%s: %s: %v", path, field[1], err)
		}
	}
	if got = strings.TrimSuffix(times.ReplaceAllString(got, ""), "\n"); got != body {
		t.Errorf("%s\ngot  %s\nwant %s", path, got, body)
	}
}

func TestObjects(t *testing.T) {
	h := newHandler(t,
		object(gateway.Upstreams, "u", `{"nodes":{"10.0.0.1:80":1},"type":"roundrobin","tls":{"client_cert":"c","client_key":"secret"}}`),
		object(gateway.Services, "s", `{"upstream":{"nodes":[{"host":"n.example.com","port":80,"weight":1}]}}`),
		object(gateway.PluginMetadata, "key-auth", `{"id":"key-auth"}`))
	expect(t, h, "GET", "/v1/routes", 200, `[]`)
	expect(t, h, "GET", "/v1/route/1", 404, `{"error_msg":"route[1] not found"}`)
	expect(t, h, "GET", "/v1/plugin_metadatas", 200, `[{"id":"key-auth"}]`)
	expect(t, h, "GET", "/v1/plugin_metadata/key-auth", 200, `{"id":"key-auth"}`)
	expect(t, h, "GET", "/v1/plugin_metadata/x", 404, `{"error_msg":"plugin metadata[x] not found"}`)

	for noun, domain := range map[string]bool{"service": true, "upstream": false} {
		var got map[string]any
		path := "/v1/" + noun + "/" + noun[:1]
		body := call(t, h, "GET", path).Body.Bytes()
		if err := json.Unmarshal(body, &got); err != nil || got["has_domain"] != domain || got["update_count"] != 0.0 {
			t.Errorf("%s: %v %s", path, err, body)
		}
		var list []any
		err := json.Unmarshal(call(t, h, "GET", "/v1/"+noun+"s").Body.Bytes(), &list)
		if err != nil || len(list) != 1 || !reflect.DeepEqual(list[0], any(got)) {
			t.Errorf("%s in a list: %v %v", path, err, list)
		}
		if strings.Contains(string(body), "secret") {
			t.Errorf("a private key is shown: %s", body)
		}
		// As in memory: with defaults.
		if !strings.Contains(string(body), `"hash_on":"vars"`) {
			t.Errorf("no defaults: %s", body)
		}
	}
}

func TestSchemas(t *testing.T) {
	var got struct {
		Main          map[string]any            `json:"main"`
		Plugins       map[string]map[string]any `json:"plugins"`
		StreamPlugins map[string]any            `json:"stream_plugins"`
	}
	if err := json.Unmarshal(call(t, newHandler(t), "GET", "/v1/schema").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range mainSchemas {
		if got.Main[name] == nil {
			t.Errorf("no schema of %s", name)
		}
	}
	keyAuth := got.Plugins["key-auth"]
	if keyAuth["type"] != "auth" || keyAuth["priority"] != 2500.0 || keyAuth["consumer_schema"] == nil || keyAuth["built"] != nil {
		t.Errorf("got %v", keyAuth)
	}
	if mqtt, _ := got.StreamPlugins["mqtt-proxy"].(map[string]any); mqtt["priority"] != 1000.0 || mqtt["built"] != nil {
		t.Errorf("got %v", mqtt)
	}
	// What is not built is described and marked.
	if gm := got.Plugins["gm"]; gm["schema"] == nil || gm["built"] != false {
		t.Errorf("got %v", gm)
	}
}

func TestOtherRequests(t *testing.T) {
	h := newHandler(t)
	expect(t, h, "POST", "/v1/gc", 200, "")
	for _, c := range [][2]string{{"GET", "/v1/gc"}, {"GET", "/v1"}, {"GET", "/"}, {"DELETE", "/v1/routes"}, {"GET", "/v1/discovery/dns/dump"}} {
		if w := call(t, h, c[0], c[1]); w.Code != 404 {
			t.Errorf("%s: %d", c, w.Code)
		}
	}
	for host, status := range map[string]int{
		"localhost:9090": 200, "[::1]:9090": 200, "[::1]": 200, "10.0.0.1": 200, "evil.example.com": 403, "localhost.evil.example.com:9090": 403, "": 403,
	} {
		if w := call(t, h, "GET", "/v1/routes", "Host", host); w.Code != status {
			t.Errorf("%q: %d", host, w.Code)
		}
	}
}

func TestStatus(t *testing.T) {
	missing := []string{"the store is not open", "no listener"}
	var behind []string
	h := Status(func() []string { return missing }, func() []string { return behind })
	expect(t, h, "GET", "/status", 200, `{"status":"ok"}`)
	behind = []string{"why"}
	expect(t, h, "GET", "/status", 200, `{"status":"ok","config_behind":["why"]}`)
	expect(t, h, "GET", "/status/ready", 503,
		`{"status":"error","error":"the store is not open; no listener","reasons":["the store is not open","no listener"]}`)
	missing = nil
	expect(t, h, "GET", "/status/ready", 200, `{"status":"ok"}`)
	if w := call(t, h, "GET", "/other"); w.Code != 404 {
		t.Errorf("got %d", w.Code)
	}
}
