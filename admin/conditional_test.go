// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// tag returns the ETag of an object, which must exist.
func (a api) tag(path string) string {
	a.t.Helper()
	w := a.call("GET", prefix+path, "")
	tag := w.Header().Get("ETag")
	if w.Code != http.StatusOK || len(tag) < 3 || tag[0] != '"' {
		a.t.Fatalf("GET %s: %d, ETag %q", path, w.Code, tag)
	}
	return tag
}

func TestConditionalWrites(t *testing.T) {
	a := newAPI(t)
	a.put("/services/1", `{"name":"a"}`)
	first := a.tag("/services/1")
	if again := a.tag("/services/1"); again != first {
		t.Errorf("the tag was %s and is %s", first, again)
	}
	a.put("/services/1", `{"name":"b"}`)
	now := a.tag("/services/1")
	if now == first {
		t.Errorf("a change has left the tag %s", now)
	}
	changed := `{"error_msg":"If-Match: /apisix/services/1 has changed, its ETag is ` + strings.ReplaceAll(now, `"`, `\"`) + ` now"}`
	exists := `{"error_msg":"If-None-Match: /apisix/services/1 exists, its ETag is ` + strings.ReplaceAll(now, `"`, `\"`) + `"}`
	for _, c := range []struct{ field, value, path, want string }{
		{"If-Match", first, "/services/1", changed},
		{"If-Match", `"x", ` + first, "/services/1", changed},
		{"If-Match", "W/" + now, "/services/1", changed},
		{"If-Match", strings.Trim(now, `"`), "/services/1", changed},
		{"If-Match", "", "/services/1", changed},
		{"If-None-Match", "*", "/services/1", exists},
		{"If-None-Match", "W/" + now, "/services/1", exists},
		{"If-None-Match", `"x",` + now, "/services/1", exists},
	} {
		for _, method := range []string{"PUT", "PATCH", "DELETE"} {
			w := a.call(method, prefix+c.path, `{"name":"c"}`, c.field, c.value)
			if got := strings.TrimSuffix(w.Body.String(), "\n"); w.Code != 412 || got != c.want || w.Header().Get("ETag") != now {
				t.Errorf("%s with %s: %s: got %d %s, want 412 %s", method, c.field, c.value, w.Code, got, c.want)
			}
		}
	}
	if got := a.tag("/services/1"); got != now {
		t.Fatalf("a refused write has changed the object: %s", got)
	}
	for _, c := range []struct {
		method, field, value string
		status               int
	}{
		{"PUT", "If-Match", now, 200},
		{"PATCH", "If-Match", "*", 200},
		{"PATCH", "If-Match", `"x" , ` + "%s", 200},
		{"PUT", "If-None-Match", `"x"`, 200},
		{"DELETE", "If-Match", "%s", 200},
		{"PUT", "If-Match", "*", 412},
		{"PATCH", "If-Match", "*", 404},
		{"DELETE", "If-Match", "*", 404},
		{"PUT", "If-None-Match", "*", 201},
	} {
		value := c.value
		if strings.Contains(value, "%s") {
			value = fmt.Sprintf(value, a.tag("/services/1"))
		}
		if w := a.call(c.method, prefix+"/services/1", `{"name":"c"}`, c.field, value); w.Code != c.status {
			t.Errorf("%s with %s: %s: got %d %s, want %d", c.method, c.field, value, w.Code, w.Body, c.status)
		}
	}
	w := a.call("GET", prefix+"/services/1", "", "If-None-Match", a.tag("/services/1"))
	if w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Errorf("a GET of what is known: got %d %s", w.Code, w.Body)
	}
	if w := a.call("GET", prefix+"/services", ""); w.Header().Get("ETag") != "" {
		t.Error("a list has a tag")
	}
}

func TestDryRun(t *testing.T) {
	a := newAPI(t)
	a.put("/consumers/jack", `{"username":"jack","plugins":{"key-auth":{"key":"k1"}}}`)
	a.put("/services/1", `{"name":"a"}`)
	before := a.gateway.Table().Revision()
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"PUT", "/routes/1", plainRoute, 201, `"id":"1"`},
		{"PUT", "/services/1", `{"name":"b"}`, 200, `"name":"b"`},
		{"POST", "/routes", plainRoute, 201, `"id":"00000000000000000003"`},
		{"PATCH", "/services/1", `{"desc":"d"}`, 200, `"desc":"d"`},
		{"DELETE", "/services/1", ``, 200, `"deleted":"1"`},
		{"DELETE", "/services/2", ``, 404, `Key not found`},
		{"PUT", "/routes/1", `{"uri":1}`, 400, `wrong type`},
		{"PUT", "/routes/1", `{"uri":"/a","upstream_id":"9"}`, 400, `failed to fetch upstream info`},
		// Only compiling it shows that somebody else has the key.
		{"PUT", "/consumers/jill", `{"username":"jill","plugins":{"key-auth":{"key":"k1"}}}`, 400, `duplicate key of plugin key-auth`},
	} {
		w := a.call(c.method, prefix+c.path+"?dry_run=true", c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) || w.Header().Get(dryRunField) != "true" {
			t.Errorf("%s %s: got %d %s, want %d %s", c.method, c.path, w.Code, w.Body, c.status, c.want)
		}
	}
	if got := a.gateway.Table().Revision(); got != before {
		t.Errorf("something was stored: revision %d, was %d", got, before)
	}
	if _, exists := a.gateway.Table().Object(gateway.Routes, "1"); exists {
		t.Error("the route exists")
	}
	for _, value := range []string{"1", "", "True"} {
		a.want("PUT", prefix+"/routes/1?dry_run="+value, plainRoute, 400, `{"error_msg":"invalid argument dry_run: should be true or false"}`)
	}
	if w := a.call("PUT", prefix+"/routes/1?dry_run=false", plainRoute); w.Code != 201 || w.Header().Get(dryRunField) != "" {
		t.Errorf("a wet run: got %d %s", w.Code, w.Body)
	}
	if _, exists := a.gateway.Table().Object(gateway.Routes, "1"); !exists {
		t.Error("the route does not exist")
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	a := newAPI(t)
	for _, c := range []struct{ path, body, first, errors string }{
		{
			"/routes/1", `{"uri":5,"methods":["GETT"],"pluginss":{},"status":1,"upstream":{"nodes":{"a:1":1},"scheme":"htps"}}`,
			`invalid configuration: property \"methods\" validation failed: failed to validate item 1: matches none of the enum values`,
			`{"pointer":"/methods/0","message":"matches none of the enum values","value":"GETT",` +
				`"allowed":["GET","POST","PUT","DELETE","PATCH","HEAD","OPTIONS","CONNECT","TRACE","PURGE"],"nearest":"GET"},` +
				`{"pointer":"/upstream/scheme","message":"matches none of the enum values","value":"htps",` +
				`"allowed":["grpc","grpcs","http","https","tcp","tls","udp","kafka"],"nearest":"https"},` +
				`{"pointer":"/uri","message":"wrong type: expected string, got number","value":5,"allowed":["string"]},` +
				`{"pointer":"/pluginss","message":"additional properties forbidden, found pluginss","nearest":"plugins"}`,
		},
		{
			"/consumers/jack", `{"username":"jack","plugins":{"key-auth":{"key":7},"key-aut":{},"response-rewrite":{"status_code":1}}}`,
			`invalid plugins configuration: unknown plugin [key-aut]`,
			`{"pointer":"/plugins/key-aut","message":"unknown plugin [key-aut]","nearest":"key-auth"},` +
				`{"pointer":"/plugins/key-auth/key","message":"wrong type: expected string, got number","allowed":["string"]},` +
				`{"pointer":"/plugins/response-rewrite/status_code","message":"expected 1 to be at least 200","value":1}`,
		},
		{
			"/plugin_metadata/key-aut", `{}`, `invalid plugin name`,
			`{"pointer":"","message":"invalid plugin name","value":"key-aut","nearest":"key-auth"}`,
		},
	} {
		t.Run(c.path, func(t *testing.T) {
			api{a.Handler, t}.want("PUT", prefix+c.path, c.body, 400, `{"error_msg":"`+c.first+`","errors":[`+c.errors+`]}`)
		})
	}
	a.want("POST", prefix+"/schema/validate/services", `{"nam":1,"hosts":[1]}`, 400,
		`{"error_msg":"property \"hosts\" validation failed: failed to validate item 1: wrong type: expected string, got number","errors":[`+
			`{"pointer":"/hosts/0","message":"wrong type: expected string, got number","value":1,"allowed":["string"]},`+
			`{"pointer":"/nam","message":"additional properties forbidden, found nam","value":1,"nearest":"name"}]}`)
	// What no schema says has no list.
	a.want("PUT", prefix+"/routes/1", `{"uri":"/a","upstream_id":"9"}`, 400,
		`{"error_msg":"failed to fetch upstream info by upstream id [9], response code: 404"}`)
}
