// SPDX-License-Identifier: Apache-2.0

package table

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/store/memory"
	"github.com/andogate/ando/modules/upstream/discovery"
)

// registry is a Consul with one answer for every service: instances at these addresses. An odd address is none.
type registry struct {
	*testing.T
	gateway   *gateway.Gateway
	discovery *Discovery
	// published gets a value for each table.
	published chan struct{}

	mu      sync.Mutex
	index   int
	hosts   []string
	down    bool
	changed chan struct{}
	failed  chan struct{}
}

func newRegistry(t *testing.T, hosts []string, objects ...gateway.Object) *registry {
	t.Helper()
	r := &registry{
		T: t, index: 1, hosts: hosts, changed: make(chan struct{}), failed: make(chan struct{}, 1), published: make(chan struct{}, 100),
	}
	server := httptest.NewServer(r)
	settings, err := discovery.Parse([]byte(fmt.Sprintf(`{"consul":{"servers":[%q]}}`, server.URL)))
	if err != nil {
		t.Fatal(err)
	}
	pool := discovery.NewPool(nil)
	pool.Use(settings)
	for i := range objects {
		objects[i].Created, objects[i].Modified = uint64(i+1), uint64(i+1)
	}
	compiler := &Compiler{Plugins: toyPlugins(), Discovery: pool}
	g, faults, err := gateway.Open(context.Background(), memory.New(objects...), &gateway.Generation{Compiler: compiler})
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	r.gateway, r.discovery = g, &Discovery{Gateway: g, Pool: pool, Log: zap.NewNop}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		stop()
		running.Wait()
		pool.Close()
		g.Close()
		r.set(true)
		server.Close()
	})
	if err := g.OnTable(r.discovery.Follow); err != nil {
		t.Fatal(err)
	}
	r.discovery.Settle(ctx)
	if err := g.OnTable(func(gateway.Table) { r.published <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	running.Go(func() { r.discovery.Run(ctx) })
	return r
}

func (r *registry) set(down bool, hosts ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down, r.hosts = down, hosts
	r.index++
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	after, _ := strconv.Atoi(q.URL.Query().Get("index"))
	r.mu.Lock()
	for r.index == after && !r.down {
		changed := r.changed
		r.mu.Unlock()
		select {
		case <-changed:
		case <-q.Context().Done():
			return
		}
		r.mu.Lock()
	}
	defer r.mu.Unlock()
	if r.down {
		w.WriteHeader(http.StatusInternalServerError)
		select {
		case r.failed <- struct{}{}:
		default:
		}
		return
	}
	w.Header().Set("X-Consul-Index", strconv.Itoa(r.index))
	var found []any
	for _, host := range r.hosts {
		found = append(found, map[string]any{"Node": map[string]any{"Address": host}, "Service": map[string]any{"Port": 80}})
	}
	_ = json.NewEncoder(w).Encode(found)
}

// upstream returns the upstream that a request gets for a path.
func (r *registry) upstream(path string) *gateway.Upstream {
	r.Helper()
	x := new(gateway.Exchange)
	x.Request.Method, x.Request.Path, x.Request.EscapedPath, x.Request.Host = "GET", path, path, "h"
	r.gateway.Begin(x, nil)
	route := r.gateway.Table().Match(x, nil)
	if route == nil {
		r.Fatal(path, " has no route")
	}
	if route.UpstreamID != "" {
		return r.gateway.Table().Upstream(route.UpstreamID)
	}
	return route.Upstream
}

func addresses(u *gateway.Upstream) (addrs []string) {
	for _, node := range u.Nodes {
		addrs = append(addrs, node.Addr)
	}
	return addrs
}

// await waits until the upstream of a path has just these nodes.
func (r *registry) await(path string, addrs ...string) *gateway.Upstream {
	r.Helper()
	for {
		u := r.upstream(path)
		if slices.Equal(addresses(u), addrs) {
			return u
		}
		select {
		case <-r.published:
		case <-time.After(time.Minute):
			r.Fatalf("%s: got %v, want %v", path, addresses(u), addrs)
		}
	}
}

func stored(kind gateway.Kind, id, value string) gateway.Object {
	return gateway.Object{Kind: kind, ID: id, Value: json.RawMessage(value)}
}

const found = `{"service_name":"web","discovery_type":"consul","type":"least_conn","checks":{"active":{"type":"http"}}}`

func TestNodesOfServiceFollowRegistry(t *testing.T) {
	r := newRegistry(t, []string{"10.0.0.1", "10.0.0.2"},
		stored(gateway.Upstreams, "u", found),
		stored(gateway.Services, "s", `{"upstream":`+found+`}`),
		stored(gateway.Routes, "1", `{"uri":"/shared","upstream_id":"u"}`),
		stored(gateway.Routes, "2", `{"uri":"/service","service_id":"s"}`),
		stored(gateway.Routes, "3", `{"uri":"/inline","upstream":`+found+`}`),
		stored(gateway.Routes, "4", `{"uri":"/still","upstream":{"nodes":{"10.0.0.9:80":1}}}`),
	)
	still := r.upstream("/still")
	for _, path := range []string{"/shared", "/service", "/inline"} {
		u := r.await(path, "10.0.0.1:80", "10.0.0.2:80")
		if u.Fault != 0 || u.Balancer == nil || u.Health == nil {
			t.Errorf("%s: %+v", path, u)
		}
	}
	before := r.upstream("/inline")
	stays := before.Nodes[1]
	stays.State.InFlight.Add(3)
	stays.State.Health.Store(1)

	// One leaves, one stays, one comes.
	r.set(false, "10.0.0.2", "10.0.0.3")
	for _, path := range []string{"/shared", "/service", "/inline"} {
		r.await(path, "10.0.0.2:80", "10.0.0.3:80")
	}
	after := r.upstream("/inline")
	if after.Nodes[0] != stays || stays.State.InFlight.Load() != 3 || !stays.State.Unhealthy() {
		t.Error("a node that stays lost what is known of it")
	}
	if after.Nodes[1].State.Unhealthy() {
		t.Error("a new node is unhealthy")
	}
	for range 20 {
		x := new(gateway.Exchange)
		if node := after.Balancer.Pick(x); node == nil || node.Addr == "10.0.0.1:80" {
			t.Fatalf("picked %v after it has left", node)
		}
	}
	if r.upstream("/still") != still {
		t.Error("another route's upstream was compiled again")
	}

	// The registry's failure changes nothing, not even for what is compiled meanwhile.
	r.set(true)
	select {
	case <-r.failed:
	case <-time.After(time.Minute):
		t.Fatal("the registry was not asked again")
	}
	submit(t, r.gateway, stored(gateway.Routes, "3", `{"uri":"/inline","upstream":`+strings.Replace(found, "least_conn", "roundrobin", 1)+`}`))
	u := r.upstream("/inline")
	if got := addresses(u); len(got) != 2 || u.Type != "roundrobin" || u.Nodes[0].State != stays.State {
		t.Errorf("while the registry is down: %v, %s", got, u.Type)
	}

	// That there are no nodes is an answer.
	r.set(false)
	if u := r.await("/inline"); u.Fault != 503 || !strings.Contains(u.FaultReason, "has no nodes") {
		t.Errorf("got %d %s", u.Fault, u.FaultReason)
	}
	r.set(false, "10.0.0.2")
	if u := r.await("/shared", "10.0.0.2:80"); u.Fault != 0 {
		t.Errorf("got %d %s", u.Fault, u.FaultReason)
	}
}

func submit(t *testing.T, g *gateway.Gateway, o gateway.Object) {
	t.Helper()
	if _, err := g.Submit(context.Background(), func(gateway.Tx) ([]gateway.Change, error) {
		return []gateway.Change{{Object: o}}, nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestNodesGivenByName are at the addresses of their names, and keep the names for the Host field.
func TestNodesGivenByName(t *testing.T) {
	r := newRegistry(t, []string{"localhost"},
		stored(gateway.Upstreams, "u", `{"nodes":{"localhost:8080":3,"10.0.0.1":1,"missing.invalid":1},"pass_host":"node"}`),
		stored(gateway.Routes, "1", `{"uri":"/","upstream_id":"u"}`),
		stored(gateway.Routes, "2", `{"uri":"/none","upstream":{"nodes":{"missing.invalid":1}}}`),
		stored(gateway.Routes, "3", `{"uri":"/service","upstream":`+found+`}`),
	)
	u := r.await("/", "127.0.0.1:8080", "10.0.0.1:80")
	if n := u.Nodes[0]; n.HostHeader != "localhost:8080" || n.Host != "127.0.0.1" || n.Weight != 3 || n.HostName() != "localhost" {
		t.Errorf("got %+v", n)
	}
	if n := u.Nodes[1]; n.HostHeader != "10.0.0.1" || n.HostName() != "10.0.0.1" {
		t.Errorf("got %+v", n)
	}
	if u := r.await("/none"); u.Fault != 503 || !strings.Contains(u.FaultReason, "no valid upstream node") {
		t.Errorf("got %d %s", u.Fault, u.FaultReason)
	}
	// Registries have names, too.
	r.await("/service", "127.0.0.1:80")
}

func TestWriteAsksFirst(t *testing.T) {
	r := newRegistry(t, []string{"10.0.0.1"})
	route := stored(gateway.Routes, "1", `{"uri":"/","upstream":`+found+`}`)
	r.discovery.Prefetch(context.Background(), route.Value)
	submit(t, r.gateway, route)
	if got := addresses(r.upstream("/")); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	_, err := r.gateway.Submit(context.Background(), func(gateway.Tx) ([]gateway.Change, error) {
		return []gateway.Change{{Object: stored(gateway.Upstreams, "1", `{"service_name":"a","discovery_type":"zookeeper"}`)}}, nil
	})
	if err == nil || !strings.Contains(err.Error(), `"zookeeper" is not one of`) {
		t.Errorf("got %v", err)
	}
}

// BenchmarkPassOverDiscovered is what each change of one service costs with 1000 upstreams that have others.
func BenchmarkPassOverDiscovered(b *testing.B) {
	pool := discovery.NewPool(nil)
	defer pool.Close()
	var objects []gateway.Object
	for i := range 1000 {
		o := stored(gateway.Upstreams, fmt.Sprint(i), fmt.Sprintf(`{"service_name":"s%d","discovery_type":"dns"}`, i))
		o.Created, o.Modified = uint64(i+1), uint64(i+1)
		objects = append(objects, o)
	}
	g, _, err := gateway.Open(context.Background(), memory.New(objects...), &gateway.Generation{Compiler: &Compiler{Discovery: pool}})
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	d := &Discovery{Gateway: g, Pool: pool, Log: zap.NewNop}
	for b.Loop() {
		d.Pass(context.Background())
	}
}
