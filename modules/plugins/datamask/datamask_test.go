// SPDX-License-Identifier: Apache-2.0

package datamask

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{}`, ""},
		{`{"request":[{"type":"query","name":"pw","action":"remove"}]}`, ""},
		{`{"request":[{"type":"query","name":"pw","action":"replace"}]}`, `property "request" validation failed: failed to validate item 1: `},
		{`{"request":[{"type":"body","name":"pw","action":"remove"}]}`, `property "request" validation failed: failed to validate item 1: `},
		{`{"request":[{"type":"header","name":"a","action":"regex","regex":"(","value":""}]}`, "invalid regular expression '(': "},
		{`{"request":[{"type":"body","body_format":"json","name":"$.a[","action":"remove"}]}`, `invalid JSONPath "$.a[": a bracket is not closed`},
		{`{"max_body_size":0}`, `property "max_body_size" validation failed: expected 0 to be greater than 0`},
	})
}

// seen is what a logger of the same route writes down.
type seen struct{ uri, target, args, token, card, body, forwarded string }

var last seen

// watcher is that logger; it has the body read, as loggers do that are to log it.
type watcher struct{}

func (watcher) ReadsBody() int64 { return 1 << 20 }

func (watcher) Access(x *gateway.Exchange) gateway.Verdict {
	_, err := x.Body()
	if err != nil {
		return x.Exit(400, nil)
	}
	x.Forward.Target = "/up?pw=hidden&x=1"
	return gateway.Continue
}

func (watcher) Log(x *gateway.Exchange) {
	body, _ := x.BodyBuffered()
	last = seen{
		uri: strings.Clone(x.Request.RequestURI()), target: strings.Clone(x.Request.Target), args: strings.Clone(x.Request.Query),
		token: strings.Clone(x.Request.Header.Get("Token")), card: strings.Clone(x.Request.Header.Get("Card")),
		body: string(body), forwarded: strings.Clone(x.Forward.Target),
	}
}

func init() {
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: "test-watcher", Priority: 1, Schema: json.RawMessage(`{"type":"object"}`),
		New: func(gateway.Env, json.RawMessage) (any, error) { return watcher{}, nil },
	})
}

const rules = `{"request":[
	{"type":"query","name":"pw","action":"remove"},
	{"type":"query","name":"token","action":"replace","value":"*****"},
	{"type":"query","name":"card","action":"regex","regex":"(\\d+)-\\d+-(\\d+)","value":"$1-****-$2"},
	{"type":"header","name":"token","action":"remove"},
	{"type":"header","name":"card","action":"regex","regex":"\\d{4}$","value":"####"},
	{"type":"body","body_format":"urlencoded","name":"pw","action":"replace","value":"x y"},
	{"type":"body","body_format":"json","name":"$.users[*].pw","action":"remove"},
	{"type":"body","body_format":"json","name":"token","action":"replace","value":"***"},
	{"type":"body","body_format":"json","name":"$..card","action":"regex","regex":"\\d+","value":"#"}
],"max_body_size":100,"max_req_post_args":3}`

func TestMask(t *testing.T) {
	for _, c := range []struct {
		what, target, kind, body string
		want                     seen
	}{
		{"query", "/a?pw=1&b=2&token=3&card=12-34-56&pw=4&%70w=5&flag", "", "", seen{
			uri: "/a?b=2&token=*****&card=12-****-56&flag", target: "/a?b=2&token=*****&card=12-****-56&flag", args: "b=2&token=*****&card=12-****-56&flag",
		}},
		{"nothing left", "/a?pw=1", "", "", seen{uri: "/a", target: "/a"}},
		{"not concerned", "/a//b?x=1", "", "plain", seen{uri: "/a/b?x=1", target: "/a//b?x=1", args: "x=1"}},
		{"form", "/a", "application/x-www-form-urlencoded", "a=1&pw=secret", seen{uri: "/a", target: "/a", body: "a=1&pw=x+y"}},
		{"long form", "/a", "application/x-www-form-urlencoded; charset=x", "a=1&b=2&c=3&pw=secret", seen{uri: "/a", target: "/a", body: "a=1&b=2&c=3"}},
		{"JSON", "/a", "application/json", `{"users":[{"pw":"a","n":12345678901234567},{"pw":"b"}],"token":7,"x":{"card":"9","y":[{"card":8}]}}`, seen{
			uri: "/a", target: "/a", body: `{"token":"***","users":[{"n":12345678901234567},{}],"x":{"card":"#","y":[{"card":"#"}]}}`,
		}},
		{"JSON not concerned", "/a", "application/json", `{"b": 1}`, seen{uri: "/a", target: "/a", body: `{"b": 1}`}},
		{"too long", "/a", "application/json", `{"token":"` + strings.Repeat("x", 100) + `"}`, seen{uri: "/a", target: "/a"}},
		{"broken", "/a", "application/json", `{"token":"secret"`, seen{uri: "/a", target: "/a"}},
	} {
		x := plugintest.Open(t, `{"data-mask":`+rules+`,"test-watcher":{}}`)
		x.Run(func(x *gateway.Exchange) {
			if err := x.Request.SetTarget(c.target); err != nil {
				t.Fatal(err)
			}
			x.Request.Header.Add("token", "secret")
			x.Request.Header.Add("card", "1234-5678")
			if c.kind != "" {
				x.Request.Header.Add("Content-Type", c.kind)
			}
			x.SetBody([]byte(c.body), nil)
		})
		c.want.card, c.want.forwarded = "1234-####", "/up?x=1"
		if last != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.what, last, c.want)
		}
	}
}

// TestNodeSeesAll: the node is sent what the client wrote.
func TestNodeSeesAll(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestPaths(t *testing.T) {
	for path, want := range map[string]string{
		"$.a":         `{"b":[{"a":"2"},[3]],"c":{"d.e":5}}`,
		"b[0].a":      `{"a":"1","b":[{},[3]],"c":{"d.e":5}}`,
		"$.b[1]":      `{"a":"1","b":[{"a":"2"}],"c":{"d.e":5}}`,
		"$.b[1][0]":   `{"a":"1","b":[{"a":"2"},[]],"c":{"d.e":5}}`,
		"$.b[*]":      `{"a":"1","b":[],"c":{"d.e":5}}`,
		"$.*":         `{}`,
		"$..a":        `{"b":[{},[3]],"c":{"d.e":5}}`,
		"$..[0]":      `{"a":"1","b":[[]],"c":{"d.e":5}}`,
		"$.c['d.e']":  `{"a":"1","b":[{"a":"2"},[3]],"c":{}}`,
		`$["c"]`:      `{"a":"1","b":[{"a":"2"},[3]]}`,
		"$.none.x[9]": `{"a":"1","b":[{"a":"2"},[3]],"c":{"d.e":5}}`,
	} {
		steps, err := parsePath(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		m := &mask{maxBody: 1000, json: []rule{{path: steps, change: func(string) (string, bool) { return "", false }}}}
		got, _ := m.maskJSON([]byte(`{"a":"1","b":[{"a":"2"},[3]],"c":{"d.e":5}}`))
		if string(got) != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	for _, path := range []string{"", "$", "a.", "a[x]", "a[0", "a[0]b", "a['b]", "$..", "a[-1]"} {
		if steps, err := parsePath(path); err == nil {
			t.Errorf("%q: got %v, want an error", path, steps)
		}
	}
}

// TestSlowPattern: what cannot be searched in time is not written either.
func TestSlowPattern(t *testing.T) {
	pattern, err := expr.CompilePattern(`^(?!b)(a+)+$`, false)
	if err != nil {
		t.Fatal(err)
	}
	if got, keep := substitute(pattern, expr.ParseReplacement("x"))(strings.Repeat("a", 60) + "!"); got != "" || !keep {
		t.Errorf("got %q, %v; want an empty value", got, keep)
	}
}

func BenchmarkMaskArgs(b *testing.B) {
	instance, err := plugintest.Compile(b, name, rules)
	if err != nil {
		b.Fatal(err)
	}
	m := instance.(*mask)
	b.ReportAllocs()
	for b.Loop() {
		maskArgs("version=2&token=abc&card=12-34-56&debug", m.query, 0)
	}
}
