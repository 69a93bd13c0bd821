// SPDX-License-Identifier: Apache-2.0

package workflow

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	// The plugins that are actions.
	_ "github.com/andogate/ando/modules/plugins/limitconn"
	_ "github.com/andogate/ando/modules/plugins/limitcount"
	_ "github.com/andogate/ando/modules/plugins/limitreq"
)

// limits are the plugins that can be an action.
var limits = map[string]bool{"limit-count": true, "limit-conn": true, "limit-req": true}

// compileAction compiles [name, config] of the rule with that place.
func compileAction(env gateway.Env, place int, action []json.RawMessage) (gateway.Accessor, error) {
	var name string
	if err := json.Unmarshal(action[0], &name); err != nil {
		return nil, fmt.Errorf("unsupported action: %s", action[0])
	}
	config := json.RawMessage(`{}`)
	if len(action) > 1 {
		config = action[1]
	}
	var made gateway.Accessor
	var err error
	switch {
	case name == "return":
		made, err = compileReturn(config)
	case limits[name]:
		made, err = compileLimit(env, place, gateway.RegisteredPlugins()[name], config)
	default:
		return nil, fmt.Errorf("unsupported action: %s", name)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to validate the '%s' action: %w", name, err)
	}
	return made, nil
}

// compileLimit compiles the config of another plugin, whose counters are those of this rule alone.
func compileLimit(env gateway.Env, place int, plugin *gateway.Plugin, config json.RawMessage) (gateway.Accessor, error) {
	value, err := schema.Decode(config)
	if err != nil {
		return nil, err
	}
	rules := schema.ForPlugin(plugin).Config
	if plugin.Refuse != nil {
		if err := plugin.Refuse(config); err != nil {
			return nil, err
		}
	}
	if err := rules.Validate(value); err != nil {
		return nil, err
	}
	fields, ok := rules.Fill(value).(map[string]any)
	if !ok {
		return nil, errors.New("wrong type: expected object")
	}
	if fields["group"] != nil {
		return nil, errors.New("group is not supported")
	}
	delete(fields, "_meta")
	filled, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	env.Owner += "#workflow/" + strconv.Itoa(place+1)
	instance, err := plugin.New(env, filled)
	if err != nil {
		return nil, err
	}
	accessor, ok := instance.(gateway.Accessor)
	if !ok {
		return nil, errors.New("the plugin has no access hook")
	}
	return accessor, nil
}

// refusal ends requests with a status.
type refusal struct{ code int }

var refused = []byte(`{"error_msg":"rejected by workflow"}` + "\n")

// Access implements gateway.Accessor.
func (r *refusal) Access(x *gateway.Exchange) gateway.Verdict { return x.Exit(r.code, refused) }

// returnSchema is APISIX's but for the lowest status: one below 200 does not end a response (RFC 9110 section 15.2).
var returnSchema = func() *schema.Schema {
	s, err := schema.Compile(json.RawMessage(`{
		"type": "object",
		"properties": {"code": {"type": "integer", "minimum": 200, "maximum": 599}},
		"required": ["code"]
	}`))
	if err != nil {
		panic(err)
	}
	return s
}()

func compileReturn(config json.RawMessage) (gateway.Accessor, error) {
	value, err := schema.Decode(config)
	if err != nil {
		return nil, err
	}
	if err := returnSchema.Validate(value); err != nil {
		return nil, err
	}
	// A number without a fraction may still be written with one.
	var c struct {
		Code float64 `json:"code"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	return &refusal{int(c.Code)}, nil
}
