// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/andogate/ando/modules/gateway"
)

// PluginSchemas are the compiled schemas of one plugin. Consumer and Metadata are nil where the plugin has none.
type PluginSchemas struct {
	// Config is the plugin's schema with `_meta` among its properties.
	Config             *Schema
	Consumer, Metadata *Schema
	// Fallback is what a config may satisfy in the place of Config when there is metadata; nil for nothing else.
	Fallback *Schema
}

// For returns the schema of a config of the plugin: one that is a credential, in a consumer or credential object, has
// its own where the plugin has one.
func (s *PluginSchemas) For(credential bool) *Schema {
	if credential && s.Consumer != nil {
		return s.Consumer
	}
	return s.Config
}

// pluginSchemas maps *gateway.Plugin to func() *PluginSchemas. Plugins are registered once, so it does not grow.
var pluginSchemas sync.Map

// ForPlugin returns the schemas of a plugin, compiled when they are first asked for. It panics when one of them is no
// JSON Schema, since that is a programming error.
func ForPlugin(p *gateway.Plugin) *PluginSchemas {
	if compile, ok := pluginSchemas.Load(p); ok {
		return compile.(func() *PluginSchemas)()
	}
	compile, _ := pluginSchemas.LoadOrStore(p, sync.OnceValue(func() *PluginSchemas { return compilePlugin(p) }))
	return compile.(func() *PluginSchemas)()
}

func compilePlugin(p *gateway.Plugin) *PluginSchemas {
	optional := func(what string, raw json.RawMessage) *Schema {
		if raw == nil {
			return nil
		}
		schema, err := Compile(raw)
		if err != nil {
			panic(fmt.Sprintf("plugin %s: %s: %v", p.Name, what, err))
		}
		return schema
	}
	return &PluginSchemas{
		Config:   optional("schema", withMeta(p.Name, p.Schema)),
		Consumer: optional("consumer schema", p.ConsumerSchema),
		Metadata: optional("metadata schema", p.MetadataSchema),
		Fallback: optional("fallback schema", p.FallbackSchema),
	}
}

var meta = sync.OnceValue(func() json.RawMessage { return load("plugin_meta.json") })

// withMeta returns a plugin's schema with `_meta` among its properties.
func withMeta(name string, raw json.RawMessage) json.RawMessage {
	var schema map[string]json.RawMessage
	if err := json.Unmarshal(raw, &schema); err != nil {
		panic(fmt.Sprintf("plugin %s: schema: %v", name, err))
	}
	var properties map[string]json.RawMessage
	if raw := schema["properties"]; raw != nil {
		if err := json.Unmarshal(raw, &properties); err != nil {
			panic(fmt.Sprintf("plugin %s: schema: properties: %v", name, err))
		}
	}
	if properties == nil {
		properties = map[string]json.RawMessage{}
	}
	properties["_meta"] = meta()
	schema["properties"] = marshal(properties)
	return marshal(schema)
}
