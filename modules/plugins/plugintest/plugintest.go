// SPDX-License-Identifier: Apache-2.0

// Package plugintest is what the tests of plugins have in common. Behaviour belongs in case files, see gatewaytest; here is
// what they cannot say: which configs are refused, and what a request costs.
package plugintest

import (
	"encoding/json"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
)

// Config is a config and the beginning of the text that refuses it; without one it is to be accepted.
type Config = struct{ Text, Want string }

// Check holds a plugin to what becomes of configs on their way in: the schema first, then New.
func Check(t *testing.T, plugin string, configs []Config) {
	t.Helper()
	for _, c := range configs {
		got := ""
		if _, err := Compile(t, plugin, c.Text); err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.Want) || c.Want == "" && got != "" {
			t.Errorf("%s: got %q, want %q", c.Text, got, c.Want)
		}
	}
}

// Compile returns what New makes of a config with its defaults filled in.
func Compile(t testing.TB, plugin, config string) (any, error) {
	t.Helper()
	p := gateway.RegisteredPlugins()[plugin]
	if p == nil {
		t.Fatalf("%s is not registered", plugin)
	}
	value, err := schema.Decode([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	rules := schema.ForPlugin(p).Config
	if err := rules.Validate(value); err != nil {
		return nil, err
	}
	filled, err := json.Marshal(rules.Fill(value))
	if err != nil {
		t.Fatal(err)
	}
	return p.New(gateway.Env{Owner: "/apisix/routes/1", Log: zap.NewNop}, filled)
}

// Exchange takes exchanges through the hooks of one route up to where they would be forwarded, or to the head of the
// gateway's own response.
type Exchange struct {
	gateway.Exchange
	gateway *gateway.Gateway
}

// Open returns an Exchange for a route with these plugins, given as a JSON object, whose node nobody ever asks.
func Open(t testing.TB, plugins string) *Exchange {
	t.Helper()
	return &Exchange{gateway: gatewaytest.Open(t, gateway.Object{
		Kind: gateway.Routes, ID: "1",
		Value: json.RawMessage(`{"id":"1","uri":"/*","plugins":` + plugins + `,"upstream":{"nodes":{"127.0.0.1:1":1}}}`),
	})}
}

// Run runs one GET of /a, after prepare has changed what it likes. The response can be looked at until the next Run.
func (x *Exchange) Run(prepare func(x *gateway.Exchange)) gateway.Step {
	x.Reset()
	r := &x.Request
	r.Method, r.Scheme, r.Host, r.RawHost, r.Target, r.Path, r.EscapedPath = "GET", "http", "h", "h", "/a", "/a", "/a"
	if prepare != nil {
		prepare(&x.Exchange)
	}
	x.gateway.Begin(&x.Exchange, nil)
	step := x.Next(false)
	if step == gateway.StepReply {
		x.FilterHeader()
	}
	x.Finish()
	return step
}

// WantAllocs fails the test when a Run does not end with that step, or allocates more than that.
func (x *Exchange) WantAllocs(t *testing.T, step gateway.Step, most float64, prepare func(x *gateway.Exchange)) {
	t.Helper()
	if got := x.Run(prepare); got != step {
		t.Fatalf("got step %v, want %v", got, step)
	}
	if n := Allocs(func() { x.Run(prepare) }); n > most {
		t.Errorf("%v allocations, want %v", n, most)
	}
}

// Allocs returns how often f allocates. Under the race detector, which drops what is in pools at random, it is 0.
func Allocs(f func()) float64 {
	if raceEnabled {
		return 0
	}
	return testing.AllocsPerRun(100, f)
}

// Bench measures Run.
func (x *Exchange) Bench(b *testing.B, prepare func(x *gateway.Exchange)) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		x.Run(prepare)
	}
}
