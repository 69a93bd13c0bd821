// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

func TestEveryNameHasASchema(t *testing.T) {
	for _, name := range names {
		schema, ok := ByName(name)
		if !ok {
			t.Errorf("%s: no schema", name)
			continue
		}
		raw := string(schema.Raw())
		if strings.Contains(raw, "$ref") {
			t.Errorf("%s: a client would have to follow references: %s", name, raw)
		}
		if !json.Valid(schema.Raw()) {
			t.Errorf("%s: no JSON", name)
		}
	}
	for _, name := range []string{"", "bogus", "common", "checks", "plugin_meta", "secret_vault", "route.json"} {
		if _, ok := ByName(name); ok {
			t.Errorf("%q is served", name)
		}
	}
}

func TestEveryKindHasASchema(t *testing.T) {
	for _, kind := range gateway.Kinds {
		none := kind == gateway.PluginMetadata || kind == gateway.Secrets
		schema := ForKind(kind)
		if (schema == nil) != none {
			t.Errorf("%s: schema is %v", kind, schema)
		}
		if schema == nil {
			continue
		}
		var shape struct {
			Type       string
			Properties map[string]any
			Closed     *bool `json:"additionalProperties"`
		}
		if err := json.Unmarshal(schema.Raw(), &shape); err != nil {
			t.Fatal(err)
		}
		if shape.Type != "object" || len(shape.Properties) == 0 || shape.Closed == nil || *shape.Closed {
			t.Errorf("%s: not a closed object with properties: %+v", kind, shape)
		}
	}
	if schema := ForKind("bogus"); schema != nil {
		t.Error("a kind that does not exist has a schema")
	}
}

// TestRouteDefaults fills a route as the compiler gets it.
func TestRouteDefaults(t *testing.T) {
	route := decode(t, `{"uri":"/a","upstream":{"nodes":[{"host":"a","port":1,"weight":1}],"keepalive_pool":{},"tls":{},
		"checks":{"active":{"healthy":{},"unhealthy":{}},"passive":{"healthy":{},"unhealthy":{}}}}}`)
	want := `{"priority":0,"status":1,"upstream":{"checks":{"active":{"concurrency":10,"healthy":{"http_statuses":[200,302],` +
		`"interval":1,"successes":2},"http_method":"GET","http_path":"/","http_req_body":"","https_verify_certificate":true,` +
		`"timeout":1,"type":"http","unhealthy":{"http_failures":5,"http_statuses":[429,404,500,501,502,503,504,505],` +
		`"interval":1,"tcp_failures":2,"timeouts":3}},"passive":{"healthy":{"http_statuses":[200,201,202,203,204,205,206,` +
		`207,208,226,300,301,302,303,304,305,306,307,308],"successes":5},"type":"http","unhealthy":{"http_failures":5,` +
		`"http_statuses":[429,500,503],"tcp_failures":2,"timeouts":7}}},"hash_on":"vars","keepalive_pool":` +
		`{"idle_timeout":60,"requests":1000,"size":320},"nodes":[{"host":"a","port":1,"priority":0,"weight":1}],` +
		`"pass_host":"pass","scheme":"http","tls":{"verify":false},"type":"roundrobin"},"uri":"/a"}`
	if got := inJSON(ForKind(gateway.Routes).Fill(route)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSecretDefaults(t *testing.T) {
	for manager, c := range map[string][2]string{
		"aws": {`{"access_key_id":"a"}`, `property "secret_access_key" is required`},
		"gcp": {`{"auth_file":"/k"}`, ``},
	} {
		schema, _ := ForSecret(manager)
		if got := text(schema.Validate(decode(t, c[0]))); got != c[1] {
			t.Errorf("%s: got %q, want %q", manager, got, c[1])
		}
	}
	gcp, _ := ForSecret("gcp")
	if got, want := inJSON(gcp.Fill(decode(t, `{"auth_file":"/k"}`))), `{"auth_file":"/k","ssl_verify":true}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPluginSchemas(t *testing.T) {
	plugin := &gateway.Plugin{
		Name:           "p",
		Schema:         json.RawMessage(`{"type":"object","properties":{"key":{"type":"string"}},"additionalProperties":false,"encrypt_fields":["key"]}`),
		ConsumerSchema: json.RawMessage(`{"type":"object","required":["key"]}`),
	}
	schemas := ForPlugin(plugin)
	if ForPlugin(plugin) != schemas {
		t.Error("compiled again")
	}
	if schemas.Consumer == nil || schemas.Metadata != nil {
		t.Errorf("consumer schema %v, metadata schema %v", schemas.Consumer, schemas.Metadata)
	}
	var raw struct {
		Properties    map[string]any
		EncryptFields []string `json:"encrypt_fields"`
	}
	if err := json.Unmarshal(schemas.Config.Raw(), &raw); err != nil {
		t.Fatal(err)
	}
	if len(raw.EncryptFields) != 1 || raw.Properties["_meta"] == nil || raw.Properties["key"] == nil {
		t.Errorf("schema is %s", schemas.Config.Raw())
	}
	for value, want := range map[string]string{
		`{"key":"a","_meta":{"disable":true,"priority":-1,"filter":[],"error_response":"x","pre_function":"f"}}`: ``,
		`{"_meta":{"error_response":{"a":1}}}`: ``,
		`{"_meta":{"disable":1}}`:              `property "_meta" validation failed: property "disable" validation failed: wrong type: expected boolean, got number`,
		`{"_meta":{"priority":1.5}}`:           `property "_meta" validation failed: property "priority" validation failed: wrong type: expected integer, got number`,
		`{"_meta":{"error_response":1}}`:       `property "_meta" validation failed: property "error_response" validation failed: value should match only one schema, but matches none`,
		`{"_meta":1}`:                          `property "_meta" validation failed: wrong type: expected object, got number`,
		`{"meta":1}`:                           `additional properties forbidden, found meta`,
	} {
		if got := text(schemas.Config.Validate(decode(t, value))); got != want {
			t.Errorf("%s: got %q, want %q", value, got, want)
		}
	}
}

func TestPluginWithABadSchema(t *testing.T) {
	defer func() {
		if got, _ := recover().(string); !strings.HasPrefix(got, "plugin bad: metadata schema: ") {
			t.Errorf("panic %q does not name the culprit", got)
		}
	}()
	ForPlugin(&gateway.Plugin{Name: "bad", Schema: json.RawMessage(`{}`), MetadataSchema: json.RawMessage(`{"type":1}`)})
}
