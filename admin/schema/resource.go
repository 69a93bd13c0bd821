// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/andogate/ando/modules/gateway"
)

//go:embed *.json
var files embed.FS

// names are what /schema/NAME serves, APISIX's `/v1/schema` included. Each is a file.
var names = []string{
	"consumer", "consumer_group", "credential", "global_rule", "graphql_cost_decoration", "plugin_config", "plugins",
	"proto", "route", "service", "ssl", "stream_route", "upstream", "upstream_hash_header_schema",
	"upstream_hash_vars_schema",
}

// managers are the secret managers that can be configured.
var managers = []string{"aws", "gcp", "vault"}

var namesByKind = map[gateway.Kind]string{
	gateway.Routes: "route", gateway.Services: "service", gateway.Upstreams: "upstream",
	gateway.Consumers: "consumer", gateway.Credentials: "credential", gateway.ConsumerGroups: "consumer_group",
	gateway.PluginConfigs: "plugin_config", gateway.GlobalRules: "global_rule", gateway.SSLs: "ssl",
	gateway.StreamRoutes: "stream_route", gateway.Protos: "proto",
	gateway.GraphQLCostDecorations: "graphql_cost_decoration",
}

// compiled holds the schemas of the resources, each compiled when it is first asked for.
var compiled = compileLazily()

func compileLazily() map[string]func() *Schema {
	schemas := make(map[string]func() *Schema, len(names)+len(managers))
	add := func(name string) {
		schemas[name] = sync.OnceValue(func() *Schema { return MustCompile(load(name + ".json")) })
	}
	for _, name := range names {
		add(name)
	}
	for _, manager := range managers {
		add("secret_" + manager)
	}
	return schemas
}

// ByName returns the schema that /schema/NAME serves, and whether there is one.
func ByName(name string) (*Schema, bool) {
	schema, ok := compiled[name]
	if !ok || strings.HasPrefix(name, "secret_") {
		return nil, false
	}
	return schema(), true
}

// ForKind returns the schema of a kind. It is nil for the two kinds whose objects are not all alike: plugin metadata
// (see [ForPlugin]) and secrets (see [ForSecret]).
func ForKind(kind gateway.Kind) *Schema {
	schema, _ := ByName(namesByKind[kind])
	return schema
}

// ForSecret returns the schema of a secret manager: vault, aws or gcp.
func ForSecret(manager string) (*Schema, bool) {
	schema, ok := compiled["secret_"+manager]
	if !ok {
		return nil, false
	}
	return schema(), true
}

// load reads an embedded schema and puts what it refers to in the place of the references: clients get it in one piece.
// It panics when a file is not what it should be, since that is a programming error.
func load(file string) json.RawMessage {
	return marshal(expand(read(file)))
}

// marshal returns a schema as text. Texts are for people to read: "<" is not escaped for HTML.
func marshal(schema any) json.RawMessage {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(schema); err != nil {
		panic(err)
	}
	return bytes.TrimSpace(out.Bytes())
}

func read(file string) any {
	raw, err := files.ReadFile(file)
	if err != nil {
		panic(err)
	}
	value, err := Decode(raw)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", file, err))
	}
	return value
}

// expand replaces {"$ref": "file.json#/name", ...} with what it names; keywords beside the reference are added to it.
func expand(value any) any {
	switch value := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(value))
		if ref, ok := value["$ref"].(string); ok {
			maps.Copy(out, referred(ref))
			delete(value, "$ref")
		}
		for name, v := range value {
			out[name] = expand(v)
		}
		return out
	case []any:
		for i, v := range value {
			value[i] = expand(v)
		}
	}
	return value
}

func referred(ref string) map[string]any {
	file, name, part := strings.Cut(ref, "#/")
	value := read(file)
	if part {
		value = value.(map[string]any)[name]
	}
	object, ok := expand(value).(map[string]any)
	if !ok {
		panic("schema refers to " + ref + ", which is no schema")
	}
	return object
}
