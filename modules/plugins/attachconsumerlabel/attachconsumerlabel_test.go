// SPDX-License-Identifier: Apache-2.0

package attachconsumerlabel

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"X-Role": true, "X_Role": true, "": false, "X Role": false, "X-Role:": false, "X\r\nY": false, "host": false, "content-length": false,
	} {
		config, err := json.Marshal(map[string]any{"headers": map[string]string{name: "$role"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := compile(gateway.Env{}, config); (err == nil) != want {
			t.Errorf("%q: got %v, want it accepted: %v", name, err, want)
		}
	}
}

// attach returns a config and a function that runs it once on a request with a field of the client's.
func attach(tb testing.TB) func() *gateway.Exchange {
	tb.Helper()
	l, err := compile(gateway.Env{}, json.RawMessage(`{"headers":{"X-Role":"$role","X-Dept":"$dept"}}`))
	if err != nil {
		tb.Fatal(err)
	}
	x := &gateway.Exchange{Consumer: &gateway.Consumer{Labels: map[string]string{"role": "admin"}}}
	return func() *gateway.Exchange {
		x.Request.Header.Reset()
		x.Request.Header.Add("x_dept", "forged")
		l.(labels).BeforeProxy(x)
		return x
	}
}

func TestAllocs(t *testing.T) {
	once := attach(t)
	if h := &once().Request.Header; h.Len() != 1 || h.Get("X-Role") != "admin" {
		t.Errorf("got %d fields, X-Role %q", h.Len(), h.Get("X-Role"))
	}
	if n := testing.AllocsPerRun(100, func() { once() }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkBeforeProxy(b *testing.B) {
	once := attach(b)
	b.ReportAllocs()
	for b.Loop() {
		once()
	}
}
