// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/json"

	"github.com/andogate/ando/modules/gateway"
)

// Description is what the Admin API and the control API say about a plugin.
type Description struct {
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

// Describe describes a plugin that is built, by what it says itself.
func Describe(plugin *gateway.Plugin) Description {
	schemas := ForPlugin(plugin)
	d := Description{Version: plugin.Version, Priority: plugin.Priority, Schema: schemas.Config.Raw()}
	if schemas.Consumer != nil {
		d.ConsumerSchema = schemas.Consumer.Raw()
	}
	if schemas.Metadata != nil {
		d.MetadataSchema = schemas.Metadata.Raw()
	}
	if plugin.Auth {
		d.Type = "auth"
	}
	if plugin.GlobalScope {
		d.Scope = "global"
	}
	return d
}

// Unbuilt describes the plugin as one that is not built.
func (p *PluginDescription) Unbuilt() Description {
	return Description{
		Version: p.Version, Priority: p.Priority, Type: p.Type, Scope: p.Scope,
		Schema: p.Schema, ConsumerSchema: p.ConsumerSchema, MetadataSchema: p.MetadataSchema, Built: new(bool),
	}
}
