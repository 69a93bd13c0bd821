// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestPluginEndpoints(t *testing.T) {
	a := newAPI(t)
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/plugins/key-auth", 200, `"_meta":`},
		{"/plugins/key-auth?subsystem=http", 200, `"hide_credentials":`},
		{"/plugins/key-auth?schema_type=consumer", 200, `"key"`},
		{"/plugins/response-rewrite?schema_type=consumer", 400, `{"error_msg":"not found schema"}`},
		{"/plugins/limit-conn?subsystem=stream", 200, `"description":"concurrent connections that pass at once"`},
		{"/plugins/key-auth?subsystem=stream", 404, `{"error_msg":"plugin not found in subsystem stream"}`},
		{"/plugins/key-auth?subsystem=x", 400, `{"error_msg":"unsupported subsystem: x"}`},
		{"/plugins", 404, `{"error_msg":"plugin not found in subsystem http"}`},
		{"/plugins/", 404, `{"error_msg":"plugin not found in subsystem http"}`},
		{"/plugins?all=true", 200, `"type":"auth"`},
		{"/plugins?all=true&subsystem=stream", 200, `"mqtt-proxy":{"version":0.1,"priority":1000,`},
		{"/plugins?all=true&subsystem=stream", 200, `,"built":false}`},
		{"/plugins/mqtt-proxy", 404, `{"error_msg":"plugin not found in subsystem http"}`},
		{"/plugins/mqtt-proxy?subsystem=stream", 200, `"protocol_name":`},
		{"/plugins/authz-casdoor", 200, `,"built":false}`},
		{"/plugins/jwt-auth?schema_type=consumer", 200, `"base64_secret":`},
		{"/plugins/cors?schema_type=consumer", 400, `{"error_msg":"not found schema"}`},
		{"/plugins/list?subsystem=stream", 200, `["ip-restriction","limit-conn","mqtt-proxy","traffic-split"]`},
		{"/plugins/list?subsystem=stream&all=true", 200, `["ip-restriction",`},
		{"/schema/plugins/key-auth", 200, `"hide_credentials":`},
		{"/schema/plugins/nothing", 404, `{"error_msg":"plugin not found in subsystem http"}`},
		{"/schema/upstream", 200, `"nodes"`},
		{"/schema", 400, `{"error_msg":"not found schema: "}`},
	} {
		w := a.call("GET", prefix+c.path, "")
		body := strings.TrimSuffix(w.Body.String(), "\n")
		if w.Code != c.status || !strings.Contains(body, c.want) || c.status >= 400 && body != c.want {
			t.Errorf("%s: got %d %.300s, want %d %s", c.path, w.Code, body, c.status, c.want)
		}
		if !json.Valid(w.Body.Bytes()) || strings.Contains(body, `\u003c`) {
			t.Errorf("%s: got %.300s", c.path, body)
		}
	}
	var names []string
	w := a.call("GET", prefix+"/plugins/list", "")
	if err := json.Unmarshal(w.Body.Bytes(), &names); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(names); i++ {
		if a.plugins[names[i-1]].Priority < a.plugins[names[i]].Priority {
			t.Errorf("%s is before %s", names[i-1], names[i])
		}
	}
	if len(names) != len(a.plugins) {
		t.Errorf("%d names of %d plugins", len(names), len(a.plugins))
	}
	var all map[string]struct{ Built *bool }
	if err := json.Unmarshal(a.call("GET", prefix+"/plugins?all=true", "").Body.Bytes(), &all); err != nil || len(all) < 120 {
		t.Fatalf("%d plugins, %v", len(all), err)
	}
	for name, d := range all {
		if built := a.plugins[name] != nil; built != (d.Built == nil) || !built && *d.Built {
			t.Errorf("%s: built %v", name, d.Built)
		}
	}
	w = a.call("GET", prefix+"/plugins/list?all=true", "")
	if err := json.Unmarshal(w.Body.Bytes(), &names); err != nil || len(names) != len(all) || names[0] != "real-ip" {
		t.Errorf("%d names, %v: %v", len(names), err, names)
	}
	if strings.Contains(a.call("GET", prefix+"/plugins/key-auth", "").Body.String(), `"built"`) {
		t.Error("a plugin that is built says so")
	}
	a.want("PUT", prefix+"/services/1", `{"plugins":{"inspect":{}}}`, 400,
		`{"error_msg":"unknown plugin [inspect]","errors":[{"pointer":"/plugins/inspect","message":"unknown plugin [inspect]"}]}`)
}

func TestValidateSchema(t *testing.T) {
	a := newAPI(t)
	a.want("POST", prefix+"/schema/validate/routes", `{"uri":"/a","plugins":{"bogus":{}},"upstream_id":"9"}`, 200, "")
	a.want("POST", prefix+"/schema/validate/routes", ``, 400, `{"error_msg":"missing configurations"}`)
	a.want("POST", prefix+"/schema/validate/routes", `{`, 400,
		`{"error_msg":"invalid request body: Expected object key string but found T_END at character 2","req_body":"{"}`)
	a.want("POST", prefix+"/schema/validate/secrets", `{}`, 404, `{"error_msg":"Unsupported resource type: secrets"}`)
	a.want("GET", prefix+"/schema/validate/routes", ``, 400, `{"error_msg":"not found schema: validate"}`)
}

func TestValidateConfigs(t *testing.T) {
	a := newAPI(t)
	for _, c := range []struct{ name, body, errors string }{
		{"nothing", `{}`, ""},
		{"fine", `{"routes":[{"id":"1","uri":"/a","upstream_id":"9","modifiedIndex":5}],"routes_conf_version":1,
			"consumers":[{"username":"jack"},{"id":"jack/credentials/c","plugins":{"key-auth":{"key":"k"}}}],
			"secrets":[{"id":"vault/1","uri":"http://a","prefix":"p","token":"t"}],
			"global_rules":[{"id":"key-auth","plugins":{"key-auth":{}}}],"other":1}`, ""},
		{
			"all errors", `{"routes":[{"id":"r","uri":1},{"uri":"/a"}],"services":[{"id":1,"x":1}]}`,
			`{"resource_type":"routes","resource_id":"r","index":0,"error":"invalid configuration: property \"uri\" validation failed: wrong type: expected string, got number"},` +
				`{"resource_type":"routes","resource_id":"","index":1,"error":"invalid configuration: object matches none of the required: [\"plugins\",\"uri\"] or [\"upstream\",\"uri\"] or [\"upstream_id\",\"uri\"] or [\"service_id\",\"uri\"] or [\"plugins\",\"uris\"] or [\"upstream\",\"uris\"] or [\"upstream_id\",\"uris\"] or [\"service_id\",\"uris\"] or [\"script\",\"uri\"] or [\"script\",\"uris\"]"},` +
				`{"resource_type":"services","resource_id":"1","index":0,"error":"invalid configuration: additional properties forbidden, found x"}`,
		},
		{
			"plugins", `{"services":[{"id":"1","plugins":{"bogus":{}}}]}`,
			`{"resource_type":"services","resource_id":"1","index":0,"error":"unknown plugin [bogus]"}`,
		},
		{"version", `{"routes_conf_version":"1"}`, `{"resource_type":"routes","error":"routes_conf_version must be a number, got string"}`},
		{
			"duplicates", `{"services":[{"id":"1"},{"id":1}],"consumers":[{"username":"a"},{"username":"a"},{"id":"a/credentials/c","plugins":{}},{"id":"a/credentials/c","plugins":{}}]}`,
			`{"resource_type":"consumers","resource_id":"a","index":1,"error":"found duplicate username a in consumers"},` +
				`{"resource_type":"consumers","resource_id":"a/credentials/c","index":3,"error":"found duplicate credential id a/credentials/c in consumers"},` +
				`{"resource_type":"services","resource_id":"1","index":1,"error":"found duplicate id 1 in services"}`,
		},
		{
			"secrets", `{"secrets":[{"id":"x"},{"id":"y/1"}]}`,
			`{"resource_type":"secrets","resource_id":"x","index":0,"error":"invalid secret id: x"},` +
				`{"resource_type":"secrets","resource_id":"y/1","index":1,"error":"invalid secret manager: y"}`,
		},
		{
			"metadata", `{"plugin_metadata":[{"id":"bogus"}]}`,
			`{"resource_type":"plugin_metadata","resource_id":"bogus","index":0,"error":"invalid plugin name"}`,
		},
		{
			"no object", `{"routes":[1]}`,
			`{"resource_type":"routes","resource_id":"","index":0,"error":"invalid configuration: wrong type: expected object, got number"}`,
		},
		{"no array", `{"routes":{"a":{}}}`, `{"resource_type":"routes","error":"routes must be an array"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := api{a.Handler, t}
			status, want := 200, "{}"
			if c.errors != "" {
				status, want = 400, `{"error_msg":"Configuration validation failed","errors":[`+c.errors+`]}`
			}
			a.want("POST", prefix+"/configs/validate", c.body, status, want)
		})
	}
	if got := a.gateway.Table().Revision(); got != 0 {
		t.Errorf("something is stored: revision %d", got)
	}
	a.want("POST", prefix+"/configs/validate", ``, 400, `{"error_msg":"invalid request body: empty request body"}`)
	a.want("POST", prefix+"/configs/validate", `[]`, 400, `{"error_msg":"invalid request body: expected an object"}`)
}
