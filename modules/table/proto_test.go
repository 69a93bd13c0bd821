// SPDX-License-Identifier: Apache-2.0

package table

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/protos"
)

// borrowing is what the config of a toy that names a proto object compiles to.
type borrowing struct{ files *protos.Files }

func (*borrowing) Access(*gateway.Exchange) gateway.Verdict { return gateway.Continue }

func borrowingPlugins() gateway.Plugins {
	plugins := toyPlugins()
	plugins["toy-proto"] = &gateway.Plugin{
		Name: "toy-proto", Schema: json.RawMessage(`{"type":"object"}`),
		New: func(env gateway.Env, config json.RawMessage) (any, error) {
			var c struct{ ID, Method string }
			if err := json.Unmarshal(config, &c); err != nil {
				return nil, err
			}
			files, _ := env.Proto(c.ID).(*protos.Files)
			if files != nil && c.Method != "" {
				if _, err := files.Method("S", c.Method); err != nil {
					return nil, err
				}
			}
			return &borrowing{files}, nil
		},
	}
	return plugins
}

func source(id, message string) string {
	return fmt.Sprintf(`protos %s {"content":"syntax = \"proto3\"; message %s {} service S { rpc Do (%[2]s) returns (%[2]s); }"}`, id, message)
}

// TestProtoReachesItsUsers: whatever carries a config that names a proto object has what the object says now, and nothing
// else is compiled again.
func TestProtoReachesItsUsers(t *testing.T) {
	c := &Compiler{Plugins: borrowingPlugins()}
	table := compileAll(t, c,
		source("p", "One"),
		`routes own {"uri":"/own","plugins":{"toy-proto":{"id":"p"},"toy-a":{}}}`,
		`services s {"plugins":{"toy-proto":{"id":"p"}}}`,
		`routes served {"uri":"/served","service_id":"s"}`,
		`plugin_configs c {"plugins":{"toy-proto":{"id":"p"}}}`,
		`routes configured {"uri":"/configured","plugin_config_id":"c"}`,
		`routes other {"uri":"/other","plugins":{"toy-proto":{"id":"q"}}}`,
	)
	entry := func(table *Table, path, plugin string) any {
		t.Helper()
		e, ok := get(table, "h", path).Chain.Entry(c.Plugins[plugin])
		if !ok {
			t.Fatalf("%s: no %s", path, plugin)
		}
		return e.Instance
	}
	check := func(when string, table *Table, path, message string) {
		t.Helper()
		files := entry(table, path, "toy-proto").(*borrowing).files
		switch {
		case message == "":
			if files != nil {
				t.Errorf("%s: %s has an object", when, path)
			}
		case files == nil || files.Message(message) == nil:
			t.Errorf("%s: %s does not know %s", when, path, message)
		}
	}
	users := []string{"/own", "/served", "/configured"}
	for _, path := range users {
		check("at first", table, path, "One")
	}
	check("at first", table, "/other", "")

	changed := mustChange(t, table, source("p", "Two"))
	for _, path := range users {
		check("changed", changed, path, "Two")
		check("the table before", table, path, "One")
	}
	if entry(changed, "/own", "toy-a") != entry(table, "/own", "toy-a") {
		t.Error("a plugin that names nothing was made again")
	}
	if entry(changed, "/other", "toy-proto") != entry(table, "/other", "toy-proto") {
		t.Error("the user of another object was compiled again")
	}

	// A change beside it does not make the users forget what they rest on.
	changed = mustChange(t, changed, `services s {"plugins":{"toy-proto":{"id":"p"}},"name":"n"}`)
	changed = mustChange(t, changed, `routes own {"uri":"/own","name":"n","plugins":{"toy-proto":{"id":"p"},"toy-a":{}}}`)
	changed = mustChange(t, changed, source("p", "Three"))
	for _, path := range users {
		check("changed once more", changed, path, "Three")
	}
	gone := mustChange(t, changed, "protos p")
	for _, path := range users {
		check("deleted", gone, path, "")
	}
	check("there again", mustChange(t, gone, source("p", "Four")), "/own", "Four")
	check("there at last", mustChange(t, gone, source("q", "Five")), "/other", "Five")
}

// TestProtoWithoutMethod: a write that names what is not there is refused; a change of the proto object that takes it away
// is not, and then its users answer 503.
func TestProtoWithoutMethod(t *testing.T) {
	c := &Compiler{Plugins: borrowingPlugins()}
	table := compileAll(t, c, source("p", "M"), `routes r {"uri":"/r","plugins":{"toy-proto":{"id":"p","method":"Do"}}}`)
	const bad = `routes s {"uri":"/s","plugins":{"toy-proto":{"id":"p","method":"Undo"}}}`
	if _, err := table.With([]gateway.Change{{Object: object(t, bad)}}); err == nil {
		t.Error("a method that does not exist was accepted")
	}
	less := mustChange(t, table, `protos p {"content":"syntax = \"proto3\"; service S {}"}`)
	if got := get(less, "h", "/r").Fault; got != 503 {
		t.Errorf("got fault %d, want 503", got)
	}
	if got := get(mustChange(t, less, source("p", "M")), "h", "/r").Fault; got != 0 {
		t.Errorf("got fault %d, want none", got)
	}
}

func TestProtoRefused(t *testing.T) {
	c := &Compiler{Plugins: borrowingPlugins()}
	o := object(t, `protos p {"content":"syntax = \"proto3\"; message M { Unknown a = 1; }"}`)
	const want = `invalid content: line 1: `
	for name, err := range map[string]error{
		"check": c.Check(o),
		"write": func() error { _, err := compileAll(t, c).With([]gateway.Change{{Object: o}}); return err }(),
	} {
		if err == nil || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	// One that is stored all the same is no object to its users.
	table, faults := c.Compile(1, objects(t, `routes r {"uri":"/r","plugins":{"toy-proto":{"id":"p"}}}`,
		`protos p {"content":"message {"}`))
	if len(faults) != 1 {
		t.Errorf("got %v", faults)
	}
	if e, _ := get(table.(*Table), "h", "/r").Chain.Entry(c.Plugins["toy-proto"]); e.Instance.(*borrowing).files != nil {
		t.Error("a broken object has something to find")
	}
}
