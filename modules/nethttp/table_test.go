// SPDX-License-Identifier: Apache-2.0

package nethttp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/nethttp"
	"github.com/andogate/ando/modules/store/memory"
	"github.com/andogate/ando/modules/table"
)

// TestChangesKeepConnections: a write is served by the next request, and the connections on both sides of the gateway
// outlive it.
func TestChangesKeepConnections(t *testing.T) {
	var toNode, toGateway atomic.Int64
	count := func(n *atomic.Int64) func(net.Conn, http.ConnState) {
		return func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				n.Add(1)
			}
		}
	}
	node := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	node.Config.ConnState = count(&toNode)
	node.Start()
	defer node.Close()

	compiler := &table.Compiler{Log: zap.NewNop}
	g, faults, err := gateway.Open(context.Background(), memory.New(), &gateway.Generation{Compiler: compiler})
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	defer func() { _ = g.Close() }()
	transports := new(nethttp.Transports)
	defer transports.Close()
	front := httptest.NewUnstartedServer(nethttp.New(nethttp.Config{Gateway: g, Transports: transports}))
	front.Config.ConnContext = nethttp.ConnContext
	front.Config.ConnState = count(&toGateway)
	front.Start()
	defer front.Close()

	put := func(kind gateway.Kind, id, value string) {
		t.Helper()
		_, err := g.Submit(context.Background(), func(gateway.Tx) ([]gateway.Change, error) {
			return []gateway.Change{{Object: gateway.Object{Kind: kind, ID: id, Value: json.RawMessage(value)}}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	get := func(path string, status int) {
		t.Helper()
		response, err := front.Client().Get(front.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(response.Body)
		if response.StatusCode != status || status == 200 && string(body) != path {
			t.Fatalf("%s: %d %q, want %d", path, response.StatusCode, body, status)
		}
	}

	get("/a", 404)
	put(gateway.Upstreams, "u", fmt.Sprintf(`{"id":"u","nodes":{%q:1}}`, node.Listener.Addr()))
	put(gateway.Routes, "1", `{"id":"1","uri":"/a","upstream_id":"u"}`)
	get("/a", 200)
	inFlight := func() *gateway.NodeState { return g.Table().Upstream("u").Nodes[0].State }
	state := inFlight()
	for i := range 20 {
		path := fmt.Sprintf("/new%d", i)
		get(path, 404)
		put(gateway.Routes, "2", fmt.Sprintf(`{"id":"2","uri":%q,"upstream_id":"u"}`, path))
		get(path, 200)
		put(gateway.Upstreams, "u", fmt.Sprintf(`{"id":"u","nodes":{%q:%d}}`, node.Listener.Addr(), i+2))
		get("/a", 200)
	}
	if inFlight() != state {
		t.Error("the node's state did not survive a change of its weight")
	}
	if n := toNode.Load(); n != 1 {
		t.Errorf("%d connections to the node, want 1", n)
	}
	if n := toGateway.Load(); n != 1 {
		t.Errorf("%d connections to the gateway, want 1", n)
	}
}
