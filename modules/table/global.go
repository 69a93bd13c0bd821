// SPDX-License-Identifier: Apache-2.0

package table

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/secret"
)

// compilePluginSet compiles a plugin config, consumer group or global rule.
func (b *builder) compilePluginSet(kind int, e, old *entry) error {
	set := new(pluginSet)
	e.compiled = set
	if kind == kindGlobals {
		b.globalsChanged = true
	}
	d, err := readDocument(e.Value)
	if err != nil {
		set.err = err
		return err
	}
	was := versionOf(e, d, old)
	if before, ok := priorOf[*pluginSet](old); ok {
		was.entry = before.entry
	}
	*set, err = b.compilePlugins(e, d, was)
	return err
}

// buildGlobals makes the one chain of all global rules. Of a plugin that several rules carry the first rule in key order
// counts; a changed rule that brings one in is refused.
func (b *builder) buildGlobals() {
	var entries []gateway.Entry
	owners := make(map[*gateway.Plugin]*entry)
	b.t.objects[kindGlobals].each(func(e *entry) bool {
		set, _ := e.compiled.(*pluginSet)
		if set == nil {
			return true
		}
		if set.err != nil {
			entries = append(entries, blockerFor(e))
		}
		for _, entry := range set.entries {
			owner, taken := owners[entry.Plugin]
			if taken {
				b.refuseTwice(entry.Plugin, owner, e)
				continue
			}
			owners[entry.Plugin] = e
			entries = append(entries, entry)
		}
		return true
	})
	b.t.globals = gateway.NewChain(entries)
}

// refuseTwice refuses the rule that is new of two with one plugin.
func (b *builder) refuseTwice(plugin *gateway.Plugin, one, other *entry) {
	fresh, old := other, one
	if b.isChanged(one) && !b.isChanged(other) {
		fresh, old = one, other
	}
	b.refuse(fresh, fmt.Errorf("plugin '%s' already exists in global rule with id '%s'", plugin.Name, old.ID))
}

func (b *builder) isChanged(e *entry) bool {
	for _, changed := range b.changed[kindGlobals] {
		if changed == e {
			return true
		}
	}
	return false
}

// blockerFor stands for a stored global rule that cannot be served: what it would have checked nobody knows, so no
// request passes.
func blockerFor(e *entry) gateway.Entry {
	plugin := &gateway.Plugin{Name: "broken-global-rule-" + e.ID, Priority: 1 << 30}
	return gateway.Entry{Plugin: plugin, Priority: plugin.Priority, Instance: blocker{}}
}

type blocker struct{}

func (blocker) Rewrite(x *gateway.Exchange) gateway.Verdict { return x.Exit(503, nil) }

// compileMetadata compiles the metadata of a plugin to a *metadata.
func (c *Compiler) compileMetadata(o gateway.Object) (any, error) {
	plugin := c.Plugins[o.ID]
	if plugin == nil {
		return nil, errors.New("invalid plugin name")
	}
	rules := schema.ForPlugin(plugin).Metadata
	stored := o.Value
	if rules != nil {
		stored = c.Keyring.DecryptFields(stored, secret.Paths(rules.EncryptFields())...)
	}
	value, err := schema.Decode(stored)
	if err != nil {
		return nil, fmt.Errorf("invalid configuration: %w", err)
	}
	if fields, ok := value.(map[string]any); ok {
		// The id is the plugin's name and no part of what its schema describes.
		delete(fields, "id")
	}
	if rules != nil {
		if err := rules.Validate(value); err != nil {
			return nil, fmt.Errorf("invalid configuration: %w", err)
		}
		value = rules.Fill(value)
	}
	if plugin.NewMetadata == nil {
		return nil, nil
	}
	filled, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	compiled, err := plugin.NewMetadata(gateway.Env{Owner: o.Key(), Log: c.log}, filled)
	if err != nil {
		return nil, fmt.Errorf("invalid configuration: %w", err)
	}
	return &metadata{compiled}, nil
}

var _ gateway.Rewriter = blocker{}
