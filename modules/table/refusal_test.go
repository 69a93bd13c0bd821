// SPDX-License-Identifier: Apache-2.0

package table

import (
	"errors"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// TestRefusals has the texts of admin-api.md section 4, from With and from Check. A text that ends in "..." is a prefix.
func TestRefusals(t *testing.T) {
	route := func(fields string) string { return `routes 1 {"uri":"/a",` + fields + `}` }
	before := compileAll(t, toyCompiler(HostURI),
		`consumers bob {"username":"bob","plugins":{"toy-auth":{"key":"bobs"}}}`,
		`credentials bob/credentials/c1 {"plugins":{"toy-auth":{"key":"bobs-c1"}}}`,
		`global_rules y {"plugins":{"toy-a":{}}}`,
	)
	for _, c := range []struct {
		object, want string
		// withOnly is for what only With can know.
		withOnly bool
	}{
		{route(`"plugins":{"nope":{}}`), `unknown plugin [nope]`, false},
		{route(`"plugins":{"nope":{"_meta":{"disable":true}}}`), `unknown plugin [nope]`, false},
		{route(`"plugins":{"toy-a":"blah"}`), `invalid plugin conf "blah" for plugin [toy-a]`, false},
		{
			route(`"plugins":{"toy-a":{"x":"s"}}`),
			`failed to check the configuration of plugin toy-a err: property "x" validation failed: wrong type: expected integer, got string`, false,
		},
		{route(`"plugins":{"toy-a":{"fail":true}}`), `failed to check the configuration of plugin toy-a err: told to fail`, false},
		{
			route(`"plugins":{"toy-a":{"_meta":{"priority":"x"}}}`),
			`failed to check the configuration of plugin toy-a err: property "_meta" validation failed: ...`, false,
		},
		{
			route(`"plugins":{"toy-a":{"_meta":{"filter":[["arg_a","x","1"]]}}}`),
			`failed to validate the 'vars' expression: invalid operator 'x'`, false,
		},
		{
			route(`"plugins":{"toy-a":{"_meta":{"pre_function":"return function() end"}}}`),
			`failed to load _meta.pre_function in plugin toy-a...`, false,
		},
		{route(`"plugins":{"toy-a":{"x":"s","_meta":{"disable":true}}}`), ``, false},
		{route(`"vars":[["arg_a","x","1"]]`), `failed to validate the 'vars' expression: invalid operator 'x'`, false},
		{route(`"expression":"request.nothing"`), `failed to validate the 'expression': ...`, false},
		{route(`"filter_func":"function(vars) return"`), `failed to load 'filter_func' string: [string "return function(vars) return"]:1: ...`, false},
		{route(`"filter_func":"function() end and nil"`), `'filter_func' should be a function`, false},
		{route(`"filter_func":"function(vars) return os.time() > 0 end"`), `failed to load 'filter_func' string: [string "return function(vars) return os.time() > 0 end"]:1: os is not available...`, false},
		{route(`"script":"local x = "`), `failed to load 'script' string: [string "local x = "]:1: unexpected symbol near '<eof>'`, false},
		{route(`"script":"local x = 1"`), `'script' should be a Lua object`, false},
		{route(`"script_id":"1"`), `'script_id' is not supported: use 'script'`, false},
		{`services 1 {"plugins":{"nope":{}}}`, `unknown plugin [nope]`, false},
		{`services 1 {"script":"local x = 1"}`, `'script' should be a Lua object`, false},
		{`plugin_configs 1 {"plugins":{"nope":{}}}`, `unknown plugin [nope]`, false},
		{`consumer_groups 1 {"plugins":{"nope":{}}}`, `unknown plugin [nope]`, false},
		{`global_rules 1 {"plugins":{"nope":{}}}`, `unknown plugin [nope]`, false},
		{`global_rules 1 {"plugins":{"toy-a":{}}}`, `plugin 'toy-a' already exists in global rule with id 'y'`, true},
		{`global_rules z {"plugins":{"toy-a":{}}}`, `plugin 'toy-a' already exists in global rule with id 'y'`, true},
		{`global_rules y {"plugins":{"toy-a":{"x":1}}}`, ``, true},
		{`consumers eve {"username":"eve","plugins":{"nope":{}}}`, `invalid plugins configuration: unknown plugin [nope]`, false},
		{`consumers eve {"username":"eve","plugins":{"toy-auth":{}}}`, `invalid plugins configuration: ` +
			`failed to check the configuration of plugin toy-auth err: property "key" is required`, false},
		{
			`consumers eve {"username":"eve","plugins":{"toy-auth":{"key":"bobs"}}}`,
			`duplicate key of plugin toy-auth found with consumer: bob`, true,
		},
		{
			`consumers eve {"username":"eve","plugins":{"toy-auth":{"key":"bobs-c1"}}}`,
			`duplicate key of plugin toy-auth found with credential: c1 of consumer: bob`, true,
		},
		{`consumers eve {"username":"eve","plugins":{"toy-auth":{"key":"$env://KEY"}}}`, ``, true},
		{`consumers bob {"username":"bob","plugins":{"toy-auth":{"key":"bobs"}}}`, ``, true},
		{`consumers bob {"username":"bob","plugins":{"toy-auth":{"key":"bobs-c1"}}}`, ``, true},
		{
			`credentials bob/credentials/c2 {"plugins":{"toy-auth":{"key":"bobs"}}}`,
			`duplicate key of plugin toy-auth found with consumer: bob`, true,
		},
		{
			`credentials bob/credentials/c2 {"plugins":{"toy-auth":{"key":"bobs-c1"}}}`,
			`duplicate key of plugin toy-auth found with credential: c1 of consumer: bob`, true,
		},
		{`credentials bob/credentials/c1 {"plugins":{"toy-auth":{"key":"bobs-c1"}}}`, ``, true},
		{`credentials bob/credentials/c2 {"plugins":{"toy-a":{}}}`, `only supports auth type plugins in consumer credential`, false},
		{`plugin_metadata nope {}`, `invalid plugin name`, false},
		{
			`plugin_metadata toy-a {"m":1}`,
			`invalid configuration: property "m" validation failed: wrong type: expected string, got number`, false,
		},
	} {
		_, err := change(t, before, c.object)
		checkRefusal(t, "With "+c.object, err, c.want)
		if !c.withOnly {
			checkRefusal(t, "Check "+c.object, before.compiler.Check(object(t, c.object)), c.want)
		}
	}
	stream := object(t, `stream_routes 1 {"plugins":{"nope":{}}}`)
	checkRefusal(t, "Check of a stream route", before.compiler.Check(stream), `unknown plugin [nope]`)
}

func checkRefusal(t *testing.T, what string, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
		if refused := new(gateway.Refusal); !errors.As(err, &refused) {
			t.Errorf("%s: %T is no refusal", what, err)
		}
	}
	prefix, isPrefix := strings.CutSuffix(want, "...")
	if got != want && (!isPrefix || !strings.HasPrefix(got, prefix)) {
		t.Errorf("%s\ngot  %s\nwant %s", what, got, want)
	}
}

// TestKeysChangeHands within one write.
func TestKeysChangeHands(t *testing.T) {
	before := compileAll(t, toyCompiler(HostURI),
		`consumers a {"username":"a","plugins":{"toy-auth":{"key":"1"}}}`,
		`consumers b {"username":"b","plugins":{"toy-auth":{"key":"2"}}}`)
	after := mustChange(t, before,
		`consumers a {"username":"a","plugins":{"toy-auth":{"key":"2"}}}`,
		`consumers b {"username":"b","plugins":{"toy-auth":{"key":"1"}}}`)
	for key, want := range map[string]string{"1": "b", "2": "a"} {
		if c := after.Credential("toy-auth", key); c == nil || c.Consumer.Name != want {
			t.Errorf("key %s: got %+v, want %s", key, c, want)
		}
	}
}

// TestStoredDuplicate gives the key to the first in key order, and back to the other when that has gone.
func TestStoredDuplicate(t *testing.T) {
	table, faults := toyCompiler(HostURI).Compile(1, objects(t,
		`consumers b {"username":"b","plugins":{"toy-auth":{"key":"1"}}}`,
		`consumers a {"username":"a","plugins":{"toy-auth":{"key":"1"}}}`))
	if len(faults) != 1 {
		t.Errorf("faults %q, want one", faults)
	}
	if got := table.Credential("toy-auth", "1").Consumer.Name; got != "a" {
		t.Errorf("got %s, want a", got)
	}
	if got := mustChange(t, table.(*Table), "consumers a").Credential("toy-auth", "1").Consumer.Name; got != "b" {
		t.Errorf("after delete: got %s, want b", got)
	}
}

func TestCredentials(t *testing.T) {
	table := compileAll(t, toyCompiler(HostURI),
		`credentials bob/credentials/c1 {"plugins":{"toy-auth":{"key":"k"}}}`)
	if table.Credential("toy-auth", "k") != nil {
		t.Error("a credential without its consumer was found")
	}
	table = mustChange(t, table, `consumers bob {"username":"bob","labels":{"custom_id":"7"}}`)
	c := table.Credential("toy-auth", "k")
	if c == nil || c.ID != "c1" || c.Consumer != table.Consumer("bob") || c.Config != `{"key":"k"}` {
		t.Fatalf("got %+v", c)
	}
	if c.Consumer.Labels["custom_id"] != "7" || c.Consumer.Object.ID != "bob" {
		t.Errorf("consumer %+v", c.Consumer)
	}
	table = mustChange(t, table, `consumers bob {"username":"bob","desc":"new"}`)
	if got := table.Credential("toy-auth", "k"); got.Consumer != table.Consumer("bob") {
		t.Error("the credential has its consumer as it was")
	}
	if mustChange(t, table, "consumers bob").Credential("toy-auth", "k") != nil {
		t.Error("the credential outlived its consumer")
	}
	if mustChange(t, table, "credentials bob/credentials/c1").Credential("toy-auth", "k") != nil {
		t.Error("the credential outlived its deletion")
	}
}

// TestConsumerPlugins: the consumer's over its group's, credentials and other auth plugins not among them.
func TestConsumerPlugins(t *testing.T) {
	table := compileAll(t, toyCompiler(HostURI),
		`consumer_groups g {"plugins":{"toy-a":{},"toy-b":{},"toy-c":{},"toy-auth":{}}}`,
		`consumers bob {"username":"bob","group_id":"g","plugins":{"toy-auth":{"key":"k"},"toy-b":{},"toy-c":{"_meta":{"disable":true}}}}`)
	got := map[string]string{}
	for _, e := range table.Consumer("bob").Plugins {
		got[e.Plugin.Name] = "disabled"
		if made, ok := e.Instance.(*toy); ok {
			got[e.Plugin.Name] = made.owner
		}
	}
	want := map[string]string{"toy-a": "/apisix/consumer_groups/g", "toy-b": "/apisix/consumers/bob", "toy-c": "disabled"}
	for name, owner := range want {
		if got[name] != owner {
			t.Errorf("%s: got %q, want %q", name, got[name], owner)
		}
	}
	if len(got) != len(want) || table.Consumer("bob").GroupID != "g" {
		t.Errorf("got %v", got)
	}
}
