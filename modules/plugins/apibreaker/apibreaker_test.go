// SPDX-License-Identifier: Apache-2.0

package apibreaker

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/limit"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

// TestCases begins each wire anew: what is counted belongs to the process.
func TestCases(t *testing.T) {
	for _, wire := range gatewaytest.Wires() {
		circuits = limit.Table[circuit]{}
		gatewaytest.RunOn(t, os.DirFS("testdata"), wire)
	}
}

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{Text: `{"break_response_code":502}`},
		{Text: `{}`, Want: `property "break_response_code" is required`},
		{Text: `{"break_response_code":199}`, Want: `property "break_response_code" validation failed: expected 199 to be at least 200`},
		{Text: `{"break_response_code":502,"max_breaker_sec":2}`, Want: `property "max_breaker_sec" validation failed: expected 2 to be at least 3`},
		{
			Text: `{"break_response_code":502,"healthy":{"http_statuses":[500]}}`,
			Want: `property "healthy" validation failed: property "http_statuses" validation failed: fai`,
		},
	})
}

// twin keeps all responses since all was well.
type twin struct {
	failures, successes int
	longest             time.Duration
	bad, good           int
	opened              time.Time
}

func (w *twin) isOpen(now time.Time) bool {
	if w.opened.IsZero() {
		return false
	}
	n := w.bad / w.failures
	if w.bad%w.failures > 0 {
		n++
	}
	open := 2 * time.Second
	for range n - 1 {
		open = min(2*open, w.longest)
	}
	return now.Before(w.opened.Add(min(open, w.longest)))
}

func (w *twin) see(status int, now time.Time) {
	switch {
	case status >= 500:
		w.bad++
		w.good = 0
		if w.bad%w.failures == 0 {
			w.opened = now
		}
	case status == 200 && w.bad > 0:
		if w.good++; w.good == w.successes {
			w.bad, w.good, w.opened = 0, 0, time.Time{}
		}
	}
}

// TestModel: exactly those requests are answered in the node's place that a naive twin answers.
func TestModel(t *testing.T) {
	for seed := range uint64(20) {
		w := &twin{failures: 1 + int(seed%4), successes: 1 + int(seed%3), longest: time.Duration(3+seed*2) * time.Second}
		instance, err := plugintest.Compile(t, name, fmt.Sprintf(
			`{"break_response_code":599,"max_breaker_sec":%d,"unhealthy":{"http_statuses":[500,502],"failures":%d},"healthy":{"successes":%d}}`,
			int(w.longest.Seconds()), w.failures, w.successes))
		if err != nil {
			t.Fatal(err)
		}
		b := instance.(*apiBreaker)
		random := rand.New(rand.NewPCG(seed, 17))
		now := time.Unix(1_700_000_000, 0)
		x := new(gateway.Exchange)
		x.Request.Host, x.Request.Path = "model", fmt.Sprint("/", seed)
		opened := 0
		for i := range 3000 {
			now = now.Add(time.Duration(random.Int64N(int64(900 * time.Millisecond))))
			x.Start = now
			want := gateway.Continue
			if w.isOpen(now) {
				want = gateway.Exit
				opened++
			}
			if got := b.Access(x); got != want {
				t.Fatalf("seed %d: request %d: got %v, want %v after %+v", seed, i, got, want, w)
			}
			// What was under way when the circuit opened still answers.
			if want == gateway.Exit && random.IntN(10) > 0 {
				continue
			}
			status := []int{200, 200, 404, 500, 502}[random.IntN(5)]
			w.see(status, now)
			b.observe(key(x), status, limit.Now(x))
		}
		if opened == 0 {
			t.Errorf("seed %d: the circuit never opened: the model shows nothing", seed)
		}
	}
}

func TestAllocs(t *testing.T) {
	x := plugintest.Open(t, `{"api-breaker":{"break_response_code":503,"break_response_body":"later"}}`)
	path := func(path string) func(x *gateway.Exchange) {
		return func(x *gateway.Exchange) { x.Request.Path = path }
	}
	x.WantAllocs(t, gateway.StepForward, 0, path("/well"))
	instance, err := plugintest.Compile(t, name, `{"break_response_code":503}`)
	if err != nil {
		t.Fatal(err)
	}
	open := new(gateway.Exchange)
	open.Request.Host, open.Request.Path = "h", "/open"
	for range 30 {
		instance.(*apiBreaker).observe(key(open), 500, limit.Clock())
	}
	x.WantAllocs(t, gateway.StepReply, 0, path("/open"))
}

func BenchmarkAPIBreaker(b *testing.B) {
	x := plugintest.Open(b, `{"api-breaker":{"break_response_code":503}}`)
	x.Bench(b, nil)
}
