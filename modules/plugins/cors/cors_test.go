// SPDX-License-Identifier: Apache-2.0

package cors

import (
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/iprestriction"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{}`, ""},
		{`{"allow_origins":"http://a.com,https://b.com:8443","allow_methods":"GET","allow_headers":"x","allow_credential":true}`, ""},
		{`{"allow_origins":"a.com"}`, `property "allow_origins" validation failed: failed to match pattern`},
		{`{"allow_credential":true}`, "you can not set '*' for other option when 'allow_credential' is true"},
		{`{"allow_credential":true,"allow_origins":"**","allow_methods":"**","allow_headers":"**"}`, ""},
		{`{"allow_credential":true,"allow_origins":"**","allow_methods":"**","allow_headers":"**","expose_headers":"*"}`, "you can not set '*'"},
		{`{"allow_credential":true,"allow_origins":"**","allow_methods":"**","allow_headers":"**","timing_allow_origins":"*"}`, "you can not set '*'"},
		{`{"allow_origins_by_regex":["(x"]}`, "invalid regular expression '(x': "},
		{`{"timing_allow_origins_by_regex":["(x"]}`, "invalid regular expression '(x': "},
		{`{"allow_origins_by_regex":[]}`, `property "allow_origins_by_regex" validation failed: expect array to have at least 1 items`},
		{`{"max_age":"1"}`, `property "max_age" validation failed: wrong type: expected integer, got string`},
	})
}

func TestAllocs(t *testing.T) {
	for plugins, most := range map[string]float64{
		`{"cors":{}}`: 0,
		`{"cors":{"allow_origins":"http://b.com,http://c.com"}}`: 0,
		// Who is echoed gets a decision of its own.
		`{"cors":{"allow_origins":"http://b.com,http://a.com"}}`: 1,
	} {
		x := plugintest.Open(t, plugins)
		x.WantAllocs(t, gateway.StepReply, most, func(x *gateway.Exchange) {
			x.Request.Method = "OPTIONS"
			x.Request.Header.Add("Origin", "http://a.com")
		})
	}
}

func BenchmarkCORS(b *testing.B) {
	plugintest.Open(b, `{"cors":{"allow_origins":"http://b.com,http://a.com"}}`).Bench(b, func(x *gateway.Exchange) {
		x.Request.Header.Add("Origin", "http://a.com")
	})
}
