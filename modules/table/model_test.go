// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// TestAgainstOracle applies random changes, and compares the table that grew by With with one compiled at once from the
// same objects, and both with the oracle.
func TestAgainstOracle(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	for _, router := range []string{HostURI, URI, URIWithParameter} {
		t.Run(router, func(t *testing.T) {
			for seed := range uint64(rounds) {
				m := &model{T: t, rand: rand.New(rand.NewPCG(seed, 1)), router: router, objects: map[string]gateway.Object{}}
				m.run(30)
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

// model is what a table is compared with.
type model struct {
	*testing.T
	rand    *rand.Rand
	router  string
	objects map[string]gateway.Object
	rev     uint64
	refused int
}

func (m *model) run(steps int) {
	compiler := toyCompiler(m.router)
	empty, _ := compiler.Compile(0, nil)
	table := empty.(*Table)
	for step := range steps {
		var changes []gateway.Change
		for range 1 + m.rand.IntN(3) {
			m.rev++
			changes = append(changes, m.change(m.rev, changes))
		}
		next, err := table.With(changes)
		if err != nil {
			m.refused++
			continue
		}
		table = next.(*Table)
		for _, c := range changes {
			if c.Delete {
				delete(m.objects, c.Object.Key())
			} else {
				m.objects[c.Object.Key()] = c.Object
			}
		}
		all := slices.Collect(maps.Values(m.objects))
		whole, _ := compiler.Compile(m.rev, all)
		m.compare(table, whole.(*Table), newOracle(m.router, all))
		if step%5 == 0 {
			again, _ := compiler.Recompile(table, m.rev, all)
			table = again.(*Table)
			m.compare(table, whole.(*Table), newOracle(m.router, all))
		}
		if m.Failed() {
			for _, o := range all {
				m.Logf("%s created %d: %s", o.Key(), o.Created, o.Value)
			}
			return
		}
	}
	if m.refused == steps {
		m.Error("every change was refused")
	}
}

func (m *model) compare(grown, whole *Table, oracle *oracle) {
	m.Helper()
	for range 40 {
		x := m.request()
		want := oracle.match(x)
		for name, table := range map[string]*Table{"grown": grown, "whole": whole} {
			if got := answerOf(table, x); !reflect.DeepEqual(got, want) {
				m.Errorf("%s: %s %s%s from %s: got %+v, want %+v", name, x.Request.Method, x.Request.RawHost, x.Request.Path,
					x.Request.Client, got, want)
				return
			}
		}
		if a, b := describeRoute(grown.Match(x, nil)), describeRoute(whole.Match(x, nil)); a != b {
			m.Errorf("route differs:\ngrown %s\nwhole %s", a, b)
		}
		if a, b := grown.ReadsBody(x), whole.ReadsBody(x); a != b {
			m.Errorf("ReadsBody: grown %d, whole %d", a, b)
		}
	}
	if a, b := describeLookups(grown), describeLookups(whole); a != b {
		m.Errorf("lookups differ:\ngrown %s\nwhole %s", a, b)
	}
}

func answerOf(table *Table, x *gateway.Exchange) answer {
	r := table.Match(x, nil)
	if r == nil {
		return answer{}
	}
	a := answer{Route: r.ID, URI: x.MatchedURI, Host: x.MatchedHost, Params: map[string]string{}}
	for _, p := range x.Params {
		a.Params[p.Name] = p.Value
	}
	return a
}

func describeRoute(r *gateway.Route) string {
	if r == nil {
		return "none"
	}
	up := ""
	if r.Upstream != nil {
		up = r.Upstream.Key + " " + r.Upstream.Nodes[0].Addr
	}
	return fmt.Sprint(r.ID, r.Name, r.ServiceID, r.ServiceName, r.UpstreamID, up, r.Timeout, r.Websocket, r.Fault, r.Labels,
		instances(r.Chain, toySet))
}

var toySet = toyPlugins()

// describeLookups is everything that the table answers but matches.
func describeLookups(t *Table) string {
	var b strings.Builder
	for _, kind := range gateway.Kinds {
		for o := range t.Objects(kind) {
			again, ok := t.Object(kind, o.ID)
			fmt.Fprintln(&b, o.Key(), string(o.Value), o.Created, ok && again.Key() == o.Key())
		}
	}
	for _, name := range ids {
		if c := t.Consumer(name); c != nil {
			fmt.Fprintln(&b, "consumer", name, c.GroupID, c.Fault, c.Labels, describeEntries(c.Plugins))
		}
		if c := t.Credential("toy-auth", name); c != nil {
			fmt.Fprintln(&b, "credential", name, c.ID, c.Config, c.Consumer.Name, c.Consumer == t.Consumer(c.Consumer.Name))
		}
		if u := t.Upstream(name); u != nil {
			fmt.Fprintln(&b, "upstream", name, u.Key, u.Nodes[0].Addr)
		}
	}
	for name := range toySet {
		fmt.Fprintln(&b, "metadata", name, t.Metadata(name))
	}
	fmt.Fprintln(&b, "globals", instances(t.Globals(), t.compiler.Plugins), t.forms, t.graphQLs)
	return sorted(b.String())
}

func sorted(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func describeEntries(entries []gateway.Entry) (all []string) {
	for _, e := range entries {
		made, _ := e.Instance.(*toy)
		all = append(all, fmt.Sprintf("%s %+v", e.Plugin.Name, made))
	}
	slices.Sort(all)
	return all
}

var (
	ids      = []string{"1", "2", "3", "k4", "k5"}
	segments = []string{"a", "b", "ab", "a.b", "aXb", "*", ":x", "*y", "c"}
	hosts    = []string{"b.c", "a.b.c", "*.b.c", "*b.c", "*", "x.a.b.c", "B.C", "b.c:81", "*.c:81"}
	plugins  = []string{
		`"toy-a":{}`, `"toy-a":{"x":2}`, `"toy-b":{"_meta":{"disable":true}}`, `"toy-b":{}`,
		`"toy-c":{"_meta":{"priority":500}}`, `"toy-auth":{}`,
	}
)

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// change makes a random change that comes after earlier ones of the same batch.
func (m *model) change(rev uint64, earlier []gateway.Change) gateway.Change {
	o := m.object()
	o.Modified, o.Created = rev, rev
	if prior, ok := m.objects[o.Key()]; ok {
		o.Created = prior.Created
	}
	for _, e := range earlier {
		if e.Object.Key() == o.Key() && !e.Delete {
			o.Created = e.Object.Created
		}
	}
	return gateway.Change{Object: o, Delete: m.rand.IntN(4) == 0}
}

func (m *model) object() gateway.Object {
	r := m.rand
	id := pick(r, ids)
	put := func(kind gateway.Kind, id string, fields ...string) gateway.Object {
		fields = slices.DeleteFunc(fields, func(f string) bool { return f == "" })
		return gateway.Object{Kind: kind, ID: id, Value: []byte("{" + strings.Join(fields, ",") + "}")}
	}
	switch r.IntN(16) {
	case 0:
		return put(gateway.Services, id, m.plugins(), m.target(), m.some(`"hosts":["`+pick(r, hosts)+`"]`), m.some(`"name":"s"`),
			m.some(`"enable_websocket":true`), m.some(`"labels":{"l":"s"}`))
	case 1:
		return put(gateway.Upstreams, id, m.node())
	case 2:
		return put(gateway.PluginConfigs, id, m.plugins())
	case 3:
		return put(gateway.ConsumerGroups, id, m.plugins())
	case 4, 5:
		plugins := m.some(`"plugins":{"toy-auth":{"key":"` + pick(r, ids) + `"},"toy-b":{}}`)
		if plugins == "" {
			plugins = `"plugins":{"toy-b":{"_meta":{"disable":true}}}`
		}
		return put(gateway.Consumers, id, plugins, m.some(`"group_id":"`+pick(r, ids)+`"`), m.some(`"labels":{"l":"c"}`))
	case 6:
		return put(gateway.Credentials, gateway.CredentialID(id, pick(r, ids)),
			`"plugins":{"toy-auth":{"key":"`+pick(r, ids)+`"}}`)
	case 7:
		return put(gateway.GlobalRules, id, m.plugins())
	case 8:
		return put(gateway.PluginMetadata, pick(r, []string{"toy-a", "toy-b"}), m.some(`"m":"`+id+`"`))
	}
	id += pick(r, []string{"", "a", "b"})
	uri := `"uri":"` + m.path(true) + `"`
	if r.IntN(3) == 0 {
		uri = `"uris":["` + m.path(true) + `","` + m.path(true) + `"]`
	}
	return put(gateway.Routes, id, uri, m.plugins(), m.target(),
		m.some(`"hosts":["`+pick(r, hosts)+`","`+pick(r, hosts)+`"]`),
		m.some(fmt.Sprintf(`"priority":%d`, r.IntN(4)-1)), m.rare(`"status":0`),
		m.rare(`"methods":["GET","PURGE"]`), m.rare(`"remote_addrs":["10.0.0.0/8","192.168.0.1"]`),
		m.rare(pick(r, []string{`"vars":[["arg_v","==","1"]]`, `"vars":[["arg_v","==","2"]]`})),
		m.rare(`"expression":"!('x-deny' in request.headers)"`),
		m.some(`"service_id":"`+pick(r, ids)+`"`), m.rare(`"plugin_config_id":"`+pick(r, ids)+`"`),
		m.some(`"name":"r"`), m.rare(`"labels":{"l":"r"}`), m.rare(`"enable_websocket":false`),
		m.rare(`"timeout":{"connect":1,"send":2,"read":3}`))
}

func (m *model) some(field string) string {
	if m.rand.IntN(2) == 0 {
		return ""
	}
	return field
}

func (m *model) rare(field string) string {
	if m.rand.IntN(5) > 0 {
		return ""
	}
	return field
}

func (m *model) plugins() string {
	one := pick(m.rand, plugins)
	if m.rand.IntN(2) == 0 {
		return m.some(`"plugins":{` + one + `}`)
	}
	if other := pick(m.rand, plugins); other[:7] != one[:7] {
		one += "," + other
	}
	if m.rand.IntN(40) == 0 {
		one += `,"unheard-of":{}`
	}
	return `"plugins":{` + one + `}`
}

func (m *model) node() string { return fmt.Sprintf(`"nodes":{"127.0.0.1:%d":1}`, 80+m.rand.IntN(3)) }

func (m *model) target() string {
	return m.some(pick(m.rand, []string{`"upstream_id":"` + pick(m.rand, ids) + `"`, `"upstream":{` + m.node() + `}`}))
}

func (m *model) path(pattern bool) string {
	path := ""
	for range 1 + m.rand.IntN(4) {
		n := len(segments)
		if !pattern {
			n = 5
		}
		path += "/" + segments[m.rand.IntN(n)]
	}
	if pattern && m.rand.IntN(4) == 0 {
		path += "*"
	}
	if m.rand.IntN(6) == 0 {
		path += "/"
	}
	return path
}

func (m *model) request() *gateway.Exchange {
	r := m.rand
	x := new(gateway.Exchange)
	x.Request.Method = pick(r, []string{"GET", "POST", "PURGE", "BREW"})
	x.Request.Path = m.path(false)
	x.Request.SetHost(pick(r, []string{"b.c", "a.b.c", "B.C", "b.c:81", "x.a.b.c", "y.b.c:81", "zb.c", "other"}))
	x.Request.Client = netip.MustParseAddrPort(pick(r, []string{"10.1.1.1:5", "192.168.0.1:5", "1.1.1.1:5"}))
	x.Request.Query = pick(r, []string{"", "v=1", "v=2"})
	if r.IntN(3) == 0 {
		x.Request.Header.Add("X-Deny", "1")
	}
	return x
}
