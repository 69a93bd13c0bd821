// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

func init() {
	gateway.RegisterScripting(&gateway.Scripting{Filter: compileFilter, Script: compileScript})
}

// compileFilter compiles a route's filter_func, the source of a function. The texts are APISIX's.
func compileFilter(env gateway.Env, source string) (func(x *gateway.Exchange) (bool, error), error) {
	chunk, err := Load("return " + source)
	if err != nil {
		return nil, fmt.Errorf("failed to load 'filter_func' string: %w", err)
	}
	p := NewProgram(nil, env.Log, chunk)
	err = p.Check(func(name string, err error) error {
		if err == nil && name != "function" {
			return errors.New("'filter_func' should be a function")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return func(x *gateway.Exchange) (bool, error) {
		ok, err := p.Test(x)
		if err != nil {
			p.log().Error("lua: filter_func failed", zap.Error(err))
		}
		return ok, err
	}, nil
}

// scriptPhases are the functions that a script's table may have. Each is an entry of its own: a chain asks only for what is
// there.
var scriptPhases = []struct {
	name   string
	phase  Phase
	plugin *gateway.Plugin
}{
	{"access", Access, &gateway.Plugin{Name: "script access"}},
	{"before_proxy", BeforeProxy, &gateway.Plugin{Name: "script before_proxy"}},
	{"header_filter", HeaderFilter, &gateway.Plugin{Name: "script header_filter"}},
	{"body_filter", BodyFilter, &gateway.Plugin{Name: "script body_filter"}},
	{"log", Log, &gateway.Plugin{Name: "script log"}},
}

// compileScript compiles a `script`, which stands in the place of all plugins. The texts are APISIX's.
func compileScript(env gateway.Env, source string) ([]gateway.Entry, error) {
	chunk, err := Load(source)
	if err != nil {
		return nil, fmt.Errorf("failed to load 'script' string: %w", err)
	}
	p := NewProgram(nil, env.Log, chunk)
	err = p.Check(func(name string, err error) error {
		if err == nil && name != "table" {
			return errors.New("'script' should be a Lua object")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var entries []gateway.Entry
	for _, f := range scriptPhases {
		if p.has(f.name) {
			entries = append(entries, gateway.Entry{Plugin: f.plugin, Instance: Hook(p, f.phase, f.name)})
		}
	}
	return entries, nil
}
