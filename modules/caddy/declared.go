// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/table"
)

// Declared is an object that a config declares.
type Declared struct {
	// The kind of object, as in the Admin API's paths: routes, services, upstreams, consumers, consumer_groups,
	// plugin_configs, global_rules, plugin_metadata, credentials, ssls, ...
	Kind gateway.Kind `json:"kind"`

	// The object's id. A consumer's is its username, plugin metadata's the name of the plugin, a credential's
	// CONSUMER/credentials/ID.
	ID string `json:"id"`

	// The object as the Admin API takes it.
	Value json.RawMessage `json:"value"`
}

// Check reports what is wrong with the object by itself. References to other objects are not looked at: what they name
// may be in the store.
func (d Declared) Check(plugins gateway.Plugins) error {
	if !slices.Contains(gateway.Kinds, d.Kind) {
		return fmt.Errorf("unknown kind %q", d.Kind)
	}
	o, err := d.object()
	if err != nil {
		return err
	}
	value, err := schema.Decode(o.Value)
	if err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	if err := schema.Check(d.Kind, value); err != nil {
		return err
	}
	compiler := table.Compiler{Router: defaultRouter, Plugins: plugins, Log: newestLog}
	return compiler.Check(o)
}

// object returns the object as the gateway takes it, with its id in the value.
func (d Declared) object() (gateway.Object, error) {
	var value map[string]json.RawMessage
	if err := json.Unmarshal(d.Value, &value); err != nil || value == nil {
		return gateway.Object{}, fmt.Errorf("value: one JSON object is expected")
	}
	name, id := "id", d.ID
	switch d.Kind {
	case gateway.Consumers:
		name = "username"
	case gateway.Credentials:
		_, short, ok := gateway.SplitCredentialID(d.ID)
		if !ok {
			return gateway.Object{}, fmt.Errorf("a credential's id is CONSUMER/credentials/ID, not %q", d.ID)
		}
		id = short
	}
	quoted, err := json.Marshal(id)
	if err != nil {
		return gateway.Object{}, err
	}
	if given, ok := value[name]; ok && !bytes.Equal(given, quoted) {
		return gateway.Object{}, fmt.Errorf("%s: %s is not the object's id %s", name, given, quoted)
	}
	value[name] = quoted
	raw, err := json.Marshal(value)
	return gateway.Object{Kind: d.Kind, ID: d.ID, Value: raw, Origin: gateway.OriginCaddyfile}, err
}
