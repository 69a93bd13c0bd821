// SPDX-License-Identifier: Apache-2.0

package workflow

import (
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/limit/redistest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, "workflow", []plugintest.Config{
		{Text: `{"rules":[]}`},
		{Text: `{"rules":[{"actions":[["return",{"code":200.0}]]}]}`},
		{Text: `{}`, Want: `property "rules" is required`},
		{Text: `{"rules":[{"actions":[["return",{}]]}]}`, Want: `failed to validate the 'return' action: property "code" is required`},
		{Text: `{"rules":[{"actions":[["return"]]}]}`, Want: `failed to validate the 'return' action: property "code" is required`},
		{Text: `{"rules":[{"actions":[["return",{"code":100}]]}]}`, Want: `failed to validate the 'return' action: property "code" validation failed: expected 100 to be at least 200`},
		{Text: `{"rules":[{"actions":[["bogus",{}]]}]}`, Want: "unsupported action: bogus"},
		{Text: `{"rules":[{"actions":[[7,{}]]}]}`, Want: "unsupported action: 7"},
		{Text: `{"rules":[{"actions":[["return",{"code":403}],["bogus",{}]]}]}`, Want: "unsupported action: bogus"},
		{Text: `{"rules":[{"case":[["uri"]],"actions":[]}]}`, Want: "failed to validate the 'case' expression: "},
		{
			Text: `{"rules":[{"actions":[["limit-count",{"count":1}]]}]}`,
			Want: "failed to validate the 'limit-count' action: value should match only one schema, but matches none",
		},
		{
			Text: `{"rules":[{"actions":[["limit-count",{"count":1,"time_window":1,"rules":[]}]]}]}`,
			Want: "failed to validate the 'limit-count' action: count/time_window and rules cannot be specified at the same time",
		},
		{
			Text: `{"rules":[{"actions":[["limit-count",{"count":1,"time_window":1,"group":"g"}]]}]}`,
			Want: "failed to validate the 'limit-count' action: group is not supported",
		},
		{
			Text: `{"rules":[{"actions":[["limit-conn",{"conn":1}]]}]}`,
			Want: "failed to validate the 'limit-conn' action: value should match only one schema, but matches none",
		},
	})
}

// TestActionGoesOn: an action that had to wait goes on, even when by then another rule would act, and its connection is let
// go of when the request is over, or when its client does not wait that long.
func TestActionGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := redistest.Open(t, `{"workflow":{"rules":[
			{"case":[["http_x_user","==","jack"]],"actions":[["limit-conn",{"conn":1,"burst":2,"default_conn_delay":3,"only_use_default_delay":true,"key":"http_x_user"}]]},
			{"actions":[["return",{"code":403}]]}]}}`)
		first, waits, leaves := new(gateway.Exchange), new(gateway.Exchange), new(gateway.Exchange)
		begin := func(x *gateway.Exchange) gateway.Step {
			x.Request.Method, x.Request.Path = "GET", "/a"
			x.Request.Header.Add("X-User", "jack")
			g.Begin(x, redistest.Wire{Ctx: t.Context()})
			return x.Next(false)
		}
		if step := begin(first); step != gateway.StepForward {
			t.Fatalf("got step %v", step)
		}
		if step := begin(waits); step != gateway.StepBlock {
			t.Fatalf("got step %v, want it to wait", step)
		}
		if step := begin(leaves); step != gateway.StepBlock {
			t.Fatalf("got step %v, want it to wait", step)
		}
		leaves.Finish()
		waits.Request.Header.Del("X-User")
		start := time.Now()
		if step := waits.Next(true); step != gateway.StepForward || time.Since(start) != 3*time.Second {
			t.Errorf("got step %v after %v", step, time.Since(start))
		}
		waits.Finish()
		first.Finish()
		again := new(gateway.Exchange)
		if step := begin(again); step != gateway.StepForward {
			t.Errorf("got step %v: not everything was let go of", step)
		}
		again.Finish()
	})
}

func TestBlocks(t *testing.T) {
	for config, want := range map[string]bool{
		`{"rules":[{"actions":[["limit-req",{"rate":1,"burst":0,"key":"k"}]]}]}`:                                                  false,
		`{"rules":[{"actions":[]},{"actions":[["limit-count",{"count":1,"time_window":1,"policy":"redis","redis_host":"h1"}]]}]}`: true,
	} {
		instance, err := plugintest.Compile(t, "workflow", config)
		if err != nil {
			t.Fatal(err)
		}
		if got := instance.(gateway.Blocker).Blocks(); got != want {
			t.Errorf("%s: blocks %v, want %v", config, got, want)
		}
	}
}

func TestAllocs(t *testing.T) {
	x := plugintest.Open(t, `{"workflow":{"rules":[{"case":[["arg_a","==","1"]],"actions":[["return",{"code":403}]]},{"actions":[["limit-count",{"count":1000000,"time_window":60,"key":"k","key_type":"constant"}]]}]}}`)
	x.WantAllocs(t, gateway.StepForward, 0, nil)
	x.WantAllocs(t, gateway.StepReply, 0, func(x *gateway.Exchange) { x.Request.Query = "a=1" })
}

func BenchmarkWorkflow(b *testing.B) {
	x := plugintest.Open(b, `{"workflow":{"rules":[{"case":[["arg_a","==","1"]],"actions":[["return",{"code":403}]]},{"case":[["uri","==","/a"]],"actions":[["limit-conn",{"conn":9,"burst":0,"default_conn_delay":1,"key":"k"}]]}]}}`)
	x.Bench(b, nil)
}
