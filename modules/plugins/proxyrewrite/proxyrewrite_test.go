// SPDX-License-Identifier: Apache-2.0

package proxyrewrite

import (
	"encoding/json"
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
		{`{"uri":"/a","host":"b.com:80","method":"POST"}`, ""},
		{`{"use_real_request_uri_unsafe":true}`, ""},
		{`{"headers":{"add":{"A":["1",2]},"set":{"B":3},"remove":["C"]}}`, ""},
		{`{"headers":{"add":"text"}}`, ""},
		{`{"uri":"a"}`, `property "uri" validation failed: failed to match pattern`},
		{`{"host":"a_b"}`, `property "host" validation failed: failed to match pattern`},
		{`{"method":"GET1"}`, `property "method" validation failed: matches none of the enum values`},
		{`{"regex_uri":["^/a"]}`, `property "regex_uri" validation failed: expect array to have at least 2 items`},
		{`{"regex_uri":["^/a","/b","^/c"]}`, "The length of regex_uri should be an even number"},
		{`{"regex_uri":["^/a(","/b"]}`, "invalid regex_uri(^/a(, /b): "},
		{`{"uri":"/a","regex_uri":["^/a(","/b"]}`, "invalid regex_uri(^/a(, /b): "},
		{`{"headers":{"set":{}}}`, `property "headers" validation failed: value should match only one schema, but matches none`},
		{`{"headers":{"X":["a"]}}`, `property "headers" validation failed: value should match only one schema, but matches none`},
		{`{"headers":{"a b":"c"}}`, "invalid field character in header"},
		{`{"headers":{"set":{"a":"b\nc"}}}`, "invalid value character in header"},
	})
}

// TestSlow: a path that a pattern cannot be matched against in time is an error, and not forwarded as it is.
func TestSlow(t *testing.T) {
	x := plugintest.Open(t, `{"proxy-rewrite":{"regex_uri":["^/(?!b)(a+)+$","/x"]}}`)
	step := x.Run(func(x *gateway.Exchange) {
		if err := x.Request.SetTarget("/" + strings.Repeat("a", 60) + "!"); err != nil {
			t.Fatal(err)
		}
	})
	if body := string(x.Response.Body); step != gateway.StepReply || x.Response.Status != 500 || !strings.HasPrefix(body, `{"error_msg":"failed to match the uri /aaa`) {
		t.Errorf("got step %v, status %d, body %s", step, x.Response.Status, body)
	}
}

func TestReceived(t *testing.T) {
	for target, want := range map[string]string{
		"/a//b?c": "/a//b?c", "http://h/a%2fb": "/a%2fb", "http://h": "/", "http://h?x": "/?x", "*": "*", "/a://b/c": "/a://b/c",
	} {
		if got := received(&gateway.Request{Target: target}); got != want {
			t.Errorf("%s: got %s, want %s", target, got, want)
		}
	}
}

func TestAllocs(t *testing.T) {
	x := plugintest.Open(t, `{"proxy-rewrite":{"uri":"/b","host":"b.com","method":"POST","headers":{"set":{"X-A":"b","X-H":"$host"},"remove":["X-C"]}},"test-end":{}}`)
	x.WantAllocs(t, gateway.StepReply, 0, func(x *gateway.Exchange) { x.Request.Header.Add("X-C", "d") })
}

// end answers what reaches it, since forwarding allocates on its own.
type end struct{}

func (end) Access(x *gateway.Exchange) gateway.Verdict { return x.Exit(204, nil) }

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: "test-end", Schema: json.RawMessage(`{"type":"object"}`), New: func(gateway.Env, json.RawMessage) (any, error) { return end{}, nil },
	})
}

func BenchmarkProxyRewrite(b *testing.B) {
	for what, config := range map[string]string{
		"constant": `{"uri":"/b","host":"b.com","headers":{"X-A":"b"}}`,
		"template": `{"uri":"/b$uri","headers":{"X-A":"$host"}}`,
		"regex":    `{"regex_uri":["^/(.*)","/b/$1"],"headers":{"X-A":"$1"}}`,
	} {
		b.Run(what, func(b *testing.B) {
			x := plugintest.Open(b, `{"proxy-rewrite":`+config+`,"key-auth":{}}`)
			x.Bench(b, nil)
		})
	}
}
