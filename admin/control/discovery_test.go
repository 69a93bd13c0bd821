// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/store/memory"
	"github.com/andogate/ando/modules/table"
	"github.com/andogate/ando/modules/upstream/discovery"
)

func TestDiscovered(t *testing.T) {
	consul := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `[{"Node":{"Address":"10.0.0.1"},"Service":{"Port":80}}]`)
	}))
	defer consul.Close()
	settings, err := discovery.Parse([]byte(fmt.Sprintf(`{"consul":{"servers":[%q],"token":"hidden"}}`, consul.URL)))
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
	pool.Prefetch(t.Context(), discovery.Query{Type: "consul", Name: "web"})
	for path, want := range map[string]string{
		"consul": `{"services":{"web":[{"host":"10.0.0.1","port":80,"weight":1}]}}` + "\n",
		"dns":    `{"services":{}}` + "\n",
		"tars":   `{"error_msg":"unknown discovery type tars"}` + "\n",
	} {
		if got := call(t, h, "GET", "/v1/discovery/"+path+"/dump").Body.String(); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}
