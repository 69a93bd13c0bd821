// SPDX-License-Identifier: Apache-2.0

package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/secret"
)

// pluginSet is the compiled `plugins` of one object. It is immutable.
type pluginSet struct {
	entries []gateway.Entry
	// disabled plugins are not run and still hide those of lower layers.
	disabled []*gateway.Plugin
	// fresh says that some instance was made for this version of the object.
	fresh bool
	// err says why the object cannot be served.
	err error
}

func (s *pluginSet) has(plugin *gateway.Plugin) bool {
	return slices.Contains(s.disabled, plugin) ||
		slices.ContainsFunc(s.entries, func(e gateway.Entry) bool { return e.Plugin == plugin })
}

func (s *pluginSet) entry(plugin *gateway.Plugin) (gateway.Entry, bool) {
	for _, e := range s.entries {
		if e.Plugin == plugin {
			return e, true
		}
	}
	return gateway.Entry{}, false
}

// merge returns the set with the plugins of lower that it lacks.
func (s pluginSet) merge(lower *pluginSet) pluginSet {
	if lower == nil {
		return s
	}
	merged := pluginSet{entries: slices.Clip(s.entries), disabled: slices.Clip(s.disabled)}
	for _, e := range lower.entries {
		if !s.has(e.Plugin) {
			merged.entries = append(merged.entries, e)
		}
	}
	for _, p := range lower.disabled {
		if !s.has(p) {
			merged.disabled = append(merged.disabled, p)
		}
	}
	return merged
}

// config is one plugin config, checked, with its defaults filled in. It does not depend on the object that carries it.
type config struct {
	value json.RawMessage
	// disabled configs are not checked.
	disabled bool
	// unknown are the references in it that nobody can resolve now: it cannot be used before.
	unknown []string
	// lacking is what refuses the config unless the plugin has metadata.
	lacking error
	// entry has everything but the instance.
	entry gateway.Entry
}

// configKey finds configs that were compiled before: many routes carry the same text.
type configKey struct {
	plugin     *gateway.Plugin
	credential bool
	text       string
}

// inherited is what the version before of the same object had: a plugin whose config is the same text keeps its
// instance, and with it what that has counted.
type inherited struct {
	configs map[string]json.RawMessage
	entry   func(*gateway.Plugin) (gateway.Entry, bool)
}

func (h *inherited) find(plugin *gateway.Plugin, raw json.RawMessage) (gateway.Entry, bool) {
	if h == nil {
		return gateway.Entry{}, false
	}
	old, ok := h.configs[plugin.Name]
	if !ok || !bytes.Equal(old, raw) || secret.MayRefer(raw) {
		return gateway.Entry{}, false
	}
	return h.entry(plugin)
}

// pluginReader compiles the `plugins` of objects.
type pluginReader struct {
	compiler *Compiler
	// builder makes the table that the objects are for; nil only checks them.
	builder *builder
	// stream says that the objects are stream routes.
	stream bool
	// seen holds what was compiled so far; nil remembers nothing.
	seen map[configKey]*config
	// hasMetadata reports whether a plugin has metadata; nil where that is not known yet.
	hasMetadata func(plugin string) bool
}

// readPlugins splits the `plugins` of an object.
func readPlugins(raw json.RawMessage) (map[string]json.RawMessage, error) {
	var plugins map[string]json.RawMessage
	return plugins, read("plugins", raw, &plugins)
}

// compile compiles the `plugins` of the object with the key owner. The error is that of the first plugin by name.
func (r *pluginReader) compile(owner string, plugins map[string]json.RawMessage, old *inherited) (pluginSet, error) {
	set, credentials, err := r.compileAll(owner, plugins, old, false)
	if len(credentials) > 0 {
		panic("credentials outside of a consumer")
	}
	return set, err
}

// compileConsumer is compile for consumers and credentials, where auth plugins carry credentials.
func (r *pluginReader) compileConsumer(
	owner string, plugins map[string]json.RawMessage, old *inherited,
) (pluginSet, []*credential, error) {
	set, credentials, err := r.compileAll(owner, plugins, old, true)
	if err != nil {
		err = fmt.Errorf("invalid plugins configuration: %w", err)
	}
	return set, credentials, err
}

func (r *pluginReader) compileAll(
	owner string, plugins map[string]json.RawMessage, old *inherited, inConsumer bool,
) (set pluginSet, credentials []*credential, err error) {
	for _, name := range slices.Sorted(maps.Keys(plugins)) {
		raw := plugins[name]
		plugin := r.plugins()[name]
		if plugin == nil {
			return set, credentials, fmt.Errorf("unknown plugin [%s]", name)
		}
		asCredential := inConsumer && plugin.Auth
		if !asCredential {
			if entry, ok := old.find(plugin, raw); ok && !r.borrowed(owner, name) {
				set.entries = append(set.entries, entry)
				continue
			}
		}
		c, err := r.config(plugin, raw, asCredential)
		switch {
		case err != nil:
			return set, credentials, err
		case c.disabled:
			set.disabled = append(set.disabled, plugin)
		case c.lacking != nil && r.hasMetadata != nil && !r.hasMetadata(name):
			return set, credentials, c.lacking
		case asCredential:
			if plugin.NewCredential == nil || len(c.unknown) > 0 {
				continue
			}
			key, value, err := plugin.NewCredential(r.env(owner, name), c.value)
			if err != nil {
				return set, credentials, badConfig(plugin, err)
			}
			credentials = append(credentials, &credential{
				plugin: plugin, key: key, config: value, unique: plugin.UniqueField != "",
			})
		case len(c.unknown) > 0:
			entry := c.entry
			entry.Instance = blocker{}
			set.entries, set.fresh = append(set.entries, entry), true
		default:
			entry := c.entry
			if entry.Instance, err = plugin.New(r.env(owner, name), c.value); err != nil {
				return set, credentials, badConfig(plugin, err)
			}
			set.entries, set.fresh = append(set.entries, entry), true
		}
	}
	return set, credentials, nil
}

// plugins are those that the objects may use.
func (r *pluginReader) plugins() gateway.Plugins {
	if r.stream {
		return r.compiler.streamPlugins()
	}
	return r.compiler.Plugins
}

func (compiler *Compiler) streamPlugins() gateway.Plugins {
	if compiler.StreamPlugins == nil {
		return registeredStream()
	}
	return compiler.StreamPlugins
}

// registeredStream is asked for when every plugin has been registered.
var registeredStream = sync.OnceValue(gateway.RegisteredStreamPlugins)

func badConfig(plugin *gateway.Plugin, err error) error {
	if plugin.Stream {
		return fmt.Errorf("failed to check the configuration of stream plugin [%s]: %w", plugin.Name, err)
	}
	return fmt.Errorf("failed to check the configuration of plugin %s err: %w", plugin.Name, err)
}

func (r *pluginReader) config(plugin *gateway.Plugin, raw json.RawMessage, asCredential bool) (*config, error) {
	if r.seen == nil {
		return r.compiler.readConfig(plugin, raw, asCredential)
	}
	key := configKey{plugin, asCredential, string(raw)}
	if c, ok := r.seen[key]; ok {
		return c, nil
	}
	c, err := r.compiler.readConfig(plugin, raw, asCredential)
	if err == nil {
		r.seen[key] = c
	}
	return c, err
}

// meta is `_meta`, which every plugin config may carry.
type meta struct {
	Priority                           *int
	Filter, ErrorResponse, PreFunction json.RawMessage
}

// readMeta reads the very members that the schema has checked: into a struct, encoding/json would take any spelling of
// their names.
func readMeta(config json.RawMessage) (*meta, error) {
	var fields, given map[string]json.RawMessage
	if err := json.Unmarshal(config, &fields); err != nil {
		return nil, err
	}
	if err := read("_meta", fields["_meta"], &given); err != nil {
		return nil, err
	}
	m := &meta{Filter: given["filter"], ErrorResponse: given["error_response"], PreFunction: given["pre_function"]}
	return m, read("priority", given["priority"], &m.Priority)
}

// readConfig decrypts a config as it is stored, checks it against the plugin's schema, resolves its references and
// compiles its `_meta`.
func (compiler *Compiler) readConfig(plugin *gateway.Plugin, raw json.RawMessage, asCredential bool) (*config, error) {
	rules := schema.ForPlugin(plugin).For(asCredential)
	raw = compiler.Keyring.DecryptFields(raw, secret.Paths(rules.EncryptFields())...)
	value, err := schema.Decode(raw)
	if err != nil {
		return nil, badConfig(plugin, err)
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("invalid plugin conf %s for plugin [%s]", compactJSON(raw), plugin.Name)
	}
	if given, ok := fields["_meta"].(map[string]any); ok && given["disable"] == true {
		return &config{disabled: true}, nil
	}
	if plugin.Refuse != nil && !asCredential {
		if err := plugin.Refuse(raw); err != nil {
			return nil, badConfig(plugin, err)
		}
	}
	var lacking error
	if err := rules.Validate(value); err != nil {
		lacking = badConfig(plugin, err)
		fallback := schema.ForPlugin(plugin).Fallback
		if asCredential || fallback == nil || fallback.Validate(value) != nil {
			return nil, lacking
		}
	}
	value, unknown, err := compiler.resolve(raw, value, rules)
	if err != nil {
		return nil, badConfig(plugin, err)
	}
	filled, ok := rules.Fill(value).(map[string]any)
	if !ok {
		return nil, badConfig(plugin, errors.New("not an object"))
	}
	c := &config{unknown: unknown, lacking: lacking, entry: gateway.Entry{Plugin: plugin, Priority: plugin.Priority}}
	m, err := readMeta(raw)
	if err != nil {
		return nil, badConfig(plugin, err)
	}
	if err := c.addMeta(m); err != nil {
		return nil, err
	}
	delete(filled, "_meta")
	c.value, err = json.Marshal(filled)
	return c, err
}

func (c *config) addMeta(m *meta) error {
	if m.Priority != nil {
		c.entry.Priority = *m.Priority
	}
	if present(m.PreFunction) {
		return fmt.Errorf("failed to load _meta.pre_function in plugin %s: Lua is not supported yet", c.entry.Plugin.Name)
	}
	if present(m.Filter) {
		filter, err := compileVars(m.Filter)
		if err != nil {
			return err
		}
		c.entry.Filter = filter.Match
		if filter.ReadsBody {
			c.entry.FilterReadsBody = bodyUseOf(m.Filter).limit()
		}
	}
	if present(m.ErrorResponse) {
		var text string
		if json.Unmarshal(m.ErrorResponse, &text) == nil {
			c.entry.ErrorResponse = []byte(text)
		} else {
			c.entry.ErrorResponse, c.entry.ErrorIsJSON = compactJSON(m.ErrorResponse), true
		}
	}
	return nil
}

// compileVars compiles an expression in APISIX's language.
func compileVars(raw json.RawMessage) (*expr.Expr, error) {
	e, err := expr.Compile(raw)
	if err != nil {
		return nil, fmt.Errorf("failed to validate the 'vars' expression: %w", err)
	}
	return e, nil
}

func compactJSON(raw json.RawMessage) []byte {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return raw
	}
	return b.Bytes()
}
