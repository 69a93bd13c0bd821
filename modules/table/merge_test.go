// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// TestPluginMerge names, for each plugin of the chain, the object that its instance was made for.
func TestPluginMerge(t *testing.T) {
	const (
		service = `services s {"plugins":{"toy-a":{},"toy-b":{},"toy-c":{}}}`
		config  = `plugin_configs c {"plugins":{"toy-b":{},"toy-auth":{}}}`
	)
	for _, c := range []struct {
		name, route string
		want        []string
	}{
		{"service alone", `"service_id":"s"`, []string{"toy-a=services/s", "toy-b=services/s", "toy-c=services/s"}},
		{"config over service", `"service_id":"s","plugin_config_id":"c"`, []string{
			"toy-auth=plugin_configs/c", "toy-a=services/s", "toy-b=plugin_configs/c", "toy-c=services/s",
		}},
		{"route over both", `"service_id":"s","plugin_config_id":"c","plugins":{"toy-a":{},"toy-b":{}}`, []string{
			"toy-auth=plugin_configs/c", "toy-a=routes/r", "toy-b=routes/r", "toy-c=services/s",
		}},
		{"a disabled plugin hides those below", `"service_id":"s","plugins":{"toy-a":{"_meta":{"disable":true}}}`, []string{
			"toy-b=services/s", "toy-c=services/s",
		}},
		{"_meta.priority sorts", `"plugins":{"toy-a":{"_meta":{"priority":1}},"toy-b":{}}`, []string{
			"toy-b=routes/r", "toy-a=routes/r",
		}},
		{"nothing", `"upstream_id":"u"`, []string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := compileAll(t, toyCompiler(HostURI), service, config, `routes r {"uri":"/",`+c.route+`}`)
			if got := instances(get(table, "h", "/").Chain, table.compiler.Plugins); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestPluginConfigHasDefaultsAndNoMeta(t *testing.T) {
	table := compileAll(t, toyCompiler(HostURI),
		`routes r {"uri":"/","plugins":{"toy-a":{"_meta":{"error_response":{"e": 1},"filter":[["arg_a","==","1"]]}}}}`,
		`routes q {"uri":"/q","plugins":{"toy-a":{"x":1,"_meta":{"error_response":"text"}}}}`)
	entry, _ := get(table, "h", "/").Chain.Entry(table.compiler.Plugins["toy-a"])
	if got := entry.Instance.(*toy).config; got != `{"x":7}` {
		t.Errorf("config %s, want the default filled in", got)
	}
	if !entry.ErrorIsJSON || string(entry.ErrorResponse) != "{\"e\":1}\n" {
		t.Errorf("error response %s, JSON %v", entry.ErrorResponse, entry.ErrorIsJSON)
	}
	again := mustChange(t, table, `routes r {"uri":"/",`+
		`"plugins":{"toy-a":{"_meta":{"error_response":{"e": 1},"filter":[["arg_a","==","1"]]}},"toy-b":{}}}`)
	kept, _ := get(again, "h", "/").Chain.Entry(again.compiler.Plugins["toy-a"])
	if kept.Instance != entry.Instance || string(kept.ErrorResponse) != string(entry.ErrorResponse) {
		t.Errorf("in the next chain: same instance %v, error response %q", kept.Instance == entry.Instance, kept.ErrorResponse)
	}
	x := new(gateway.Exchange)
	if x.Request.Query = "a=2"; entry.Filter(x) {
		t.Error("the filter let a=2 pass")
	}
	if x.Request.Query = "a=1"; !entry.Filter(x) {
		t.Error("the filter held a=1 back")
	}
	entry, _ = get(table, "h", "/q").Chain.Entry(table.compiler.Plugins["toy-a"])
	if got := entry.Instance.(*toy).config; got != `{"x":1}` || entry.ErrorIsJSON || string(entry.ErrorResponse) != "text" {
		t.Errorf("config %s, error response %s", got, entry.ErrorResponse)
	}
	if o, _ := table.Object(gateway.Routes, "q"); string(o.Value) != `{"uri":"/q","plugins":{"toy-a":{"x":1,"_meta":{"error_response":"text"}}}}` {
		t.Errorf("the stored value has changed: %s", o.Value)
	}
}

func TestFilterReadsBody(t *testing.T) {
	for vars, want := range map[string]int64{
		`[["arg_a","==","1"]]`:                                    0,
		`[["post_arg_a","==","1"]]`:                               64 << 20,
		`[["graphql_name","==","1"]]`:                             1 << 20,
		`[["post_arg.a.b","==","1"]]`:                             64 << 20,
		`[["!AND",["arg_a","==","1"],["graphql_name","==","1"]]]`: 1 << 20,
	} {
		table := compileAll(t, toyCompiler(HostURI), `routes r {"uri":"/","plugins":{"toy-a":{"_meta":{"filter":`+vars+`}}}}`)
		entry, _ := get(table, "h", "/").Chain.Entry(table.compiler.Plugins["toy-a"])
		if entry.FilterReadsBody != want {
			t.Errorf("%s: got %d, want %d", vars, entry.FilterReadsBody, want)
		}
	}
}

func TestInheritance(t *testing.T) {
	const service = `services s {"name":"sn","hosts":["S.com"],"enable_websocket":true,"labels":{"from":"service"},` +
		`"upstream":{"nodes":{"127.0.0.1:80":1}}}`
	for _, c := range []struct {
		service, route, host, want string
	}{
		{
			service, `"service_id":"s"`, "s.com",
			`s sn "" /apisix/services/s true map[from:service] 0s`,
		},
		{
			service, `"service_id":"s","hosts":["r.com"],"labels":{"from":"route"},"enable_websocket":false,` +
				`"timeout":{"connect":1,"send":1,"read":1},"upstream_id":"7"`, "r.com",
			`s sn "7"  false map[from:route] 1s`,
		},
		{`services s {"upstream_id":7}`, `"service_id":"s"`, "h", `s  "7"  false map[] 0s`},
		{`services s {"upstream_id":7}`, `"service_id":"s","upstream":{"nodes":{}}`, "h", `s  "" /apisix/routes/r false map[] 0s`},
		{service, `"service_id":"s","enable_websocket":null`, "s.com", `s sn "" /apisix/services/s true map[from:service] 0s`},
		{`services 3 {"name":"three"}`, `"service_id":3,"upstream":{"nodes":{}},"upstream_id":4`, "h", `3 three "4"  false map[] 0s`},
	} {
		table := compileAll(t, toyCompiler(HostURI), c.service, `routes r {"uri":"/",`+c.route+`}`)
		r := get(table, c.host, "/")
		if r == nil {
			t.Errorf("%s does not match on %s", c.route, c.host)
			continue
		}
		key := ""
		if r.Upstream != nil {
			key = r.Upstream.Key
		}
		got := fmt.Sprintf("%s %s %q %s %v %v %v", r.ServiceID, r.ServiceName, r.UpstreamID, key, r.Websocket, r.Labels, r.Timeout.Read)
		if got != c.want || r.Name != "" {
			t.Errorf("%s\ngot  %s\nwant %s", c.route, got, c.want)
		}
	}
	timeout := gateway.Timeout{Connect: 500 * time.Millisecond, Send: time.Second, Read: 2 * time.Second}
	table := compileAll(t, toyCompiler(HostURI), `routes r {"uri":"/","timeout":{"connect":0.5,"send":1,"read":2}}`)
	if got := get(table, "h", "/").Timeout; got != timeout {
		t.Errorf("timeout %v, want %v", got, timeout)
	}
}

// TestMissingReferences has the statuses of data-plane.md section 10, and takes them back when what was missing comes.
func TestMissingReferences(t *testing.T) {
	table := compileAll(t, toyCompiler(HostURI),
		`routes service {"uri":"/service","service_id":"s"}`,
		`routes config {"uri":"/config","plugin_config_id":"c"}`,
		`routes both {"uri":"/both","service_id":"s","plugin_config_id":"c"}`,
		`routes upstream {"uri":"/upstream","upstream_id":"u"}`,
		`consumers bob {"username":"bob","group_id":"g"}`,
	)
	check := func(table *Table, service, config, both, consumer int) {
		t.Helper()
		for path, want := range map[string]int{"/service": service, "/config": config, "/both": both, "/upstream": 0} {
			if r := get(table, "h", path); r.Fault != want || want != 0 && r.FaultReason == "" {
				t.Errorf("%s: fault %d %q, want %d", path, r.Fault, r.FaultReason, want)
			}
		}
		if got := table.Consumer("bob").Fault; got != consumer {
			t.Errorf("consumer fault %d, want %d", got, consumer)
		}
	}
	check(table, 404, 503, 503, 503)
	table = mustChange(t, table, `plugin_configs c {"plugins":{}}`)
	check(table, 404, 0, 404, 503)
	table = mustChange(t, table, `services s {}`, `consumer_groups g {"plugins":{}}`)
	check(table, 0, 0, 0, 0)
	check(mustChange(t, table, `services s`, `plugin_configs c`, `consumer_groups g`), 404, 503, 503, 503)
}

// TestStoredFaults serves what cannot be compiled as 503, and says so.
func TestStoredFaults(t *testing.T) {
	table, faults := toyCompiler(HostURI).Compile(1, objects(t,
		`routes unknown {"uri":"/unknown","host":"h","plugins":{"nope":{}}}`,
		`routes bad {"uri":"/bad","plugins":{"toy-a":{"x":"no"}}}`,
		`routes vars {"uri":"/vars","vars":[["arg_a","x","1"]]}`,
		`routes typed {"uri":"/typed","priority":"high"}`,
		`routes lua {"uri":"/lua","filter_func":"function(vars) return"}`,
		`routes fine {"uri":"/fine","plugins":{"toy-a":{"x":"no","_meta":{"disable":true}}}}`,
		`routes nouri {"host":"h"}`,
		`routes nojson [`,
		`routes nohost {"uri":"/*","hosts":[""]}`,
		`services s {"plugins":{"nope":{}}}`,
		`routes of-service {"uri":"/of-service","service_id":"s"}`,
		`upstreams u {"nodes":[{"host":5}]}`,
		`what is {}`,
	))
	for path, want := range map[string]int{
		"/unknown": 503, "/bad": 503, "/vars": 503, "/typed": 503, "/lua": 503, "/fine": 0, "/of-service": 503,
	} {
		r := get(table.(*Table), "h", path)
		if r == nil || r.Fault != want || want != 0 && r.Chain != nil {
			t.Errorf("%s: got %+v, want fault %d", path, r, want)
		}
	}
	if r := get(table.(*Table), "h", "/elsewhere"); r != nil {
		t.Errorf("%s matches everywhere", r.ID)
	}
	if u := table.Upstream("u"); u == nil || u.Fault != 503 {
		t.Errorf("upstream: got %+v, want a fault", u)
	}
	if len(faults) != 11 {
		t.Errorf("%d faults, want 11: %q", len(faults), faults)
	}
}

// TestBrokenGlobalRule lets no request pass: nobody knows what the rule would have checked.
func TestBrokenGlobalRule(t *testing.T) {
	table, faults := toyCompiler(HostURI).Compile(1, objects(t, `global_rules 1 {"plugins":{"nope":{}}}`, `routes r {"uri":"/"}`))
	if len(faults) != 1 {
		t.Errorf("faults %q", faults)
	}
	x := new(gateway.Exchange)
	x.Request.Method, x.Request.Path = "GET", "/"
	x.Begin(table, nil, nil)
	if step := x.Next(true); step != gateway.StepReply || x.Response.Status != 503 {
		t.Errorf("step %v, status %d, want 503", step, x.Response.Status)
	}
	healed := mustChange(t, table.(*Table), `global_rules 1 {"plugins":{"toy-a":{}}}`)
	if got := healed.Globals().Names(); !slices.Equal(got, []string{"toy-a"}) {
		t.Errorf("globals %q", got)
	}
}

func TestGlobalRules(t *testing.T) {
	table, faults := toyCompiler(HostURI).Compile(1, objects(t,
		`global_rules b {"plugins":{"toy-a":{},"toy-b":{}}}`, `global_rules a {"plugins":{"toy-b":{}}}`))
	want := []string{"toy-a=global_rules/b", "toy-b=global_rules/a"}
	if got := instances(table.Globals(), toySetOf(table)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(faults) != 1 {
		t.Errorf("faults %q", faults)
	}
	after := mustChange(t, table.(*Table), "global_rules a")
	want = []string{"toy-a=global_rules/b", "toy-b=global_rules/b"}
	if got := instances(after.Globals(), toySetOf(after)); !reflect.DeepEqual(got, want) {
		t.Errorf("after delete: got %q, want %q", got, want)
	}
	if mustChange(t, after, "global_rules b").Globals() != nil {
		t.Error("globals without a rule")
	}
}

func toySetOf(t gateway.Table) gateway.Plugins { return t.(*Table).compiler.Plugins }

func TestMetadata(t *testing.T) {
	table := compileAll(t, toyCompiler(HostURI), `plugin_metadata toy-a {"id":"toy-a"}`)
	if got := table.Metadata("toy-a"); got != `{"m":"d"}` {
		t.Errorf("got %v, want the default and no id", got)
	}
	if got := table.Metadata("toy-b"); got != nil {
		t.Errorf("got %v, want nil", got)
	}
	table = mustChange(t, table, `plugin_metadata toy-a {"id":"toy-a","m":"new"}`)
	if got := table.Metadata("toy-a"); got != `{"m":"new"}` {
		t.Errorf("got %v", got)
	}
	if got := mustChange(t, table, `plugin_metadata toy-a`).Metadata("toy-a"); got != nil {
		t.Errorf("got %v after delete", got)
	}
}
