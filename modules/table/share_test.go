// SPDX-License-Identifier: Apache-2.0

package table

import (
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

func instance(t *testing.T, table *Table, path, plugin string) any {
	t.Helper()
	r := get(table, "h", path)
	if r == nil {
		t.Fatalf("%s does not match", path)
	}
	entry, ok := r.Chain.Entry(table.compiler.Plugins[plugin])
	if !ok {
		t.Fatalf("%s does not carry %s", path, plugin)
	}
	return entry.Instance
}

// TestSharing has what must be the same pointer after a change: what is counted in it goes on.
func TestSharing(t *testing.T) {
	before := compileAll(t, toyCompiler(HostURI),
		`upstreams u {"nodes":{"127.0.0.1:80":1}}`,
		`services s {"plugins":{"toy-a":{}},"upstream":{"nodes":{"127.0.0.1:81":1}}}`,
		`routes one {"uri":"/one","service_id":"s","plugins":{"toy-b":{}}}`,
		`routes two {"uri":"/two","service_id":"s"}`,
		`routes three {"uri":"/three","upstream_id":"u","plugins":{"toy-c":{}}}`,
		`routes four {"uri":"/four","upstream":{"nodes":{"127.0.0.1:82":1}},"plugins":{"toy-c":{},"toy-b":{}}}`,
		`consumers bob {"username":"bob","group_id":"g"}`,
		`consumer_groups g {"plugins":{"toy-b":{}}}`,
	)
	if instance(t, before, "/one", "toy-a") != instance(t, before, "/two", "toy-a") {
		t.Error("routes of one service have two instances of its plugin")
	}
	if get(before, "h", "/one").Upstream != get(before, "h", "/two").Upstream {
		t.Error("routes of one service have two upstreams")
	}
	same := func(what string, a, b any) {
		t.Helper()
		if a != b {
			t.Errorf("%s is another one", what)
		}
	}

	t.Run("another route", func(t *testing.T) {
		after := mustChange(t, before, `routes four {"uri":"/four"}`)
		for _, path := range []string{"/one", "/two", "/three"} {
			same(path, get(after, "h", path), get(before, "h", path))
		}
	})
	t.Run("upstream", func(t *testing.T) {
		after := mustChange(t, before, `upstreams u {"nodes":{"127.0.0.1:80":1},"name":"n"}`)
		same("the route", get(after, "h", "/three"), get(before, "h", "/three"))
		same("the node", after.Upstream("u").Nodes[0], before.Upstream("u").Nodes[0])
		if after.Upstream("u").Name != "n" || before.Upstream("u").Name != "" {
			t.Error("the change is not in the right table")
		}
	})
	t.Run("name of a route", func(t *testing.T) {
		after := mustChange(t, before,
			`routes four {"name":"n","uri":"/four","upstream":{"nodes":{"127.0.0.1:82":1}},"plugins":{"toy-c":{},"toy-b":{}}}`)
		if get(after, "h", "/four").Name != "n" {
			t.Error("the name is the old one")
		}
		same("the chain", get(after, "h", "/four").Chain, get(before, "h", "/four").Chain)
		same("the upstream", get(after, "h", "/four").Upstream, get(before, "h", "/four").Upstream)
	})
	t.Run("one plugin of a route", func(t *testing.T) {
		after := mustChange(t, before,
			`routes four {"uri":"/four","upstream":{"nodes":{"127.0.0.1:83":1}},"plugins":{"toy-c":{},"toy-b":{"x":1}}}`)
		same("toy-c", instance(t, after, "/four", "toy-c"), instance(t, before, "/four", "toy-c"))
		if instance(t, after, "/four", "toy-b") == instance(t, before, "/four", "toy-b") {
			t.Error("a changed config kept its instance")
		}
		if get(after, "h", "/four").Upstream.Nodes[0].Port != 83 {
			t.Error("the upstream is the old one")
		}
	})
	t.Run("service", func(t *testing.T) {
		after := mustChange(t, before,
			`services s {"plugins":{"toy-a":{"x":1}},"upstream":{"nodes":{"127.0.0.1:81":1}},"enable_websocket":true}`)
		same("toy-b of the route", instance(t, after, "/one", "toy-b"), instance(t, before, "/one", "toy-b"))
		same("the service's upstream", get(after, "h", "/two").Upstream, get(before, "h", "/two").Upstream)
		if instance(t, after, "/one", "toy-a") == instance(t, before, "/one", "toy-a") || !get(after, "h", "/one").Websocket {
			t.Error("the route has the service as it was")
		}
		same("a route of no service", get(after, "h", "/three"), get(before, "h", "/three"))
	})
	t.Run("consumer", func(t *testing.T) {
		after := mustChange(t, before, `routes four {"uri":"/four"}`, `consumers eve {"username":"eve"}`)
		same("the consumer", after.Consumer("bob"), before.Consumer("bob"))
		after = mustChange(t, before, `consumer_groups g {"plugins":{"toy-b":{"x":1}}}`)
		if after.Consumer("bob") == before.Consumer("bob") {
			t.Error("the consumer has its group as it was")
		}
	})
	t.Run("generation", func(t *testing.T) {
		compiler := *before.compiler
		again, faults := compiler.Recompile(before, 1, objectsOf(before))
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		after := again.(*Table)
		same("toy-a", instance(t, after, "/one", "toy-a"), instance(t, before, "/one", "toy-a"))
		same("toy-b", instance(t, after, "/one", "toy-b"), instance(t, before, "/one", "toy-b"))
		same("the upstream", after.Upstream("u"), before.Upstream("u"))
		same("the inline upstream", get(after, "h", "/four").Upstream, get(before, "h", "/four").Upstream)
	})
}

// TestRecompileAfterAnother takes nothing from a table that another kind of compiler made.
func TestRecompileAfterAnother(t *testing.T) {
	table, faults := toyCompiler(HostURI).Recompile(struct{ gateway.Table }{}, 3, objects(t, `routes 1 {"uri":"/"}`))
	if len(faults) > 0 || get(table.(*Table), "h", "/") == nil || table.Revision() != 3 {
		t.Errorf("faults %q, revision %d", faults, table.Revision())
	}
}

func objectsOf(t *Table) []gateway.Object {
	var all []gateway.Object
	for _, kind := range gateway.Kinds {
		for o := range t.Objects(kind) {
			all = append(all, o)
		}
	}
	return all
}

// TestWithLeavesTheReceiver also when the change is refused half way.
func TestWithLeavesTheReceiver(t *testing.T) {
	before := compileAll(t, toyCompiler(HostURI), `routes 1 {"uri":"/a","plugins":{"toy-a":{}}}`)
	route := get(before, "h", "/a")
	if _, err := change(t, before, `routes 2 {"uri":"/b"}`, `routes 1 {"uri":"/a","plugins":{"nope":{}}}`); err == nil {
		t.Fatal("an unknown plugin was accepted")
	}
	mustChange(t, before, `routes 1`)
	if get(before, "h", "/a") != route || get(before, "h", "/b") != nil {
		t.Error("the table has changed")
	}
}
