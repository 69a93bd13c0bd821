// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"context"
	"iter"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lane"
)

// oneRoute is a table with a single route, and one to a node that a lane cannot speak to.
type oneRoute struct{ route, grpc *gateway.Route }

func (t *oneRoute) Match(x *gateway.Exchange, _ gateway.Trace) *gateway.Route {
	switch {
	case strings.HasPrefix(x.Request.Path, "/none"):
		return nil
	case strings.HasPrefix(x.Request.Path, "/grpc"):
		return t.grpc
	}
	return t.route
}
func (t *oneRoute) ReadsBody(*gateway.Exchange) int64                      { return 0 }
func (t *oneRoute) Globals() *gateway.Chain                                { return nil }
func (t *oneRoute) Credential(_, _ string) *gateway.Credential             { return nil }
func (t *oneRoute) Consumer(string) *gateway.Consumer                      { return nil }
func (t *oneRoute) Upstream(string) *gateway.Upstream                      { return nil }
func (t *oneRoute) Metadata(string) any                                    { return nil }
func (t *oneRoute) Object(gateway.Kind, string) (o gateway.Object, _ bool) { return o, false }
func (t *oneRoute) Objects(gateway.Kind) iter.Seq[gateway.Object] {
	return func(func(gateway.Object) bool) {}
}
func (t *oneRoute) Revision() uint64                                          { return 0 }
func (t *oneRoute) With([]gateway.Change) (gateway.Table, error)              { return t, nil }
func (t *oneRoute) Compile(uint64, []gateway.Object) (gateway.Table, []error) { return t, nil }

type emptyStore struct{}

func (emptyStore) Snapshot(context.Context) (uint64, []gateway.Object, error) { return 0, nil, nil }
func (emptyStore) Commit(context.Context, []gateway.Change) (uint64, error)   { return 0, nil }
func (emptyStore) Watch(ctx context.Context, _ uint64) iter.Seq2[[]gateway.Change, error] {
	return func(func([]gateway.Change, error) bool) { <-ctx.Done() }
}
func (emptyStore) Close() error { return nil }

type inOrder []*gateway.Node

func (nodes inOrder) Pick(x *gateway.Exchange) *gateway.Node {
	for _, node := range nodes {
		if !x.Tried(node) {
			return node
		}
	}
	return nil
}

// plan says what a gateway under test does.
type plan struct {
	nodes []string
	chain *gateway.Chain
	// timeout is that of every phase of a node. Zero is five seconds. phases tells them apart.
	timeout time.Duration
	phases  gateway.Timeout
	// keep is the upstream's; zero keeps what a test can need.
	keep gateway.KeepAlive
	// timeouts are the clients'; zero is the default with a short linger.
	timeouts lane.Timeouts
	limits   lane.Limits
	// log is the site's.
	log func(*lane.Record)
	// tune changes the upstream and the settings before they are used; nil is none.
	tune func(*gateway.Upstream, *gateway.Settings)
}

// open makes a gateway with one route to the plan's nodes, which are returned.
func (p *plan) open(t testing.TB) (*gateway.Gateway, []*gateway.Node) {
	t.Helper()
	if p.timeout == 0 {
		p.timeout = 5 * time.Second
	}
	if p.phases == (gateway.Timeout{}) {
		p.phases = gateway.Timeout{Connect: p.timeout, Send: p.timeout, Read: p.timeout}
	}
	if p.keep == (gateway.KeepAlive{}) {
		p.keep = gateway.KeepAlive{Size: 320, IdleTimeout: time.Minute, Requests: 100_000}
	}
	if p.timeouts == (lane.Timeouts{}) {
		p.timeouts = lane.DefaultTimeouts
		p.timeouts.Linger = 1
	}
	if p.limits == (lane.Limits{}) {
		p.limits = lane.DefaultLimits
	}
	var list inOrder
	for _, addr := range p.nodes {
		ap := netip.MustParseAddrPort(addr)
		list = append(list, &gateway.Node{
			Host: ap.Addr().String(), Port: int(ap.Port()), Addr: addr, HostHeader: addr, Weight: 1, State: new(gateway.NodeState),
		})
	}
	upstream := gateway.Upstream{
		Type: "roundrobin", Nodes: list, Balancer: list, Scheme: "http", Retries: len(list) - 1,
		Timeout: p.phases, KeepAlive: p.keep,
	}
	settings := gateway.DefaultSettings()
	if p.tune != nil {
		p.tune(&upstream, settings)
	}
	grpc := upstream
	grpc.Scheme = "grpc"
	table := &oneRoute{
		&gateway.Route{ID: "1", Chain: p.chain, Upstream: &upstream}, &gateway.Route{ID: "2", Upstream: &grpc},
	}
	g, _, err := gateway.Open(context.Background(), emptyStore{}, &gateway.Generation{
		Compiler: table, Settings: settings,
	})
	if err != nil {
		t.Fatal(err)
	}
	return g, list
}

// inFlight returns how many attempts are under way.
func inFlight(nodes []*gateway.Node) (n int64) {
	for _, node := range nodes {
		n += node.State.InFlight.Load()
	}
	return n
}
