// SPDX-License-Identifier: Apache-2.0

package uarestriction

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"allowlist":["my-bot.*"],"bypass_missing":true}`, ""},
		{`{}`, "value should match only one schema, but matches none"},
		{`{"allowlist":["a"],"denylist":["b"]}`, "value should match only one schema, but matches both schemas 1 and 2"},
		{`{"denylist":["(a"]}`, "invalid regular expression '(a': "},
		{`{"denylist":[]}`, `property "denylist" validation failed: expect array to have at least 1 items`},
		{`{"denylist":["a"],"message":""}`, `property "message" validation failed: string too short, expected at least 1, got 0`},
	})
}

// TestSlow: whoever makes a pattern slow does not get past it, whichever list it is in.
func TestSlow(t *testing.T) {
	for _, list := range []string{"allowlist", "denylist"} {
		x := plugintest.Open(t, `{"ua-restriction":{"`+list+`":["^(?!b)(a+)+$"]}}`)
		if x.Run(agent(strings.Repeat("a", 60)+"!")) != gateway.StepReply {
			t.Errorf("%s: it passes", list)
		}
	}
}

func agent(text string) func(x *gateway.Exchange) {
	return func(x *gateway.Exchange) { x.Request.Header.Add("User-Agent", text) }
}

const browser = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"

// robots returns a denylist of n entries, as a JSON list without brackets.
func robots(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"bot-%d"`, i)
		if i%3 == 0 {
			list[i] = fmt.Sprintf(`"(spider%d)/(\\d+)\\.(\\d+)"`, i)
		}
	}
	return strings.Join(list, ",")
}

func TestTenThousand(t *testing.T) {
	x := plugintest.Open(t, `{"ua-restriction":{"denylist":[`+robots(10_000)+`]}}`)
	x.WantAllocs(t, gateway.StepForward, 0, agent(browser))
	x.WantAllocs(t, gateway.StepReply, 0, agent("Mozilla/5.0 (compatible; bot-7777)"))
	x.WantAllocs(t, gateway.StepReply, 0, agent("spider9999/1.2"))
	x.WantAllocs(t, gateway.StepForward, 0, agent("spider9998/1.2"))
}

func BenchmarkUARestriction(b *testing.B) {
	b.Run("plain", func(b *testing.B) { plugintest.Open(b, `{}`).Bench(b, agent(browser)) })
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			plugintest.Open(b, `{"ua-restriction":{"denylist":[`+robots(n)+`]}}`).Bench(b, agent(browser))
		})
	}
}
