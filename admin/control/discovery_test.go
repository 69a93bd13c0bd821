// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/store/memory"
	"github.com/andogate/ando/modules/table"
	"github.com/andogate/ando/modules/upstream/discovery"
)

func TestDiscovered(t *testing.T) {
	answers := map[string]string{
		"/v1/health/service/web":     `[{"Node":{"Address":"10.0.0.1"},"Service":{"Port":80}}]`,
		"/nacos/v1/ns/instance/list": `{"hosts":[{"ip":"10.0.0.2","port":80,"weight":1.0}]}`,
		"/api/v1/endpoints": `{"metadata":{"resourceVersion":"1"},"items":[{"metadata":{"namespace":"default","name":"web"},
			"subsets":[{"addresses":[{"ip":"10.0.0.3"}],"ports":[{"name":"http","port":80}]}]}]}`,
	}
	registries := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("watch") {
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, answers[r.URL.Path])
	}))
	defer registries.Close()
	host, port, err := net.SplitHostPort(registries.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	settings, err := discovery.Parse([]byte(fmt.Sprintf(`{"consul":{"servers":[%[1]q],"token":"hidden"},"nacos":{"host":[%[1]q]},
		"kubernetes":[{"id":"a","service":{"schema":"http","host":%[2]q,"port":%[3]q},"client":{"token":"hidden"}}]}`, registries.URL, host, port)))
	if err != nil {
		t.Fatal(err)
	}
	pool := discovery.NewPool(nil)
	defer pool.Close()
	pool.Use(settings)
	g, _, err := gateway.Open(t.Context(), memory.New(), &gateway.Generation{Compiler: &table.Compiler{}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	h, err := New(Config{Gateway: g, Plugins: gateway.Plugins{}, Discovery: pool})
	if err != nil {
		t.Fatal(err)
	}
	pool.Prefetch(t.Context(), discovery.Query{Type: "consul", Name: "web"}, discovery.NewQuery("nacos", "web", nil),
		discovery.NewQuery("nacos", "web", json.RawMessage(`{"namespace_id":"ns","group_name":"g"}`)),
		discovery.Query{Type: "kubernetes", Name: "a/default/web:http"}, discovery.Query{Type: "kubernetes", Name: "a/default/none:http"})
	for path, want := range map[string]string{
		"consul": `{"services":{"web":[{"host":"10.0.0.1","port":80,"weight":1}]}}` + "\n",
		"dns":    `{"services":{}}` + "\n",
		"nacos": `{"services":{"ns":{"g":{"web":[{"host":"10.0.0.2","port":80,"weight":1}]}},` +
			`"public":{"DEFAULT_GROUP":{"web":[{"host":"10.0.0.2","port":80,"weight":1}]}}}}` + "\n",
		"kubernetes": `{"endpoints":[{"id":"a","endpoints":[{"name":"default/none","value":"{\"http\":[]}"},` +
			`{"name":"default/web","value":"{\"http\":[{\"host\":\"10.0.0.3\",\"port\":80,\"weight\":50}]}"}]}]}` + "\n",
		"tars": `{"error_msg":"unknown discovery type tars"}` + "\n",
	} {
		if got := call(t, h, "GET", "/v1/discovery/"+path+"/dump").Body.String(); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}
