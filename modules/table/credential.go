// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"slices"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// credentialIndex finds the credentials of one plugin by key. It is immutable.
type credentialIndex struct {
	plugin string
	keys   hashMap[credentialSlot]
}

// credentialSlot lists who has a key, by the keys of the objects. The first is found by it; there are others when a
// consumer has taken the key of its own credential, or when what was stored did not go through the Admin API.
type credentialSlot struct{ owners []credentialOwner }

type credentialOwner struct {
	object     string
	credential *gateway.Credential
}

func (i *credentialIndex) find(key string) *gateway.Credential {
	slot := i.keys.get(key)
	if slot == nil {
		return nil
	}
	return slot.owners[0].credential
}

// index returns the plugin's index, which the caller may change.
func (b *builder) index(plugin string) *credentialIndex {
	b.t.credentials = slices.Clone(b.t.credentials)
	for i := range b.t.credentials {
		if b.t.credentials[i].plugin == plugin {
			return &b.t.credentials[i]
		}
	}
	b.t.credentials = append(b.t.credentials, credentialIndex{plugin: plugin})
	return &b.t.credentials[len(b.t.credentials)-1]
}

// conflict returns the refusal of a key that another object has. allowed are the owners that do not count.
func (b *builder) conflict(c *credential, allowed func(owner string) bool) error {
	if !c.unique {
		return nil
	}
	slot := b.index(c.plugin.Name).keys.get(c.key)
	if slot == nil {
		return nil
	}
	for _, o := range slot.owners {
		if !allowed(o.object) {
			return fmt.Errorf("duplicate %s of plugin %s found with %s",
				c.plugin.UniqueField, c.plugin.Name, describe(o.credential))
		}
	}
	return nil
}

func describe(c *gateway.Credential) string {
	if c.ID == "" {
		return "consumer: " + c.Consumer.Name
	}
	return "credential: " + c.ID + " of consumer: " + c.Consumer.Name
}

func (b *builder) addCredential(c *credential, object string, compiled *gateway.Credential) {
	index := b.index(c.plugin.Name)
	var changed credentialSlot
	if old := index.keys.get(c.key); old != nil {
		changed.owners = old.owners
	}
	i, _ := slices.BinarySearchFunc(changed.owners, object, compareOwner)
	changed.owners = slices.Insert(slices.Clip(changed.owners), i, credentialOwner{object, compiled})
	index.keys = index.keys.with(c.key, changed)
}

func (b *builder) dropCredential(c *credential, object string) {
	index := b.index(c.plugin.Name)
	old := index.keys.get(c.key)
	if old == nil {
		return
	}
	i, ok := slices.BinarySearchFunc(old.owners, object, compareOwner)
	switch {
	case !ok:
	case len(old.owners) == 1:
		index.keys = index.keys.without(c.key)
	default:
		index.keys = index.keys.with(c.key, credentialSlot{slices.Concat(old.owners[:i], old.owners[i+1:])})
	}
}

func compareOwner(o credentialOwner, object string) int { return strings.Compare(o.object, object) }
