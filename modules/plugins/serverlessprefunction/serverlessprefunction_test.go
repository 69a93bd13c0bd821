// SPDX-License-Identifier: Apache-2.0

package serverlessprefunction

import (
	"os"
	"strconv"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
	_ "github.com/andogate/ando/modules/plugins/serverlesspostfunction"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"functions":["return function(conf, ctx) ngx.exit(200) end"],"phase":"rewrite"}`, ""},
		{`{"functions":["local n = 0 return function() n = n + 1 end","return function() end"]}`, ""},
		{`{}`, `property "functions" is required`},
		{`{"functions":[]}`, `property "functions" validation failed: expect array to have at least 1 items`},
		{`{"functions":["return function() end"],"phase":"balancer"}`, `property "phase" validation failed: matches none of the enum values`},
		{`{"functions":["local x = "]}`, `failed to loadstring: [string "local x = "]:1: unexpected symbol near '<eof>'`},
		{`{"functions":["ngx.log("]}`, `failed to loadstring: [string "ngx.log("]:1: unexpected symbol near '<eof>'`},
		{`{"functions":["local count = 1 ngx.say(count)"]}`, `only accept Lua function, the input code type is nil`},
		{`{"functions":["return function() end","return {}"]}`, `only accept Lua function, the input code type is table`},
		{`{"functions":["error('bad')"]}`, `pcall error: [string "error('bad')"]:1: bad`},
		{`{"functions":["return function() return os.execute('id') end"]}`, `failed to loadstring: [string "return function() return os.execute('id') end"]:1: os is not available`},
		{`{"functions":["local http = require('resty.http')"]}`, `failed to loadstring: [string "local http = require('resty.http')"]:1: module 'resty.http' not found`},
	})
}

// TestWhoBlocks: functions that may wait leave the loop, the others must not.
func TestWhoBlocks(t *testing.T) {
	for phase, want := range map[string]gateway.Step{
		"rewrite": gateway.StepBlock, "access": gateway.StepBlock, "before_proxy": gateway.StepForward,
		"header_filter": gateway.StepForward, "body_filter": gateway.StepForward, "log": gateway.StepForward,
	} {
		x := plugintest.Open(t, `{"serverless-pre-function":{"phase":"`+phase+`","functions":["return function() end"]}}`)
		if got := x.Run(nil); got != want {
			t.Errorf("%s: got step %v, want %v", phase, got, want)
		}
	}
}

// TestCounter: on each wire one request after the other finds the same state.
func TestCounter(t *testing.T) {
	plugintest.OnEach(t, `{"serverless-pre-function":{"functions":["local n = 0 return function() n = n + 1 return 200, tostring(n) end"]}}`, func(s *plugintest.Site) {
		for n := range 3 {
			s.Want(s.Do("GET", "/", ""), 200, strconv.Itoa(n+1), false)
		}
	})
}

func BenchmarkLogFunction(b *testing.B) {
	plugintest.Open(b, `{"serverless-pre-function":{"phase":"log","functions":["return function(conf, ctx) ctx.var.mine = ctx.var.uri end"]}}`).Bench(b, nil)
}
