// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"net/http"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// mainSchemas are those that /v1/schema lists besides the plugins'.
var mainSchemas = []string{
	"consumer", "consumer_group", "global_rule", "graphql_cost_decoration", "plugin_config", "plugins", "proto", "route",
	"service", "ssl", "stream_route", "upstream", "upstream_hash_header_schema", "upstream_hash_vars_schema",
}

// pluginSchemas is what /v1/schema says of a plugin.
type pluginSchemas struct {
	Version        float64         `json:"version"`
	Priority       int             `json:"priority"`
	Schema         json.RawMessage `json:"schema"`
	ConsumerSchema json.RawMessage `json:"consumer_schema,omitempty"`
	MetadataSchema json.RawMessage `json:"metadata_schema,omitempty"`
	Type           string          `json:"type,omitempty"`
	Scope          string          `json:"scope,omitempty"`
	// Built is false for plugins that no config may use, and otherwise left out, as in APISIX.
	Built *bool `json:"built,omitempty"`
}

// catalog describes all of APISIX's plugins of one half as if none were built.
func catalog(stream bool) map[string]pluginSchemas {
	all := make(map[string]pluginSchemas)
	for name, known := range schema.Catalog(stream) {
		all[name] = pluginSchemas{
			Version: known.Version, Priority: known.Priority, Type: known.Type, Scope: known.Scope,
			Schema: known.Schema, ConsumerSchema: known.ConsumerSchema, MetadataSchema: known.MetadataSchema, Built: new(bool),
		}
	}
	return all
}

func schemasOf(plugin *gateway.Plugin) pluginSchemas {
	schemas := schema.ForPlugin(plugin)
	p := pluginSchemas{Version: plugin.Version, Priority: plugin.Priority, Schema: schemas.Config.Raw()}
	if schemas.Consumer != nil {
		p.ConsumerSchema = schemas.Consumer.Raw()
	}
	if schemas.Metadata != nil {
		p.MetadataSchema = schemas.Metadata.Raw()
	}
	if plugin.Auth {
		p.Type = "auth"
	}
	if plugin.GlobalScope {
		p.Scope = "global"
	}
	return p
}

func (h *Handler) schemas(*http.Request) (any, error) {
	answer := struct {
		Main          map[string]json.RawMessage `json:"main"`
		Plugins       map[string]pluginSchemas   `json:"plugins"`
		StreamPlugins map[string]pluginSchemas   `json:"stream_plugins"`
	}{map[string]json.RawMessage{}, catalog(false), catalog(true)}
	for _, name := range mainSchemas {
		if found, ok := schema.ByName(name); ok {
			answer.Main[name] = found.Raw()
		}
	}
	for name, plugin := range h.cfg.Plugins {
		answer.Plugins[name] = schemasOf(plugin)
	}
	return answer, nil
}
