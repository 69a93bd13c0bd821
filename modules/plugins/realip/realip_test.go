// SPDX-License-Identifier: Apache-2.0

package realip

import (
	"net/netip"
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/iprestriction"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"source":"http_xff","trusted_addresses":["127.0.0.0/24","::1"],"recursive":true}`, ""},
		{`{}`, `property "source" is required`},
		{`{"source":""}`, `property "source" validation failed: string too short`},
		{`{"source":"a","trusted_addresses":["nope"]}`, `property "trusted_addresses" validation failed: failed to validate item 1: object matches none of the required`},
		{`{"source":"a","trusted_addresses":["::1/129"]}`, `invalid ip address: ::1/129`},
	})
}

const peer = "10.0.0.1:4000"

// TestForwardedFor walks lists of X-Forwarded-For.
func TestForwardedFor(t *testing.T) {
	once := plugintest.Open(t, `{"real-ip":{"source":"http_x_forwarded_for","trusted_addresses":["10.0.0.0/8"]}}`)
	again := plugintest.Open(t, `{"real-ip":{"source":"http_x_forwarded_for","trusted_addresses":["10.0.0.0/8"],"recursive":true}}`)
	for _, c := range []struct {
		lines       []string
		once, again string
	}{
		{nil, peer, peer},
		{[]string{""}, peer, peer},
		{[]string{"192.0.2.1"}, "192.0.2.1:0", "192.0.2.1:0"},
		{[]string{"192.0.2.1, 192.0.2.2"}, "192.0.2.2:0", "192.0.2.2:0"},
		{[]string{"192.0.2.1, 192.0.2.2,10.0.0.2"}, "10.0.0.2:0", "192.0.2.2:0"},
		{[]string{"192.0.2.1", "10.0.0.3, 10.0.0.2"}, "10.0.0.2:0", "192.0.2.1:0"},
		{[]string{"10.0.0.3, 10.0.0.2 ,"}, "10.0.0.2:0", "10.0.0.3:0"},
		{[]string{"192.0.2.1, unknown, 10.0.0.2"}, "10.0.0.2:0", peer},
		{[]string{"[2001:db8::1]:99"}, "[2001:db8::1]:99", "[2001:db8::1]:99"},
	} {
		prepare := func(x *gateway.Exchange) {
			x.Request.Client = netip.MustParseAddrPort(peer)
			for _, line := range c.lines {
				x.Request.Header.Add("X-Forwarded-For", line)
			}
		}
		once.Run(prepare)
		again.Run(prepare)
		if got, recursive := once.Request.Client.String(), again.Request.Client.String(); got != c.once || recursive != c.again {
			t.Errorf("%q: got %s and, recursive, %s; want %s and %s", c.lines, got, recursive, c.once, c.again)
		}
	}
}

func TestParseAddr(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:0", "192.0.2.1:80": "192.0.2.1:80", "::1": "[::1]:0", "[::1]": "[::1]:0", "[::1]:80": "[::1]:80",
		"::ffff:192.0.2.1": "192.0.2.1:0", "192.0.2.1:0": "", "192.0.2.1:65536": "", "192.0.2.1:": "", "192.0.2.1:8a": "",
		"[::1]80": "", "[::1": "", "[::1]:": "", "example.com": "", "": "", "192.0.2": "", "192.0.2.1:184467440737095516161": "",
	} {
		got := ""
		if addr, ok := parseAddr(text); ok {
			got = addr.String()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestAllocs(t *testing.T) {
	client := netip.MustParseAddrPort(peer)
	x := plugintest.Open(t, `{"real-ip":{"source":"http_x_forwarded_for","trusted_addresses":["10.0.0.0/8"],"recursive":true},"ip-restriction":{"whitelist":["::1"]}}`)
	x.WantAllocs(t, gateway.StepReply, 0, func(x *gateway.Exchange) {
		x.Request.Client = client
		x.Request.Header.Add("X-Forwarded-For", "192.0.2.1, 10.0.0.2")
	})
}

func BenchmarkRealIP(b *testing.B) {
	client := netip.MustParseAddrPort(peer)
	x := plugintest.Open(b, `{"real-ip":{"source":"http_x_forwarded_for","trusted_addresses":["10.0.0.0/8"],"recursive":true}}`)
	x.Bench(b, func(x *gateway.Exchange) {
		x.Request.Client = client
		x.Request.Header.Add("X-Forwarded-For", "192.0.2.1, 10.0.0.2")
	})
}
