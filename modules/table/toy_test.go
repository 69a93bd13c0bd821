// SPDX-License-Identifier: Apache-2.0

package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// toy is what a toy plugin's config compiles to.
type toy struct {
	plugin, owner string
	config        string
}

func (*toy) Access(*gateway.Exchange) gateway.Verdict { return gateway.Continue }

const toySchema = `{"type":"object","properties":{"x":{"type":"integer","default":7},"fail":{"type":"boolean"}}}`

func toyPlugin(name string, priority int) *gateway.Plugin {
	return &gateway.Plugin{
		Name: name, Priority: priority, Schema: json.RawMessage(toySchema),
		MetadataSchema: json.RawMessage(`{"type":"object","properties":{"m":{"type":"string","default":"d"}}}`),
		New: func(env gateway.Env, config json.RawMessage) (any, error) {
			if strings.Contains(string(config), "fail") {
				return nil, errors.New("told to fail")
			}
			return &toy{name, env.Owner, string(config)}, nil
		},
		NewMetadata: func(_ gateway.Env, config json.RawMessage) (any, error) { return string(config), nil },
	}
}

func toyPlugins() gateway.Plugins {
	auth := toyPlugin("toy-auth", 2500)
	auth.Auth, auth.UniqueField = true, "key"
	auth.ConsumerSchema = json.RawMessage(`{"type":"object","properties":{"key":{"type":"string"}},"required":["key"]}`)
	auth.NewCredential = func(_ gateway.Env, config json.RawMessage) (string, any, error) {
		var c struct{ Key string }
		err := json.Unmarshal(config, &c)
		return c.Key, string(config), err
	}
	plugins := gateway.Plugins{"toy-auth": auth, "toy-via": toyVia()}
	for i, name := range []string{"toy-a", "toy-b", "toy-c"} {
		plugins[name] = toyPlugin(name, 100-i)
	}
	return plugins
}

func toyCompiler(router string) *Compiler { return &Compiler{Router: router, Plugins: toyPlugins()} }

// object parses "kind id json".
func object(t testing.TB, text string) gateway.Object {
	t.Helper()
	kind, rest, ok := strings.Cut(text, " ")
	id, value, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 {
		t.Fatalf("bad object %q", text)
	}
	return gateway.Object{Kind: gateway.Kind(kind), ID: id, Value: json.RawMessage(value)}
}

func objects(t testing.TB, texts ...string) []gateway.Object {
	t.Helper()
	all := make([]gateway.Object, len(texts))
	for i, text := range texts {
		all[i] = object(t, text)
		all[i].Created, all[i].Modified = uint64(i+1), uint64(i+1)
	}
	return all
}

// compileAll fails the test when something cannot be served.
func compileAll(t testing.TB, c *Compiler, texts ...string) *Table {
	t.Helper()
	table, faults := c.Compile(uint64(len(texts)), objects(t, texts...))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return table.(*Table)
}

// change applies puts, and deletes where the text has no value.
func change(t testing.TB, table *Table, texts ...string) (*Table, error) {
	t.Helper()
	changes := make([]gateway.Change, len(texts))
	for i, text := range texts {
		if strings.Count(text, " ") == 1 {
			kind, id, _ := strings.Cut(text, " ")
			changes[i] = gateway.Change{Delete: true, Object: gateway.Object{Kind: gateway.Kind(kind), ID: id}}
		} else {
			changes[i].Object = object(t, text)
		}
		o := &changes[i].Object
		o.Modified = table.Revision() + uint64(i) + 1
		o.Created = o.Modified
		if prior, ok := table.Object(o.Kind, o.ID); ok {
			o.Created = prior.Created
		}
	}
	next, err := table.With(changes)
	if err != nil {
		return nil, err
	}
	return next.(*Table), nil
}

func mustChange(t testing.TB, table *Table, texts ...string) *Table {
	t.Helper()
	next, err := change(t, table, texts...)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// get matches a GET.
func get(table *Table, host, path string) *gateway.Route {
	x := new(gateway.Exchange)
	x.Request.Method, x.Request.Path = "GET", path
	x.Request.SetHost(host)
	return table.Match(x, nil)
}

// instances describes a chain: plugin=owner, in order.
func instances(c *gateway.Chain, plugins gateway.Plugins) []string {
	all := []string{}
	for _, name := range c.Names() {
		entry, _ := c.Entry(plugins[name])
		made, ok := entry.Instance.(*toy)
		if !ok {
			all = append(all, fmt.Sprintf("%s=%T", name, entry.Instance))
			continue
		}
		all = append(all, name+"="+strings.TrimPrefix(made.owner, "/apisix/"))
	}
	return all
}
