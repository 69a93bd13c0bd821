// SPDX-License-Identifier: Apache-2.0

// Package benchmark measures what Ando promises of a whole gateway: bolt store, committer, table, Admin API and data
// plane, over real connections. README.md says how to run each and what it means. Nothing here fails for being slow.
package benchmark

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/andogate/ando/admin"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/nethttp"
	_ "github.com/andogate/ando/modules/plugins/standard"
	"github.com/andogate/ando/modules/store/bolt"
	"github.com/andogate/ando/modules/table"
)

// storedRoutes is how many routes there are before anything is measured.
const storedRoutes = 10_000

// storedRoute is one of ten routes of a host, as the Admin API stores it.
func storedRoute(i int) gateway.Object {
	value := fmt.Sprintf(`{"uri":"/api/v%d/service-%d/*","hosts":["tenant-%d.example.com"],"methods":["GET","POST"],`+
		`"upstream":{"type":"roundrobin","nodes":{"10.0.%d.%d:8080":1}},"plugins":{"key-auth":{}},`+
		`"id":"route-%d","create_time":1700000000,"update_time":1700000000}`,
		i%3, i%10, i/10, i/250%250, i%250, i)
	rev := uint64(i + 1)
	return gateway.Object{
		Kind: gateway.Routes, ID: fmt.Sprint("route-", i), Value: json.RawMessage(value), Created: rev, Modified: rev,
	}
}

// fill makes a store file of n routes.
func fill(tb testing.TB, n int) (path string) {
	tb.Helper()
	path = filepath.Join(tb.TempDir(), "store.db")
	store, err := bolt.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	changes := make([]gateway.Change, n)
	for i := range changes {
		changes[i].Object = storedRoute(i)
	}
	for batch := range slices.Chunk(changes, 256) {
		if _, err := store.Commit(context.Background(), batch); err != nil {
			tb.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		tb.Fatal(err)
	}
	return path
}

// timed notes how long the commits of a store take.
type timed struct {
	gateway.Store
	mu   sync.Mutex
	took []time.Duration
}

func (t *timed) Commit(ctx context.Context, changes []gateway.Change) (uint64, error) {
	began := time.Now()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.took = append(t.took, time.Since(began))
	}()
	return t.Store.Commit(ctx, changes)
}

// commits returns what was noted since the last call.
func (t *timed) commits() []time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	took := t.took
	t.took = nil
	return took
}

// rig is a gateway that serves, with one node behind it.
type rig struct {
	gateway *gateway.Gateway
	store   *timed
	// admin, plane and node are the addresses of the Admin API, the data plane and the node, such as "127.0.0.1:1234".
	admin, plane, node string
	client             *http.Client
}

// open starts a gateway on the store at path.
func open(tb testing.TB, path string) (*gateway.Gateway, *timed) {
	tb.Helper()
	opened, err := bolt.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	store := &timed{Store: opened}
	g, faults, err := gateway.Open(context.Background(), store, &gateway.Generation{
		Compiler: &table.Compiler{Plugins: gateway.RegisteredPlugins()}, Settings: gateway.DefaultSettings(),
	})
	if err != nil || len(faults) > 0 {
		tb.Fatal(err, faults)
	}
	return g, store
}

// serve starts the data plane of g and returns its address.
func serve(tb testing.TB, g *gateway.Gateway) (address string, shut func()) {
	tb.Helper()
	plane := httptest.NewUnstartedServer(nethttp.New(nethttp.Config{Gateway: g}))
	plane.Config.ConnContext = nethttp.ConnContext
	plane.Start()
	return plane.Listener.Addr().String(), plane.Close
}

func newRig(tb testing.TB) *rig {
	tb.Helper()
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	tb.Cleanup(node.Close)
	r := &rig{node: node.Listener.Addr().String()}
	r.gateway, r.store = open(tb, fill(tb, storedRoutes))
	tb.Cleanup(func() { _ = r.gateway.Close() })

	plugins := gateway.RegisteredPlugins()
	handler, err := admin.New(admin.Config{
		Gateway: r.gateway, Checker: &table.Compiler{Plugins: plugins}, Plugins: plugins,
	})
	if err != nil {
		tb.Fatal(err)
	}
	api := httptest.NewServer(handler)
	tb.Cleanup(api.Close)
	r.admin = api.Listener.Addr().String()
	var shut func()
	r.plane, shut = serve(tb, r.gateway)
	tb.Cleanup(shut)

	transport := &http.Transport{MaxIdleConnsPerHost: 128}
	tb.Cleanup(transport.CloseIdleConnections)
	r.client = &http.Client{Transport: transport}
	return r
}

// put replaces a route through the Admin API, with one that forwards path to the node.
func (r *rig) put(id, path string) error {
	body := fmt.Sprintf(`{"uri":%q,"upstream":{"type":"roundrobin","nodes":{%q:1}}}`, path, r.node)
	req, err := http.NewRequest("PUT", "http://"+r.admin+"/apisix/admin/routes/"+id, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	status, answer, err := r.do(req)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("PUT of %s: %d %s", id, status, answer)
	}
	return err
}

// get asks the data plane for path. served says that the node answered.
func (r *rig) get(path string) (served bool, err error) {
	req, err := http.NewRequest("GET", "http://"+r.plane+path, nil)
	if err != nil {
		return false, err
	}
	status, answer, err := r.do(req)
	return status == 200 && answer == path, err
}

func (r *rig) do(req *http.Request) (status int, body string, err error) {
	resp, err := r.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// report adds percentiles of what was measured to the benchmark's line.
func report(b *testing.B, name string, took []time.Duration) {
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	at := func(share float64) float64 {
		return took[int(share*float64(len(took)-1))].Seconds() * 1e3
	}
	b.ReportMetric(at(0.50), name+"p50-ms")
	b.ReportMetric(at(0.99), name+"p99-ms")
	b.ReportMetric(at(1), name+"max-ms")
}
