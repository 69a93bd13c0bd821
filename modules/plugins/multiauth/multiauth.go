// SPDX-License-Identifier: Apache-2.0

// Package multiauth is APISIX's multi-auth plugin: it lets in whoever one of several authentication plugins lets in.
package multiauth

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/plugins/auth"
)

//go:embed schema.json
var configSchema []byte

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name:     "multi-auth",
		Priority: 2600,
		Version:  0.1,
		Auth:     true,
		Schema:   configSchema,
		New:      compile,
	})
}

var failed = auth.Message("Authorization Failed")

// multiAuth is one compiled config: the plugins in the order in which they are tried. It is immutable.
type multiAuth struct {
	methods []gateway.Rewriter
	blocks  bool
	// readsBody is the largest body that one of readers wants to see.
	readsBody int64
	readers   []gateway.BodyReader
}

func compile(env gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		AuthPlugins []map[string]json.RawMessage `json:"auth_plugins"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("multi-auth: %w", err)
	}
	m := new(multiAuth)
	plugins := gateway.RegisteredPlugins()
	for _, item := range c.AuthPlugins {
		for _, name := range slices.Sorted(maps.Keys(item)) {
			plugin := plugins[name]
			if plugin == nil {
				return nil, fmt.Errorf("%s plugin did not found", name)
			}
			if err := m.add(env, plugin, item[name]); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

func (m *multiAuth) add(env gateway.Env, plugin *gateway.Plugin, config json.RawMessage) error {
	if !plugin.Auth {
		return fmt.Errorf("%s plugin is not supported", plugin.Name)
	}
	instance, err := instantiate(env, plugin, config)
	if err != nil {
		return fmt.Errorf("plugin %s check schema failed: %w", plugin.Name, err)
	}
	method, ok := instance.(gateway.Rewriter)
	if !ok {
		return fmt.Errorf("%s plugin is not supported", plugin.Name)
	}
	m.methods = append(m.methods, method)
	blocks := plugin.Blocking
	if blocker, ok := instance.(gateway.Blocker); ok {
		blocks = blocker.Blocks()
	}
	m.blocks = m.blocks || blocks
	if reader, ok := instance.(gateway.BodyReader); ok && reader.ReadsBody() > 0 {
		m.readers = append(m.readers, reader)
		m.readsBody = max(m.readsBody, reader.ReadsBody())
	}
	return nil
}

// instantiate does for a config in a config what is done for every other on its way to New.
func instantiate(env gateway.Env, plugin *gateway.Plugin, config json.RawMessage) (any, error) {
	value, err := schema.Decode(config)
	if err != nil {
		return nil, err
	}
	rules := schema.ForPlugin(plugin).Config
	if err := rules.Validate(value); err != nil {
		return nil, err
	}
	filled, err := json.Marshal(rules.Fill(value))
	if err != nil {
		return nil, err
	}
	return plugin.New(env, filled)
}

// Blocks implements gateway.Blocker: it waits when one of the plugins does.
func (m *multiAuth) Blocks() bool { return m.blocks }

// ReadsBody implements gateway.BodyReader.
func (m *multiAuth) ReadsBody() int64 { return m.readsBody }

// NeedsBody implements gateway.BodyDecider.
func (m *multiAuth) NeedsBody(x *gateway.Exchange) bool {
	return slices.ContainsFunc(m.readers, func(reader gateway.BodyReader) bool {
		decider, ok := reader.(gateway.BodyDecider)
		return !ok || decider.NeedsBody(x)
	})
}

// Rewrite implements gateway.Rewriter. What a plugin has prepared to refuse the request with does not count when another
// one lets it in; when none does, the challenge of the last one stays.
func (m *multiAuth) Rewrite(x *gateway.Exchange) gateway.Verdict {
	for _, method := range m.methods {
		switch verdict := method.Rewrite(x); verdict {
		case gateway.Continue:
			x.Response.Status, x.Response.Body = 0, nil
			x.Response.Header.Del(auth.Challenge)
			return gateway.Continue
		case gateway.Wait:
			return verdict
		}
	}
	return x.Exit(401, failed)
}

var (
	_ gateway.Rewriter    = (*multiAuth)(nil)
	_ gateway.BodyReader  = (*multiAuth)(nil)
	_ gateway.BodyDecider = (*multiAuth)(nil)
	_ gateway.Blocker     = (*multiAuth)(nil)
)
