// SPDX-License-Identifier: Apache-2.0

package table

import (
	"bufio"
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// routingExample is one case that was run on APISIX's own router.
type routingExample struct {
	Title  string
	Router string
	Routes []struct {
		ID       string          `json:"id"`
		URI      json.RawMessage `json:"uri"`
		Hosts    json.RawMessage `json:"hosts,omitempty"`
		Methods  json.RawMessage `json:"methods,omitempty"`
		Vars     json.RawMessage `json:"vars,omitempty"`
		Priority json.RawMessage `json:"priority,omitempty"`
	}
	Request struct {
		Host, Method, URI string
		Vars              map[string]string
	}
	Expect string
	Params map[string]string `json:"uri_params"`
}

func TestRoutingExamples(t *testing.T) {
	file, err := os.ReadFile("testdata/routing-examples.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(file))
	n := 0
	for lines.Scan() {
		n++
		var c routingExample
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		t.Run(strings.Join([]string{c.Router, c.Title, strconv.Itoa(n)}, "/"), func(t *testing.T) { runExample(t, c) })
	}
	if n != 219 {
		t.Errorf("%d examples, want 219", n)
	}
}

func runExample(t *testing.T, c routingExample) {
	var objects []gateway.Object
	for i, r := range c.Routes {
		value, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		// The field that takes a list has another name outside of these cases.
		if r.URI[0] == '[' {
			value = bytes.Replace(value, []byte(`"uri":`), []byte(`"uris":`), 1)
		}
		objects = append(objects, gateway.Object{
			Kind: gateway.Routes, ID: r.ID, Value: value, Created: uint64(i + 1), Modified: uint64(i + 1),
		})
	}
	table, faults := (&Compiler{Router: c.Router}).Compile(uint64(len(objects)), objects)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	x := exampleExchange(t, c)
	want := c.Expect
	if want == "404" {
		want = ""
	}
	if got := routeID(table.Match(x, nil)); got != want {
		t.Fatalf("matched %q, want %q", got, want)
	}
	if c.Params == nil {
		return
	}
	got := make(map[string]string)
	for _, p := range x.Params {
		got[p.Name] = p.Value
	}
	if !maps.Equal(got, c.Params) {
		t.Errorf("params %v, want %v", got, c.Params)
	}
}

func exampleExchange(t *testing.T, c routingExample) *gateway.Exchange {
	x := new(gateway.Exchange)
	x.Request.Method = "GET"
	if c.Request.Method != "" {
		x.Request.Method = c.Request.Method
	}
	x.Request.Path, x.Request.EscapedPath = c.Request.URI, c.Request.URI
	x.Request.SetHost(c.Request.Host)
	query := make(url.Values)
	for name, value := range c.Request.Vars {
		switch {
		case strings.HasPrefix(name, "arg_"):
			query.Set(strings.TrimPrefix(name, "arg_"), value)
		case name == "http_host":
			x.Request.RawHost = value
		case strings.HasPrefix(name, "http_"):
			x.Request.Header.Add(strings.ReplaceAll(strings.TrimPrefix(name, "http_"), "_", "-"), value)
		default:
			t.Fatalf("unknown variable %q", name)
		}
	}
	x.Request.Query = query.Encode()
	return x
}

func routeID(r *gateway.Route) string {
	if r == nil {
		return ""
	}
	return r.ID
}
