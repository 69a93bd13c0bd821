// SPDX-License-Identifier: Apache-2.0

package table

import (
	"errors"
	"slices"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// consumer is a compiled consumer.
type consumer struct {
	consumer    *gateway.Consumer
	groupID     string
	credentials []*credential
}

// credential is an auth plugin's config in a consumer or credential object.
type credential struct {
	plugin *gateway.Plugin
	key    string
	config any
	// unique says that no other consumer may have the same key.
	unique bool
}

// compileConsumer compiles a consumer with its group. One that cannot be served has no credentials and answers 503 to
// those that come by credential objects.
func (b *builder) compileConsumer(e, old *entry) error {
	c := &consumer{consumer: &gateway.Consumer{Name: e.ID, Object: e.Object}}
	e.compiled = c
	if err := b.fillConsumer(c, e, old); err != nil {
		c.consumer.Fault, c.credentials = 503, nil
		return err
	}
	return b.addCredentials(e, c)
}

func (b *builder) fillConsumer(c *consumer, e, old *entry) error {
	d, err := readDocument(e.Value)
	if err != nil {
		return err
	}
	plugins, err := readPlugins(d.Plugins)
	if err != nil {
		return err
	}
	was := versionOf(e, d, old)
	if before, ok := priorOf[*consumer](old); ok {
		was.entry = before.entry
	}
	set, credentials, err := b.reader.compileConsumer(e.Key(), plugins, was.inherited())
	c.credentials = credentials
	if err = first(err, read("labels", d.Labels, &c.consumer.Labels)); err != nil {
		return err
	}
	c.groupID = readID(d.GroupID)
	if c.groupID != "" {
		c.consumer.GroupID = c.groupID
		b.t.groupConsumers = b.t.groupConsumers.with(idPair(c.groupID, e.ID), &e.ID)
		group, ok := compiled[*pluginSet](b.t, kindGroups, c.groupID)
		if ok && group.err == nil {
			set = set.merge(group)
		} else {
			c.consumer.Fault = 503
		}
	}
	c.consumer.Plugins = consumerEntries(set)
	return nil
}

// consumerEntries returns what a consumer adds to a route. An auth plugin of a group is not executed either.
func consumerEntries(set pluginSet) []gateway.Entry {
	var entries []gateway.Entry
	for _, e := range set.entries {
		if !e.Plugin.Auth {
			entries = append(entries, e)
		}
	}
	for _, p := range set.disabled {
		entries = append(entries, gateway.Entry{Plugin: p})
	}
	return entries
}

// entry finds the compiled config of a plugin that is no credential. It may be the group's; who asks knows.
func (c *consumer) entry(plugin *gateway.Plugin) (gateway.Entry, bool) {
	i := slices.IndexFunc(c.consumer.Plugins, func(e gateway.Entry) bool { return e.Plugin == plugin && e.Instance != nil })
	if i < 0 {
		return gateway.Entry{}, false
	}
	return c.consumer.Plugins[i], true
}

// addCredentials enters the consumer's credentials. The error says that somebody else has a key; when that is stored
// already the first in key order is found by it.
func (b *builder) addCredentials(e *entry, c *consumer) error {
	var taken error
	// A consumer does not conflict with its own credentials.
	own := gateway.Key(gateway.Credentials, gateway.CredentialID(e.ID, ""))
	isOwn := func(owner string) bool { return strings.HasPrefix(owner, own) }
	for _, credential := range c.credentials {
		taken = first(taken, b.conflict(credential, isOwn))
		b.addCredential(credential, e.Key(), &gateway.Credential{Consumer: c.consumer, Config: credential.config})
	}
	return taken
}

func (b *builder) retireConsumer(e *entry, c *consumer) {
	for _, credential := range c.credentials {
		b.dropCredential(credential, e.Key())
	}
	if c.groupID != "" {
		b.t.groupConsumers = b.t.groupConsumers.without(idPair(c.groupID, e.ID))
	}
}

// compileCredential compiles a credential object. It has no effect while its consumer does not exist.
func (b *builder) compileCredential(e *entry) error {
	d, err := readDocument(e.Value)
	if err != nil {
		return err
	}
	plugins, err := readPlugins(d.Plugins)
	if err != nil {
		return err
	}
	_, credentials, err := b.reader.compileConsumer(e.Key(), plugins, nil)
	if err = first(err, b.t.compiler.checkAuthOnly(plugins)); err != nil {
		return err
	}
	if len(credentials) == 0 {
		return nil
	}
	if len(credentials) > 1 {
		return errors.New("invalid configuration: a credential has one plugin")
	}
	name, id, _ := gateway.SplitCredentialID(e.ID)
	owner, ok := compiled[*consumer](b.t, kindConsumers, name)
	if !ok {
		return nil
	}
	c := credentials[0]
	taken := b.conflict(c, func(string) bool { return false })
	e.compiled = c
	b.addCredential(c, e.Key(), &gateway.Credential{ID: id, Consumer: owner.consumer, Config: c.config})
	return taken
}
