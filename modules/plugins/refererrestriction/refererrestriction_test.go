// SPDX-License-Identifier: Apache-2.0

package refererrestriction

import (
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"blacklist":["a.com","*.b.com","*"]}`, ""},
		{`{}`, "value should match only one schema, but matches none"},
		{`{"whitelist":["a"],"blacklist":["b"]}`, "value should match only one schema, but matches both schemas 1 and 2"},
		{`{"whitelist":["http://a.com"]}`, `property "whitelist" validation failed: failed to validate item 1: failed to match pattern`},
		{`{"whitelist":[]}`, `property "whitelist" validation failed: expect array to have at least 1 items`},
		{`{"whitelist":["a"],"message":""}`, `property "message" validation failed: string too short`},
	})
}

func TestHostOf(t *testing.T) {
	for url, want := range map[string]string{
		"http://a.com": "a.com", "https://A.com:8443/x?y": "A.com", "//a.com/": "a.com", "HTTP://a.com?x": "a.com", "http://a.com.": "a.com",
		"http://a.com@evil.com/": "evil.com", "http://evil.com#@a.com": "evil.com", `http://evil.com\@a.com`: "evil.com",
		"http://[::1]:80/": "[::1]", "http://[::1": "", "http://": "", "http:///x": "", "http://:80": "", "ftp://a.com": "", "a.com": "", "/a": "", "": "",
	} {
		host, ok := hostOf(url)
		if !ok {
			host = ""
		}
		if host != want {
			t.Errorf("%q: got %q, want %q", url, host, want)
		}
	}
}

func referer(text string) func(x *gateway.Exchange) {
	return func(x *gateway.Exchange) { x.Request.Header.Add("Referer", text) }
}

func TestAllocs(t *testing.T) {
	x := plugintest.Open(t, `{"referer-restriction":{"whitelist":["a.com","*.b.com"]}}`)
	x.WantAllocs(t, gateway.StepForward, 0, referer("https://Shop.b.com/x"))
	x.WantAllocs(t, gateway.StepReply, 0, referer("https://evil.com/x"))
}

func BenchmarkRefererRestriction(b *testing.B) {
	plugintest.Open(b, `{"referer-restriction":{"whitelist":["a.com","*.b.com"]}}`).Bench(b, referer("https://shop.b.com/x"))
}
