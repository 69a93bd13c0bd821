// SPDX-License-Identifier: Apache-2.0

package redirect

import (
	"os"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"uri":"/x","append_query_string":true,"encode_uri":true}`, ""},
		{`{"http_to_https":true}`, ""},
		{`{}`, "value should match only one schema, but matches none"},
		{`{"uri":"/a","http_to_https":true}`, "value should match only one schema, but matches both schemas 1 and 3"},
		{`{"uri":"/"}`, `property "uri" validation failed: string too short`},
		{`{"regex_uri":["a"]}`, `property "regex_uri" validation failed: expect array to have at least 2 items`},
		{`{"regex_uri":["(a","b"]}`, "invalid regex_uri ((a, b), err:"},
		{`{"http_to_https":true,"append_query_string":true}`, "only one of `http_to_https` and `append_query_string` can be configured."},
		{`{"uri":"/a","ret_code":199}`, `property "ret_code" validation failed: expected 199 to be at least 200`},
		{`{"uri":"/a","ret_code":1000}`, `property "ret_code" validation failed: expected 1000 to be a status from 200 to 999`},
	})
}

// TestSchemes looks at requests that came with TLS, and at those of which a trusted proxy says how they came.
func TestSchemes(t *testing.T) {
	x := plugintest.Open(t, `{"redirect":{"http_to_https":true}}`)
	for scheme, want := range map[string]gateway.Step{"http": gateway.StepReply, "https": gateway.StepForward} {
		if got := x.Run(func(x *gateway.Exchange) { x.Request.Scheme = scheme }); got != want {
			t.Errorf("%s: got step %v, want %v", scheme, got, want)
		}
	}
	x.Run(func(x *gateway.Exchange) {
		x.Request.SetHost("Example.com:9080")
		if err := x.Request.SetTarget("/a%20b?c=%22d%22"); err != nil {
			t.Fatal(err)
		}
	})
	if got, want := x.Response.Header.Get("Location"), "https://example.com/a%20b?c=%22d%22"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSlow(t *testing.T) {
	x := plugintest.Open(t, `{"redirect":{"regex_uri":["^/(?!b)(a+)+$","/x"]}}`)
	x.Run(func(x *gateway.Exchange) {
		if err := x.Request.SetTarget("/" + strings.Repeat("a", 60) + "!"); err != nil {
			t.Fatal(err)
		}
	})
	if x.Response.Status != 500 {
		t.Errorf("got status %d, want 500", x.Response.Status)
	}
}

func TestAllocs(t *testing.T) {
	x := plugintest.Open(t, `{"redirect":{"uri":"https://example.com/new","ret_code":301}}`)
	x.WantAllocs(t, gateway.StepReply, 0, nil)
}

func BenchmarkRedirect(b *testing.B) {
	for what, config := range map[string]string{
		"constant": `{"uri":"/new"}`, "template": `{"uri":"https://example.com$request_uri"}`, "https": `{"http_to_https":true}`,
	} {
		b.Run(what, func(b *testing.B) { plugintest.Open(b, `{"redirect":`+config+`}`).Bench(b, nil) })
	}
}
