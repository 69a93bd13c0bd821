// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"fmt"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	_ "github.com/andogate/ando/modules/plugins/standard"
	"github.com/andogate/ando/modules/table"
)

func environment(name string) (string, bool) {
	value, ok := map[string]string{"HOST": "shop.example.com", "PORT": "1980", "EMPTY": ""}[name]
	return value, ok
}

// objectsOf renders what a file holds, one object or finding a line.
func objectsOf(t *testing.T, name, text string) string {
	t.Helper()
	d, err := ParseFile(name, []byte(text), environment)
	if err != nil {
		return err.Error()
	}
	objects, findings := d.Objects(&table.Compiler{Plugins: gateway.RegisteredPlugins()})
	var lines []string
	for _, o := range objects {
		lines = append(lines, fmt.Sprintf("%s %s %s", o.Kind, o.ID, o.Value))
	}
	for _, f := range findings {
		lines = append(lines, "! "+f.Error())
	}
	for _, unknown := range d.Unknown() {
		lines = append(lines, "? "+unknown)
	}
	return strings.Join(lines, "\n")
}

const upstream = `{"nodes":{"a:1":1}}`

func TestFiles(t *testing.T) {
	for _, c := range []struct{ about, name, text, want string }{
		{"ids are given, taken from the name, or counted", "apisix.yaml", `
routes:
  - uri: /a
    upstream: {nodes: {"a:1": 1}}
  - id: 7
    uri: /b
    upstream: {nodes: {"a:1": 1}}
consumers:
  - username: jack
  - id: jack/credentials/c1
    plugins: {key-auth: {key: k}}
secrets:
  - {id: vault/1, uri: "http://127.0.0.1:8200", prefix: kv, token: t}
plugin_metadata:
  - id: key-auth
plugins:
  - name: key-auth
#END
`, `consumers jack {"username":"jack"}
credentials jack/credentials/c1 {"id":"c1","plugins":{"key-auth":{"key":"k"}}}
plugin_metadata key-auth {"id":"key-auth"}
routes arr_1 {"id":"arr_1","upstream":{"nodes":{"a:1":1}},"uri":"/a"}
routes 7 {"id":7,"upstream":{"nodes":{"a:1":1}},"uri":"/b"}
secrets vault/1 {"id":"vault/1","prefix":"kv","token":"t","uri":"http://127.0.0.1:8200"}`},

		{"what is wrong is left out, and named", "apisix.yaml", `
rotues: []
routes_conf_version: one
routes:
  - {id: bad, uri: /a, plugins: {no-such: {}}}
  - {id: good, uri: /a, plugins: {}, modifiedIndex: 5}
  - {id: good, uri: /b, plugins: {}}
  - /c
upstreams: {}
#END  `, `routes good {"id":"good","plugins":{},"uri":"/a"}
! routes_conf_version must be a number, got string
! routes bad, item 1: unknown plugin [no-such]
! routes good, item 3: found duplicate id good in routes
! routes, item 4: invalid configuration: wrong type: expected object, got string
? rotues`},

		{"a file that is being written has no end yet", "conf/apisix.yaml", "routes: []\n#END\nabcdefghij", "missing valid end flag in file conf/apisix.yaml"},
		{
			"JSON needs no marker", "apisix.json", `{"routes":[{"uri":"/a","upstream":` + upstream + `}]}`,
			`routes arr_1 {"id":"arr_1","upstream":{"nodes":{"a:1":1}},"uri":"/a"}`,
		},
		{"variables are text before YAML is read", "apisix.yaml", `
routes:
  - {id: r, uri: /a, host: "${{HOST}}", upstream: {nodes: [{host: a, port: ${{PORT}}, weight: ${{ WEIGHT := 3 }}}]}, name: "x${{EMPTY}}y"}
#END`, `routes r {"host":"shop.example.com","id":"r","name":"xy","upstream":{"nodes":[{"host":"a","port":1980,"weight":3}]},"uri":"/a"}`},
		{
			"variables are inside strings in JSON", "apisix.json", `{"routes":[{"id":"r","uri":"/${{PORT}}","desc":"${{NO:=\"}}","plugins":{}}]}`,
			`routes r {"desc":"\"","id":"r","plugins":{},"uri":"/1980"}`,
		},
		{"a variable that is not set", "apisix.yaml", "routes: [{uri: '${{NO_SUCH}}'}]\n#END", "can't find environment variable NO_SUCH"},

		{"aliases and merges", "apisix.yaml", `
routes:
  - &first {id: a, uri: /a, upstream: &up {nodes: {"a:1": 1}, retries: 1}}
  - {<<: *first, id: b, upstream: {<<: [*up], retries: 2}}
#END`, `routes a {"id":"a","upstream":{"nodes":{"a:1":1},"retries":1},"uri":"/a"}
routes b {"id":"b","upstream":{"nodes":{"a:1":1},"retries":2},"uri":"/a"}`},
		{"dates are text, numbers keep their spelling, names are text", "apisix.yaml", `
routes: [{id: a, uri: /a, labels: {1: "2"}, name: 2026-11-22, priority: +10, timeout: {connect: 1.50, send: .5, read: 0x10}, plugins: {}}]
#END`, `routes a {"id":"a","labels":{"1":"2"},"name":"2026-11-22","plugins":{},"priority":10,"timeout":{"connect":1.50,"read":16,"send":0.5},"uri":"/a"}`},
		{"given twice", "apisix.yaml", "routes: []\nroutes: []\n#END", `yaml: line 2: "routes" is given twice`},
		{"not a number", "apisix.yaml", "routes: [{priority: .nan}]\n#END", "yaml: line 1: .nan is no number that can be used"},
		{"no document", "apisix.yaml", "- 1\n#END", ErrNotAnObject.Error()},
		{"nothing", "apisix.yaml", "#END", ""},
	} {
		t.Run(c.about, func(t *testing.T) {
			if got := objectsOf(t, c.name, c.text); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// A few lines of aliases stand for more than there is memory, and an alias may stand for what it is in.
func TestYAMLBombs(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%[1]d [%s]\n", i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	for text, want := range map[string]string{
		bomb.String():             "stand for too much",
		"a: &a [*a]":              "nested deeper",
		strings.Repeat("[", 1000): "nested deeper",
	} {
		if _, err := ParseYAML([]byte(text)); err == nil || strings.HasPrefix(text, "a") && !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: %v", text, err)
		}
	}
}

// FuzzYAML looks for a document that cannot be written down again, or is another then.
func FuzzYAML(f *testing.F) {
	for _, seed := range []string{"a: 1", "a: &x [1, *x]", "<<: {a: b}", "'x': !!binary aGk=", "a: 0o17\nb: 1_000", "? [a]\n: b", "a: \"\\u2028\""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value, err := decodeYAML([]byte(text))
		if err != nil {
			return
		}
		doc, err := encode(value)
		if err != nil {
			t.Fatalf("%#v: %v", value, err)
		}
		out, err := encodeYAML(doc)
		if err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		again, err := decodeYAML(out)
		if err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		if second, _ := encode(again); string(second) != string(doc) {
			t.Errorf("got %s, want %s", second, doc)
		}
	})
}
