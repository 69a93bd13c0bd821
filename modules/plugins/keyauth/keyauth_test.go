// SPDX-License-Identifier: Apache-2.0

package keyauth

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestSchema(t *testing.T) {
	plugin := gateway.RegisteredPlugins()[name]
	schemas := schema.ForPlugin(plugin)
	for _, c := range []struct {
		schema     *schema.Schema
		text, want string
	}{
		{schemas.Config, `{}`, ""},
		{schemas.Config, `{"header":"X-Key","query":"k","hide_credentials":true,"realm":"a b","anonymous_consumer":"guest"}`, ""},
		{schemas.Config, `{"header":1}`, `property "header" validation failed: wrong type: expected string, got number`},
		{schemas.Config, `{"realm":""}`, `property "realm" validation failed: string too short, expected at least 1, got 0`},
		{schemas.Config, `{"realm":"a\"b"}`, `property "realm" validation failed: failed to match pattern "^[ -!#-[\\]-~]+$" with "a\"b"`},
		{schemas.Config, `{"anonymous_consumer":""}`, `property "anonymous_consumer" validation failed: string too short, expected at least 1, got 0`},
		{schemas.Consumer, `{"key":"k"}`, ""},
		{schemas.Consumer, `{}`, `property "key" is required`},
	} {
		value, err := schema.Decode([]byte(c.text))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := c.schema.Validate(value); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.text, got, c.want)
		}
	}
	filled, err := json.Marshal(schemas.Config.Fill(map[string]any{}))
	if want := `{"header":"apikey","hide_credentials":false,"query":"apikey","realm":"key"}`; err != nil || string(filled) != want {
		t.Errorf("defaults: got %s (%v), want %s", filled, err, want)
	}
	var encrypted struct {
		Fields []string `json:"encrypt_fields"`
	}
	if err := json.Unmarshal(plugin.ConsumerSchema, &encrypted); err != nil || len(encrypted.Fields) != 1 || encrypted.Fields[0] != plugin.UniqueField {
		t.Errorf("encrypt_fields: got %q (%v), want the key", encrypted.Fields, err)
	}
}

// consumers returns a gateway with a route for 1 000 consumers, "c0" with the key "key-0" and so on.
func consumers(t testing.TB) *gateway.Gateway {
	t.Helper()
	objects := []gateway.Object{{
		Kind: gateway.Routes, ID: "1",
		Value: json.RawMessage(`{"id":"1","uri":"/*","plugins":{"key-auth":{}},"upstream":{"nodes":{"127.0.0.1:1":1}}}`),
	}}
	for i := range 1000 {
		objects = append(objects, gateway.Object{
			Kind: gateway.Consumers, ID: fmt.Sprintf("c%d", i),
			Value: json.RawMessage(fmt.Sprintf(`{"username":"c%d","plugins":{"key-auth":{"key":"key-%[1]d"}}}`, i)),
		})
	}
	return gatewaytest.Open(t, objects...)
}

// authenticate takes an exchange through its hooks up to where it would be forwarded.
func authenticate(g *gateway.Gateway, x *gateway.Exchange, key string) gateway.Step {
	x.Request.Method, x.Request.Host, x.Request.Path, x.Request.EscapedPath = "GET", "h", "/a", "/a"
	x.Request.Header.Add("apikey", key)
	g.Begin(x, nil)
	step := x.Next(false)
	if step == gateway.StepReply {
		x.FilterHeader()
	}
	x.Finish()
	x.Reset()
	return step
}

func TestAllocs(t *testing.T) {
	g := consumers(t)
	x := new(gateway.Exchange)
	for key, want := range map[string]gateway.Step{"key-500": gateway.StepForward, "other": gateway.StepReply} {
		if got := authenticate(g, x, key); got != want {
			t.Fatalf("%s: got step %v, want %v", key, got, want)
		}
		if n := testing.AllocsPerRun(100, func() { authenticate(g, x, key) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", key, n)
		}
	}
}

func BenchmarkKeyAuth(b *testing.B) {
	g := consumers(b)
	x := new(gateway.Exchange)
	for name, key := range map[string]string{"known": "key-500", "unknown": "other"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				authenticate(g, x, key)
			}
		})
	}
}
