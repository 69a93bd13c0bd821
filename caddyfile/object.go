// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	andocaddy "github.com/andogate/ando/modules/caddy"
	"github.com/andogate/ando/modules/gateway"
)

// object is a stored resource in the making: its fields by the names that APISIX gives them.
type object map[string]any

// field reads one word of an object's block, and what follows it, into the object.
type field func(d *caddyfile.Dispenser, o object) error

// fields are the words that the block of one kind of object knows.
type fields map[string]field

// read reads the block behind the current token into o. where names the object in errors.
func (f fields) read(d *caddyfile.Dispenser, where string, o object) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		read, known := f[d.Val()]
		if !known {
			return unknown(d, where, slices.Collect(maps.Keys(f)))
		}
		if err := read(d, o); err != nil {
			return err
		}
	}
	return nil
}

// set gives the object a field, once.
func (o object) set(d *caddyfile.Dispenser, name string, v any) error {
	if o.has(name) {
		return d.Errf("%s is given twice", name)
	}
	o[name] = v
	return nil
}

func (o object) has(name string) bool {
	_, ok := o[name]
	return ok
}

// in returns the object in the object's field, made on first use.
func (o object) in(name string) object {
	inner, ok := o[name].(object)
	if !ok {
		inner = object{}
		o[name] = inner
	}
	return inner
}

// The shapes that fields have. name is the field's name in JSON.

func textField(name string) field {
	return func(d *caddyfile.Dispenser, o object) error {
		token, err := one(d)
		if err != nil {
			return err
		}
		return o.set(d, name, token.Text)
	}
}

func integerField(name string) field {
	return func(d *caddyfile.Dispenser, o object) error {
		n, err := integer(d)
		if err != nil {
			return err
		}
		return o.set(d, name, n)
	}
}

func flagField(name string) field {
	return func(d *caddyfile.Dispenser, o object) error {
		on, err := flag(d)
		if err != nil {
			return err
		}
		return o.set(d, name, on)
	}
}

// listField adds its words to an array of strings, so that it can be given several times.
func listField(name string) field {
	return func(d *caddyfile.Dispenser, o object) error {
		words, err := some(d)
		if err != nil {
			return err
		}
		list, _ := o[name].([]string)
		o[name] = append(list, words...)
		return nil
	}
}

func jsonField(name string) field {
	return func(d *caddyfile.Dispenser, o object) error {
		token, err := one(d)
		if err != nil {
			return err
		}
		if !json.Valid([]byte(token.Text)) {
			return d.Errf("%s takes JSON, not %q; enclose it in backquotes", name, token.Text)
		}
		return o.set(d, name, json.RawMessage(token.Text))
	}
}

func valueField(name string) field {
	return func(d *caddyfile.Dispenser, o object) error {
		v, err := value(d)
		if err != nil {
			return err
		}
		return o.set(d, name, v)
	}
}

// labelField reads `label NAME VALUE`.
func labelField(d *caddyfile.Dispenser, o object) error {
	var name, text string
	if !d.AllArgs(&name, &text) {
		return d.Errf("label takes a name and a value")
	}
	return o.in("labels").set(d, name, text)
}

// choice refuses a value that is none of the allowed ones.
func choice(d *caddyfile.Dispenser, name, value string, allowed []string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return d.Errf("%s: %q is not one of %s", name, value, strings.Join(allowed, ", "))
}

func choiceField(name string, allowed ...string) field {
	return func(d *caddyfile.Dispenser, o object) error {
		token, err := one(d)
		if err != nil {
			return err
		}
		if err := choice(d, name, token.Text, allowed); err != nil {
			return err
		}
		return o.set(d, name, token.Text)
	}
}

func choicesField(name string, allowed ...string) field {
	read := listField(name)
	return func(d *caddyfile.Dispenser, o object) error {
		if err := read(d, o); err != nil {
			return err
		}
		for _, value := range o[name].([]string) {
			if err := choice(d, name, value, allowed); err != nil {
				return err
			}
		}
		return nil
	}
}

// pluginField reads `plugin NAME` with its config.
func pluginField(d *caddyfile.Dispenser, o object) error {
	start := d.Token()
	name, raw, err := pluginConfig(d)
	if err != nil {
		return err
	}
	plugin := andocaddy.Plugin{Name: name, Config: raw}
	if err := plugin.Check(); err != nil {
		return at(start).WrapErr(err)
	}
	return o.in("plugins").set(d, name, raw)
}

// consumerPluginField is pluginField for consumers, where the config of an auth plugin is a credential.
func consumerPluginField(d *caddyfile.Dispenser, o object) error {
	name, raw, err := pluginConfig(d)
	if err != nil {
		return err
	}
	return o.in("plugins").set(d, name, raw)
}

func pluginConfig(d *caddyfile.Dispenser) (name string, raw json.RawMessage, err error) {
	if !d.NextArg() {
		return "", nil, d.Errf("plugin takes the name of a plugin")
	}
	name = d.Val()
	v, err := config(d)
	if err != nil {
		return "", nil, err
	}
	raw, err = json.Marshal(v)
	return name, raw, err
}

// at returns a dispenser whose errors are about the token.
func at(token caddyfile.Token) *caddyfile.Dispenser {
	d := caddyfile.NewDispenser([]caddyfile.Token{token})
	d.Next()
	return d
}

// declare makes the object of a block that began at start. What is wrong with it is said with that line, for it is the
// object as a whole that is refused. where names it there.
func declare(start caddyfile.Token, where string, kind gateway.Kind, id string, o object) (andocaddy.Declared, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return andocaddy.Declared{}, at(start).WrapErr(err)
	}
	declared := andocaddy.Declared{Kind: kind, ID: id, Value: raw}
	if err := declared.Check(gateway.RegisteredPlugins()); err != nil {
		return andocaddy.Declared{}, at(start).Errf("%s: %w", where, err)
	}
	return declared, nil
}
