// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// The nodes of a service are known from the answer to the write on, and stay known over a reload while the registry is
// down.
func TestServiceInConsul(t *testing.T) {
	up := node(t, "up")
	host, port, err := net.SplitHostPort(up)
	if err != nil {
		t.Fatal(err)
	}
	var down atomic.Bool
	consul := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if r.URL.Query().Has("index") {
			<-r.Context().Done()
			return
		}
		w.Header().Set("X-Consul-Index", "5")
		if strings.HasSuffix(r.URL.Path, "/web") {
			fmt.Fprintf(w, `[{"Node":{"Address":%q},"Service":{"Port":%s}}]`, host, port)
			return
		}
		fmt.Fprint(w, `[]`)
	}))
	t.Cleanup(consul.Close)
	// It is cleaned up first, and with it whatever waits for the registry.
	s := newSite(t)
	settings := fmt.Sprintf(`, "discovery": {"consul": {"servers": [%q]}}`, consul.URL)
	s.mustLoad(gatewayHandler, settings)
	const route = `{"uri":"/%s/*","upstream":{"service_name":%q,"discovery_type":"consul"}}`
	for _, name := range []string{"web", "none"} {
		if answer := s.do("PUT", s.admin, "/apisix/admin/routes/"+name, fmt.Sprintf(route, name, name)); !strings.HasPrefix(answer, "20") {
			t.Fatal(answer)
		}
	}
	if answer := s.do("PUT", s.admin, "/apisix/admin/routes/split", `{"uri":"/split/*","plugins":{"traffic-split":{"rules":[
		{"weighted_upstreams":[{"upstream":{"service_name":"web","discovery_type":"consul"}}]}]}},"upstream":{"nodes":{"127.0.0.1:1":1}}}`); !strings.HasPrefix(answer, "20") {
		t.Fatal(answer)
	}
	s.expect(s.get(s.port, "/web/a"), "200 up /web/a ")
	s.expect(s.get(s.port, "/split/a"), "200 up /split/a ")
	if got := s.get(s.port, "/none/a"); !strings.HasPrefix(got, "503") {
		t.Errorf("a service without nodes: %s", got)
	}
	if answer := s.do("PUT", s.admin, "/apisix/admin/routes/zoo",
		`{"uri":"/zoo","upstream":{"service_name":"a","discovery_type":"zookeeper"}}`); !strings.HasPrefix(answer, "400") {
		t.Errorf("an unknown registry: %s", answer)
	}

	down.Store(true)
	s.mustLoad(gatewayHandler, settings+`, "router": "radixtree_uri"`)
	s.expect(s.get(s.port, "/web/a"), "200 up /web/a ")
	other := strings.Replace(settings, `"]`, `"],"fetch_interval":1`, 1)
	s.mustLoad(gatewayHandler, other)
	s.expect(s.get(s.port, "/web/a"), "200 up /web/a ")

	// After a restart the nodes are there as soon as requests are.
	down.Store(false)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	s.mustLoad(gatewayHandler, settings)
	s.expect(s.get(s.port, "/web/a"), "200 up /web/a ")
	s.expect(s.get(s.port, "/split/a"), "200 up /split/a ")
}

// A node given by name is dialled at its address, and a config's own objects have theirs when it is loaded.
func TestNodeGivenByName(t *testing.T) {
	s := newSite(t)
	_, port, err := net.SplitHostPort(node(t, "up"))
	if err != nil {
		t.Fatal(err)
	}
	s.mustLoad(gatewayHandler, fmt.Sprintf(`, "objects": [{"kind":"routes","id":"1","value":{"uri":"/*","upstream":{"nodes":{"localhost:%s":1}}}}]`, port))
	s.expect(s.get(s.port, "/a"), "200 up /a ")
	if err := s.load(gatewayHandler, `, "discovery": {"zookeeper": {}}`, ""); err == nil || !strings.Contains(err.Error(), `"zookeeper" is not one of`) {
		t.Errorf("got %v", err)
	}
}
