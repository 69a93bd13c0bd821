// SPDX-License-Identifier: Apache-2.0

package health_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/table"
)

// TestPassiveOnEveryWire is what requests tell of nodes, whichever wire they come by.
func TestPassiveOnEveryWire(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

// TestSurvivesGenerations has what is known of a node outlive a new generation that compiles everything anew, and writes
// that leave the node; and end with its object.
func TestSurvivesGenerations(t *testing.T) {
	const upstream = `{"nodes":{"127.0.0.1:1":1,%s},"checks":{"active":{"type":"tcp","healthy":{"interval":3600},"unhealthy":{"interval":3600}},` +
		`"passive":{"unhealthy":{"tcp_failures":1}}}}`
	object := func(nodes string) gateway.Object {
		return gateway.Object{Kind: gateway.Upstreams, ID: "1", Value: fmt.Appendf(nil, upstream, nodes)}
	}
	g := gatewaytest.Open(t, object(`"127.0.0.2:1":1`))
	current := func() *gateway.Upstream { return g.Table().Upstream("1") }
	first := current()
	first.Health.Report(first.Nodes[0], 0, gateway.FailedConnect)
	pickable := func(what string, want ...string) {
		t.Helper()
		seen := map[string]bool{}
		for range 20 {
			seen[current().Balancer.Pick(new(gateway.Exchange)).Addr] = true
		}
		if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) {
			t.Errorf("%s: %v are picked, want %v", what, got, want)
		}
	}
	pickable("before", "127.0.0.2:1")
	detach, _, err := g.Attach(&gateway.Generation{Compiler: &table.Compiler{Plugins: gateway.RegisteredPlugins()}, Settings: gateway.DefaultSettings()})
	if err != nil {
		t.Fatal(err)
	}
	pickable("a new generation", "127.0.0.2:1")
	write := func(change gateway.Change) {
		t.Helper()
		if _, err := g.Submit(t.Context(), func(gateway.Tx) ([]gateway.Change, error) { return []gateway.Change{change}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	write(gateway.Change{Object: object(`"127.0.0.2:1":1,"127.0.0.3:1":1`)})
	pickable("another node", "127.0.0.2:1", "127.0.0.3:1")
	detach()
	pickable("the generation before", "127.0.0.2:1", "127.0.0.3:1")
	write(gateway.Change{Object: object(""), Delete: true})
	if first.Nodes[0].State.Unhealthy() {
		t.Error("a node is unhealthy though nothing checks it")
	}
	write(gateway.Change{Object: object(`"127.0.0.2:1":1`)})
	pickable("a new object", "127.0.0.1:1", "127.0.0.2:1")
}
