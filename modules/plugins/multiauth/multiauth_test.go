// SPDX-License-Identifier: Apache-2.0

package multiauth

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/attachconsumerlabel"
	_ "github.com/andogate/ando/modules/plugins/basicauth"
	_ "github.com/andogate/ando/modules/plugins/hmacauth"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

// waits is an authentication plugin that has to wait, in one of two ways.
type waits struct{ blocks bool }

func (w waits) Blocks() bool { return w.blocks }

func (w waits) Rewrite(x *gateway.Exchange) gateway.Verdict {
	if !w.blocks && *x.State() == nil {
		*x.State() = "asked"
		return gateway.Wait
	}
	return gateway.Continue
}

func init() {
	for name, blocks := range map[string]bool{"test-blocks": true, "test-waits": false} {
		gateway.RegisterPlugin(&gateway.Plugin{
			Name: name, Auth: true, Schema: json.RawMessage(`{"type":"object"}`),
			New: func(gateway.Env, json.RawMessage) (any, error) { return waits{blocks}, nil },
		})
	}
}

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, "multi-auth", []plugintest.Config{
		{Text: `{"auth_plugins":[{"key-auth":{}},{"basic-auth":{}}]}`},
		{Text: `{"auth_plugins":[{"key-auth":{}},{"multi-auth":{"auth_plugins":[{"key-auth":{}},{"basic-auth":{}}]}}]}`},
		{Text: `{}`, Want: `property "auth_plugins" is required`},
		{Text: `{"auth_plugins":[{"key-auth":{}}]}`, Want: `property "auth_plugins" validation failed: expect array to have at least 2 items`},
		{Text: `{"auth_plugins":[{"key-auth":{}},{"nope":{}}]}`, Want: `nope plugin did not found`},
		{Text: `{"auth_plugins":[{"key-auth":{}},{"attach-consumer-label":{}}]}`, Want: `attach-consumer-label plugin is not supported`},
		{
			Text: `{"auth_plugins":[{"key-auth":{}},{"basic-auth":{"realm":1}}]}`,
			Want: `plugin basic-auth check schema failed: property "realm" validation failed: wrong type: expected string, got number`,
		},
		{Text: `{"auth_plugins":[{"key-auth":{}},"basic-auth"]}`, Want: `multi-auth: `},
	})
}

// TestWaiting: where a plugin has to wait multi-auth waits with it, and otherwise not.
func TestWaiting(t *testing.T) {
	for plugin, want := range map[string]gateway.Step{
		"test-blocks": gateway.StepBlock, "test-waits": gateway.StepBlock, "key-auth": gateway.StepReply,
	} {
		g := gatewaytest.Open(t, gateway.Object{
			Kind: gateway.Routes, ID: "1",
			Value: json.RawMessage(`{"id":"1","uri":"/*","plugins":{"multi-auth":{"auth_plugins":[{"key-auth":{}},{"` + plugin +
				`":{}}]}},"upstream":{"nodes":{"127.0.0.1:1":1}}}`),
		})
		x := new(gateway.Exchange)
		x.Request.Method, x.Request.Host, x.Request.Path, x.Request.EscapedPath = "GET", "h", "/a", "/a"
		g.Begin(x, nil)
		got := x.Next(false)
		if got != want {
			t.Errorf("%s: got step %v, want %v", plugin, got, want)
		}
		if got == gateway.StepBlock {
			if got := x.Next(true); got != gateway.StepForward {
				t.Errorf("%s: got step %v where it may wait", plugin, got)
			}
		}
		x.Finish()
	}
}
