// SPDX-License-Identifier: Apache-2.0

package trafficlabel

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"rules":[{"actions":[{"set_headers":{"X":"1","Y":2},"weight":3},{"weight":1},{}]}]}`, ""},
		{`{"rules":[{"match":["OR",["arg_a","==","1"],["arg_b","==","1"]],"actions":[{"set_headers":{"X":"1"}}]}]}`, ""},
		{`{}`, `property "rules" is required`},
		{`{"rules":[{}]}`, `property "rules" validation failed: failed to validate item 1: property "actions" is required`},
		{`{"rules":[{"match":[["arg_a","xx","1"]],"actions":[{}]}]}`, `failed to validate the 'match' expression: [["arg_a","xx","1"]] err: invalid operator 'xx'`},
		{`{"rules":[{"actions":[{"set_cookies":{}}]}]}`, "not supported action: set_cookies"},
		{`{"rules":[{"actions":[{"set_headers":{"a b":"c"}}]}]}`, "failed to validate the 'set_headers' action: invalid field character in header"},
		{`{"rules":[{"actions":[{"set_headers":{"a":true}}]}]}`, "failed to validate the 'set_headers' action: invalid type as header value"},
		{`{"rules":[{"actions":[{"weight":0}]}]}`, `property "rules" validation failed: failed to validate item 1: property "actions" validation failed: failed to validate item 1: property "weight" validation failed: expected 0 to be at least 1`},
	})
}

// TestWheel counts turns: every round is exact, and nobody waits longer than the weights make him.
func TestWheel(t *testing.T) {
	for _, weights := range [][]int{{1}, {1, 1}, {3, 2}, {1, 2, 3}, {10, 10, 10}, {1, 99}, {7, 7, 1, 3}, {1 << 40, 3 << 40}} {
		w := newWheel(weights)
		if w.rim > 1000 {
			t.Fatalf("%v: a round has %d turns", weights, w.rim)
		}
		for range 3 {
			got := make([]int, len(weights))
			for range w.rim {
				got[w.next()]++
			}
			want := slices.Clone(weights)
			for i := range want {
				want[i] = int(uint64(want[i]) * w.rim / uint64(sum(weights)))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v: got %v, want %v", weights, got, want)
			}
		}
	}
	// 2^63 is 25 modulo 2^63-25.
	if got, want := mulMod(1<<63, 3, 1<<63-25), uint64(75); got != want {
		t.Errorf("got %d, want %d", got, want)
	}
}

func sum(weights []int) (all int) {
	for _, weight := range weights {
		all += weight
	}
	return all
}

func TestAllocs(t *testing.T) {
	x := plugintest.Open(t, `{"traffic-label":{"rules":[{"match":[["arg_a","==","1"]],"actions":[{}]},{"actions":[{"set_headers":{"X":"1"}},{"set_headers":{"X":"$host"}}]}]},"test-end":{}}`)
	x.WantAllocs(t, gateway.StepReply, 0, nil)
}

// end answers what reaches it, since forwarding allocates on its own.
type end struct{}

func (end) Access(x *gateway.Exchange) gateway.Verdict { return x.Exit(204, nil) }

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: "test-end", Schema: json.RawMessage(`{"type":"object"}`), New: func(gateway.Env, json.RawMessage) (any, error) { return end{}, nil },
	})
}

func BenchmarkTrafficLabel(b *testing.B) {
	x := plugintest.Open(b, `{"traffic-label":{"rules":[{"match":[["arg_a","==","1"]],"actions":[{}]},{"actions":[{"set_headers":{"X":"1"}},{"set_headers":{"X":"2"}}]}]},"test-end":{}}`)
	x.Bench(b, nil)
}
