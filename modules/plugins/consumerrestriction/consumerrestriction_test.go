// SPDX-License-Identifier: Apache-2.0

package consumerrestriction

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestStatus(t *testing.T) {
	for code, want := range map[int]bool{200: true, 403: true, 999: true, 1000: false} {
		config := fmt.Sprintf(`{"type":"consumer_name","blacklist":["a"],"rejected_code":%d}`, code)
		if _, err := compile(gateway.Env{}, json.RawMessage(config)); (err == nil) != want {
			t.Errorf("%d: %v", code, err)
		}
	}
}

// restrict returns a config with 10 000 consumers on its lists, and an exchange of one of them.
func restrict(tb testing.TB) (*restriction, *gateway.Exchange) {
	tb.Helper()
	lists := map[string]any{"type": "consumer_name", "rejected_code": 403}
	var white, black []string
	for i := range 10_000 {
		white, black = append(white, fmt.Sprintf("w%d", i)), append(black, fmt.Sprintf("b%d", i))
	}
	lists["whitelist"], lists["blacklist"] = white, black
	raw, err := json.Marshal(lists)
	if err != nil {
		tb.Fatal(err)
	}
	r, err := compile(gateway.Env{}, raw)
	if err != nil {
		tb.Fatal(err)
	}
	return r.(*restriction), &gateway.Exchange{Consumer: &gateway.Consumer{Name: "w5000"}}
}

func TestAllocs(t *testing.T) {
	r, x := restrict(t)
	for name, want := range map[string]gateway.Verdict{"w1": gateway.Continue, "b1": gateway.Exit, "": gateway.Exit} {
		x.Consumer.Name = name
		if n := testing.AllocsPerRun(100, func() {
			if got := r.Access(x); got != want {
				t.Errorf("%q: got %v", name, got)
			}
		}); n != 0 {
			t.Errorf("%q: %v allocations, want 0", name, n)
		}
	}
}

func BenchmarkAccess(b *testing.B) {
	r, x := restrict(b)
	b.ReportAllocs()
	for b.Loop() {
		r.Access(x)
	}
}
