// SPDX-License-Identifier: Apache-2.0

package graphqllimitcount

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{Text: `{"count":1,"time_window":60,"cost_strategy":"node_quantifier","introspection_endpoint":"http://h/graphql"}`},
		{Text: `{"count":0,"time_window":60}`, Want: `property "count" validation failed: value should match only one schema, but matches none`},
		{Text: `{"count":1,"time_window":60,"score_factor":0}`, Want: `property "score_factor" validation failed: expected 0 to be greater than 0`},
		{Text: `{"count":1,"time_window":60,"introspection_endpoint":"h"}`, Want: `property "introspection_endpoint" validation failed: failed to match pattern`},
	})
}

// answer is what the node says of its schema.
const answer = `{"data":{"__schema":{"queryType":{"name":"Query"},"mutationType":null,"types":[
	{"name":"Query","fields":[
		{"name":"products","args":[{"name":"first","defaultValue":"20"}],"type":{"name":null,"ofType":{"name":"Product"}}},
		{"name":"any","args":[],"type":{"name":"Thing"}}]},
	{"name":"Thing","fields":[{"name":"id","args":[],"type":{"name":"ID"}}]},
	{"name":"Product","fields":[
		{"name":"name","args":[],"type":{"name":"String"}},
		{"name":"reviews","args":[{"name":"first","defaultValue":null}],"type":{"name":null,"ofType":{"name":null,"ofType":{"name":"Review"}}}}]},
	{"name":"Review","fields":[{"name":"text","args":[],"type":{"name":"String"}}]}]}}}`

// upstreamNode answers introspection, and counts how often it is asked.
func upstreamNode(t *testing.T) (addr string, asked *atomic.Int64) {
	asked = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "__schema") {
			asked.Add(1)
			if r.URL.Path != "/graphql" || r.Host != "shop" || r.Header.Get("Authorization") != "Bearer t" || r.Header.Get("X-Key") != "k" {
				http.Error(w, "not the one that is asked", http.StatusNotFound)
				return
			}
			_, _ = io.WriteString(w, answer)
			return
		}
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), asked
}

// TestCosts computes costs with decorations, over the schema that the node tells.
func TestCosts(t *testing.T) {
	addr, asked := upstreamNode(t)
	open := func(config string) *gateway.Gateway {
		object := func(kind gateway.Kind, id, value string) gateway.Object {
			return gateway.Object{Kind: kind, ID: id, Value: json.RawMessage(value)}
		}
		decoration := func(id, value string) gateway.Object {
			return object(gateway.GraphQLCostDecorations, gateway.GraphQLCostDecorationID("s", id), value)
		}
		return gatewaytest.Open(t,
			object(gateway.Services, "s", `{"id":"s","upstream":{"nodes":{"`+addr+`":1}}}`),
			decoration("1", `{"field_path":"Query.products","mul_arguments":["first"]}`),
			decoration("2", `{"field_path":"Product.reviews","mul_arguments":["first"],"add_value":2}`),
			decoration("3", `{"field_path":"Query.products.reviews","add_value":5}`),
			decoration("4", `{"field_path":"Review.text","add_arguments":["length"],"mul_value":3}`),
			decoration("5", `{"field_path":"Product","add_value":1000}`),
			object(gateway.Routes, "1", `{"id":"1","uri":"/graphql","service_id":"s","plugins":{"graphql-limit-count":`+
				`{"count":1000000,"time_window":60,"introspection_headers":{"X-Key":"k"},`+config+`}}}`),
			object(gateway.Routes, "2", `{"id":"2","uri":"/bare","upstream":{"nodes":{"`+addr+`":1}},"plugins":{"graphql-limit-count":`+
				`{"count":1000000,"time_window":60,`+config+`}}}`),
		)
	}
	for config, costs := range map[string]map[string]string{
		`"cost_strategy":"complexity"`: {
			// Every field costs 1, and so does the operation; a hundredth is added and rounded up.
			`{"query":"{ unknown { a b } }"}`: "5",
			`{"query":"{ any { id } }"}`:      "4",
			// name 1; times 10, plus 1; plus 1.
			`{"query":"{ products(first: 10) { name } }"}`: "13",
			// The schema's default is 20.
			`{"query":"{ products { name } }"}`:                                                  "23",
			`{"query":"query($n: Int) { products(first: $n) { name } }","variables":{"n":30}}`:   "33",
			`{"query":"query($n: Int) { products(first: $n) { name } }","variables":{"n":"30"}}`: "33",
			`{"query":"query($n: Int = 40) { products(first: $n) { name } }"}`:                   "43",
			`{"query":"{ products(first: -10) { name } }"}`:                                      "3",
			`{"query":"{ products(first: \"ten\") { name } }"}`:                                  "4",
			// text 5; times 3, plus 5; times 2, plus 1; plus 1.
			`{"query":"{ products(first: 2) { reviews(first: 3) { text(length: 4) } } }"}`:                                   "43",
			`{"query":"{ any { ... on Product { reviews(first: 3) { text } } } }"}`:                                          "8",
			`{"query":"{ ...P } fragment P on Query { products(first: 2) { name ...P2 } } fragment P2 on Product { name }"}`: "7",
		},
		`"cost_strategy":"node_quantifier"`: {
			`{"query":"{ any { id } }"}`: "1",
			// products once, and reviews for each of them, at 5 each.
			`{"query":"{ products(first: 10) { name reviews(first: 7) { text } } }"}`: "52",
		},
		`"cost_strategy":"node_quantifier","resolve_variables":false,"score_factor":2`: {
			`{"query":"{ products { name } }"}`:                                                "1",
			`{"query":"query($n: Int) { products(first: $n) { name } }","variables":{"n":30}}`: "1",
			`{"query":"{ products(first: 3) { name } }"}`:                                      "3",
		},
	} {
		before := asked.Load()
		g := open(config)
		for body, want := range costs {
			for _, wire := range []string{"first", "again"} {
				x := new(gateway.Exchange)
				step := post(t, g, x, "/graphql", body)
				if got := x.Response.Header.Get("X-Graphql-Query-Cost"); step != gateway.StepForward || got != want {
					t.Errorf("%s: %s (%s): got step %v, cost %s, want %s; %s", config, body, wire, step, got, want, x.Response.Body)
				}
			}
		}
		if n := asked.Load() - before; n != 1 {
			t.Errorf("the schema was asked for %d times, want once", n)
		}
		// A route without a service has no decorations, so it needs no schema.
		x := new(gateway.Exchange)
		if step := post(t, g, x, "/bare", `{"query":"{ products(first: 10) { name } }"}`); step != gateway.StepForward {
			t.Errorf("got step %v", step)
		}
	}
}

// post takes a request through the hooks, and waits only where a hook asks for that.
func post(t *testing.T, g *gateway.Gateway, x *gateway.Exchange, path, body string) gateway.Step {
	t.Helper()
	x.Request.Method, x.Request.Path, x.Request.EscapedPath, x.Request.RawHost = "POST", path, path, "shop"
	x.Request.ContentLength = int64(len(body))
	x.Request.Header.Add("Content-Type", "application/json")
	x.Request.Header.Add("Authorization", "Bearer t")
	g.Begin(x, wire{t})
	for mayBlock := false; ; {
		switch step := x.Next(mayBlock); step {
		case gateway.StepBody:
			x.SetBody([]byte(body), nil)
		case gateway.StepBlock:
			mayBlock = true
		default:
			return step
		}
	}
}

// TestNoSchema: without the schema a query whose cost depends on it is refused, and not every request asks.
func TestNoSchema(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = io.WriteString(w, `{"data":{}}`)
	}))
	t.Cleanup(server.Close)
	g := gatewaytest.Open(t,
		gateway.Object{Kind: gateway.Services, ID: "s", Value: json.RawMessage(`{"id":"s","upstream":{"nodes":{"127.0.0.1:1":1}}}`)},
		gateway.Object{
			Kind: gateway.GraphQLCostDecorations, ID: gateway.GraphQLCostDecorationID("s", "1"),
			Value: json.RawMessage(`{"field_path":"Query.a","add_value":2}`),
		},
		gateway.Object{Kind: gateway.Routes, ID: "1", Value: json.RawMessage(`{"id":"1","uri":"/graphql","service_id":"s","plugins":{"graphql-limit-count":` +
			`{"count":1,"time_window":60,"cost_strategy":"complexity","introspection_endpoint":"` + server.URL + `/schema"}}}`)},
	)
	for range 3 {
		x := new(gateway.Exchange)
		step := post(t, g, x, "/graphql", `{"query":"{a}"}`)
		want := `{"message":"Invalid graphql request: failed to introspect the upstream graphql schema"}` + "\n"
		if step != gateway.StepReply || x.Response.Status != 400 || string(x.Response.Body) != want {
			t.Errorf("got step %v, %d %s", step, x.Response.Status, x.Response.Body)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

// TestHostile: documents that are short and expand to anything, or go too deep, are refused at once.
func TestHostile(t *testing.T) {
	var doubling strings.Builder
	doubling.WriteString("{ ...F0 }")
	for i := range 40 {
		fmt.Fprintf(&doubling, " fragment F%d on Query { ...F%d ...F%d }", i, i+1, i+1)
	}
	doubling.WriteString(" fragment F40 on Query { a }")
	q, err := parseQuery("application/graphql", []byte(doubling.String()))
	if err != nil {
		t.Fatal(err)
	}
	w := walker{query: q}
	if _, err := w.cost(false); err != errMany {
		t.Errorf("got %v, want %v", err, errMany)
	}
	if depth, err := q.depth(); err != nil || depth != 1 {
		t.Errorf("depth %v (%v), want 1", depth, err)
	}
}

func FuzzQuery(f *testing.F) {
	f.Add(`{ a(first: 1) { ...F } } fragment F on A { b ... on C { d } }`)
	f.Add(`query q($n: Int = 3) { a(n: $n) @include(if: true) { b } } mutation { c }`)
	f.Fuzz(func(t *testing.T, text string) {
		q, err := parseQuery("application/graphql", []byte(text))
		if err != nil {
			return
		}
		if depth, err := q.depth(); err == nil && (depth < 1 || depth > float64(len(text))) {
			t.Errorf("%q: depth %v", text, depth)
		}
		w := walker{query: q}
		if cost, err := w.cost(false); err == nil && cost < 1 {
			t.Errorf("%q: cost %v", text, cost)
		}
	})
}

func BenchmarkCost(b *testing.B) {
	q, err := parseQuery("application/graphql", []byte("{ products(first: 10) { name reviews(first: 7) { text } } }"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w := walker{query: q}
		if _, err := w.cost(false); err != nil {
			b.Fatal(err)
		}
	}
}
