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

// catalog describes all of APISIX's plugins of one half as if none were built.
func catalog(stream bool) map[string]schema.Description {
	all := make(map[string]schema.Description)
	for name, known := range schema.Catalog(stream) {
		all[name] = known.Unbuilt()
	}
	return all
}

func (h *Handler) schemas(*http.Request) (any, error) {
	answer := struct {
		Main          map[string]json.RawMessage    `json:"main"`
		Plugins       map[string]schema.Description `json:"plugins"`
		StreamPlugins map[string]schema.Description `json:"stream_plugins"`
	}{map[string]json.RawMessage{}, catalog(false), catalog(true)}
	for _, name := range mainSchemas {
		if found, ok := schema.ByName(name); ok {
			answer.Main[name] = found.Raw()
		}
	}
	for name, plugin := range h.cfg.Plugins {
		answer.Plugins[name] = schema.Describe(plugin)
	}
	stream := h.cfg.StreamPlugins
	if stream == nil {
		stream = gateway.RegisteredStreamPlugins()
	}
	for name, plugin := range stream {
		answer.StreamPlugins[name] = schema.Describe(plugin)
	}
	return answer, nil
}
