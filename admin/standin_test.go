// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"encoding/json"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// uniqueFields are what auth plugins find their consumers by.
var uniqueFields = map[string]string{
	"key-auth": "key", "basic-auth": "username", "jwt-auth": "key", "hmac-auth": "key_id", "ldap-auth": "user_dn",
	"ldap-auth-advanced": "user_dn",
}

// standIns are all of APISIX's plugins, of which those that are not built do nothing: their schemas decide.
func standIns() gateway.Plugins {
	plugins := testPlugins()
	for name, d := range schema.Catalog(false) {
		if plugins[name] == nil {
			plugins[name] = standIn(d)
		}
	}
	return plugins
}

func standIn(d *schema.PluginDescription) *gateway.Plugin {
	unique := uniqueFields[d.Name]
	return &gateway.Plugin{
		Name: d.Name, Priority: d.Priority, Version: d.Version, Auth: d.Type == "auth", GlobalScope: d.Scope == "global",
		Schema: d.Schema, ConsumerSchema: d.ConsumerSchema, MetadataSchema: d.MetadataSchema, UniqueField: unique,
		New: func(gateway.Env, json.RawMessage) (any, error) { return struct{}{}, nil },
		NewCredential: func(_ gateway.Env, config json.RawMessage) (string, any, error) {
			key, _ := stringOf(lookup(config, unique))
			return key, struct{}{}, nil
		},
	}
}
