// SPDX-License-Identifier: Apache-2.0

package iprestriction

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
	_ "github.com/andogate/ando/modules/plugins/realip"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"whitelist":["127.0.0.1","10.0.0.0/8","::1","2001:db8::/32"]}`, ""},
		{`{}`, "value should match only one schema, but matches none"},
		{`{"whitelist":["10.0.0.1"],"blacklist":["10.0.0.2"]}`, "value should match only one schema, but matches both schemas 1 and 2"},
		{`{"whitelist":["10.0.0.256"]}`, `property "whitelist" validation failed: failed to validate item 1: object matches none of the required`},
		{`{"blacklist":["fe80::/129"]}`, "invalid ip address: fe80::/129"},
		{`{"blacklist":["::1"],"response_code":402}`, `property "response_code" validation failed: expected 402 to be at least 403`},
		{`{"blacklist":["::1"],"message":""}`, `property "message" validation failed: string too short`},
	})
}

// TestClients looks at clients that a test connection cannot come from.
func TestClients(t *testing.T) {
	white := plugintest.Open(t, `{"ip-restriction":{"whitelist":["10.0.0.0/8","2001:db8::/32"]}}`)
	black := plugintest.Open(t, `{"ip-restriction":{"blacklist":["10.0.0.0/8","2001:db8::/32"]}}`)
	for client, listed := range map[string]bool{
		"10.1.2.3:1": true, "[::ffff:10.1.2.3]:1": true, "[2001:db8::1]:1": true, "[2001:db8::1%eth0]:1": true,
		"11.1.2.3:1": false, "[2001:db9::1]:1": false, "": false,
	} {
		prepare := func(x *gateway.Exchange) { x.Request.Client, _ = netip.ParseAddrPort(client) }
		if got := white.Run(prepare) == gateway.StepForward; got != listed {
			t.Errorf("whitelist: %q passes: %v, want %v", client, got, listed)
		}
		if got := black.Run(prepare) == gateway.StepReply; got != listed {
			t.Errorf("blacklist: %q is refused: %v, want %v", client, got, listed)
		}
	}
}

func networks(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"10.%d.%d.0/24"`, i>>8, i&255)
	}
	return strings.Join(list, ",")
}

func TestAllocs(t *testing.T) {
	x := plugintest.Open(t, `{"ip-restriction":{"blacklist":[`+networks(10_000)+`]}}`)
	for client, step := range map[string]gateway.Step{"10.20.30.40:1": gateway.StepReply, "192.0.2.1:1": gateway.StepForward} {
		addr := netip.MustParseAddrPort(client)
		x.WantAllocs(t, step, 0, func(x *gateway.Exchange) { x.Request.Client = addr })
	}
}

// BenchmarkIPRestriction is to be read beside the exchange without plugins.
func BenchmarkIPRestriction(b *testing.B) {
	client := netip.MustParseAddrPort("192.0.2.1:1")
	prepare := func(x *gateway.Exchange) { x.Request.Client = client }
	b.Run("plain", func(b *testing.B) { plugintest.Open(b, `{}`).Bench(b, prepare) })
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			plugintest.Open(b, `{"ip-restriction":{"blacklist":[`+networks(n)+`]}}`).Bench(b, prepare)
		})
	}
}
