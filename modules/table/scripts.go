// SPDX-License-Identifier: Apache-2.0

package table

import (
	"errors"

	"github.com/andogate/ando/modules/gateway"
)

// script is a compiled `script`, which stands in the place of all plugins.
type script struct{ chain *gateway.Chain }

var (
	errNoLua    = errors.New("this build runs no Lua")
	errScriptID = errors.New("'script_id' is not supported: use 'script'")
)

// env is what the Lua of an object is compiled in.
func (c *Compiler) env(owner string) gateway.Env { return gateway.Env{Owner: owner, Log: c.log} }

// compileFilter compiles a `filter_func`; nil is none.
func (c *Compiler) compileFilter(owner string, d *document) (func(x *gateway.Exchange) (bool, error), error) {
	if !present(d.FilterFunc) {
		return nil, nil
	}
	var source string
	if err := read("filter_func", d.FilterFunc, &source); err != nil {
		return nil, err
	}
	lua := gateway.RegisteredScripting()
	if lua == nil {
		return nil, errNoLua
	}
	return lua.Filter(c.env(owner), source)
}

// compileScript compiles a `script`; nil is none.
func (c *Compiler) compileScript(owner string, d *document) (*script, error) {
	if present(d.ScriptID) {
		return nil, errScriptID
	}
	if !present(d.Script) {
		return nil, nil
	}
	var source string
	if err := read("script", d.Script, &source); err != nil {
		return nil, err
	}
	lua := gateway.RegisteredScripting()
	if lua == nil {
		return nil, errNoLua
	}
	entries, err := lua.Script(c.env(owner), source)
	if err != nil {
		return nil, err
	}
	return &script{gateway.NewChain(entries)}, nil
}

// breaks makes the rule that matches in the place of r when its filter function fails.
func (r *rule) breaks() {
	broken := &rule{uris: r.uris, hosts: r.hosts, methods: r.methods}
	broken.route = gateway.Route{ID: r.route.ID, Name: r.route.Name, ServiceID: r.route.ServiceID, ServiceName: r.route.ServiceName}
	broken.fault(500, "its filter_func failed")
	r.broken = broken
}
