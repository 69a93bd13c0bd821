// SPDX-License-Identifier: Apache-2.0

package authzcasbin

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func textConfig(t testing.TB, model, rules string) string {
	t.Helper()
	text, err := json.Marshal(map[string]string{"model": model, "policy": rules, "username": "user"})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestConfigs(t *testing.T) {
	model, rules := read(t, "model.conf"), read(t, "policy.csv")
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("root:$6$hash:1::\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxFile+1); err != nil {
		t.Fatal(err)
	}
	files := func(model, policy string) string {
		return fmt.Sprintf(`{"model_path":%q,"policy_path":%q,"username":"user"}`, model, policy)
	}
	plugintest.Check(t, name, []plugintest.Config{
		{textConfig(t, model, rules), ""},
		{textConfig(t, model, ""), ""},
		{files("testdata/model.conf", "testdata/policy.csv"), ""},
		{`{}`, `value should match only one schema, but matches none`},
		{`{"username":"user"}`, `value should match only one schema, but matches none`},
		{`{"model":"","policy":""}`, `value should match only one schema, but matches none`},
		{`{"model":"","policy":"","model_path":"","policy_path":"","username":"u"}`, `value should match only one schema, but matches both schemas 1 and 2`},
		{`{"model":1,"policy":"","username":"u"}`, `property "model" validation failed: wrong type: expected string, got number`},
		{textConfig(t, "", rules), `property "model" validation failed: is no Casbin model: `},
		{textConfig(t, "r = sub", rules), `property "model" validation failed: is no Casbin model: `},
		{textConfig(t, strings.Replace(model, "r = sub, obj, act", "r = sub, act", 1), rules), `property "model" validation failed: is no Casbin model: request_definition has 2 fields, want 3`},
		{textConfig(t, strings.Replace(model, "g = _, _", "g = _, _, (_, _)", 1), rules), `property "model" validation failed: is no Casbin model: role_definition: g has conditions`},
		{textConfig(t, strings.Replace(model, "some(where (p.eft == allow))", "every(p)", 1), rules), `property "model" validation failed: is no Casbin model: unsupported effect`},
		{textConfig(t, strings.Replace(model, "&& keyMatch(r.act", "&& nope(r.act", 1), rules), `property "model" validation failed: is no Casbin model: `},
		{textConfig(t, model, "p, alice, /"), `property "policy" validation failed: is no Casbin policy for the model: line 1: invalid policy rule size`},
		{textConfig(t, model, "\np2, alice, /, GET"), `property "policy" validation failed: is no Casbin policy for the model: line 2: `},
		{textConfig(t, model, ",alice, /, GET"), `property "policy" validation failed: is no Casbin policy for the model: line 1: a rule begins with its kind`},
		{textConfig(t, model, `p, "alice, /, GET`), `property "policy" validation failed: is no Casbin policy for the model: line 1: `},
		{files("testdata/none.conf", "testdata/policy.csv"), `property "model_path" validation failed: stat testdata/none.conf: `},
		{files("testdata/model.conf", dir), `property "policy_path" validation failed: ` + dir + ` is no regular file`},
		{files("testdata/model.conf", large), `property "policy_path" validation failed: ` + large + ` is larger than`},
	})
	for config, want := range map[string]string{
		files(secret, "testdata/policy.csv"): `property "model_path" validation failed: ` + secret + ` is no Casbin model`,
		files("testdata/model.conf", secret): `property "policy_path" validation failed: ` + secret + ` is no Casbin policy for the model`,
	} {
		if _, err := plugintest.Compile(t, name, config); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestFiles: a policy in files is the policy in their texts.
func TestFiles(t *testing.T) {
	inFiles, err := policyInFiles("testdata/model.conf", "testdata/policy.csv")
	if err != nil {
		t.Fatal(err)
	}
	inTexts, err := policyFor(read(t, "model.conf"), read(t, "policy.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if inFiles != inTexts {
		t.Error("equal texts have two policies")
	}
	other, err := policyFor(read(t, "model.conf"), "p, eve, /, GET")
	if err != nil || other == inTexts {
		t.Errorf("another policy is the same (%v)", err)
	}
	for asked, want := range map[question]bool{
		{"alice", "/x", "PUT"}: true, {"bob", "/b", "PUT"}: true, {"bob", "/b", "GET"}: false, {"eve", "/", "GET"}: true, {"eve", "/", "PUT"}: false,
	} {
		for range 2 {
			if got, err := inFiles.decide(asked); got != want || err != nil {
				t.Errorf("%v: got %v, %v", asked, got, err)
			}
			if got, known := inFiles.recall(asked); got != want || !known {
				t.Errorf("%v: recalls %v, %v", asked, got, known)
			}
		}
	}
	runtime.KeepAlive(other)
}

// TestMetadataComesAndGoes: a config that rests on metadata is accepted when there is some, follows what changes there, and
// refuses everybody when it goes.
func TestMetadataComesAndGoes(t *testing.T) {
	g := gatewaytest.Open(t)
	model := read(t, "model.conf")
	metadata := func(rules string) gateway.Change {
		value, err := json.Marshal(map[string]string{"model": model, "policy": rules})
		if err != nil {
			t.Fatal(err)
		}
		return gateway.Change{Object: gateway.Object{Kind: gateway.PluginMetadata, ID: name, Value: value}}
	}
	route := gateway.Change{Object: gateway.Object{
		Kind: gateway.Routes, ID: "1",
		Value: json.RawMessage(`{"id":"1","uri":"/*","plugins":{"authz-casbin":{"username":"user"}},"upstream":{"nodes":{"127.0.0.1:1":1}}}`),
	}}
	try := func(changes ...gateway.Change) error {
		_, err := g.Submit(t.Context(), func(gateway.Tx) ([]gateway.Change, error) { return changes, nil })
		return err
	}
	submit := func(changes ...gateway.Change) {
		t.Helper()
		if err := try(changes...); err != nil {
			t.Fatal(err)
		}
	}
	err := try(route)
	if err == nil || !strings.Contains(err.Error(), "value should match only one schema, but matches none") {
		t.Errorf("without metadata: got %v", err)
	}
	ask := func(user string) int {
		x := new(gateway.Exchange)
		x.Request.Method, x.Request.Host, x.Request.Path, x.Request.EscapedPath = "GET", "h", "/a", "/a"
		x.Request.Header.Add("user", user)
		g.Begin(x, nil)
		defer x.Finish()
		if x.Next(true) == gateway.StepForward {
			return 200
		}
		return x.Response.Status
	}
	submit(route, metadata("p, jack, /a, GET"))
	if jack, rose := ask("jack"), ask("rose"); jack != 200 || rose != 403 {
		t.Errorf("jack %d, rose %d", jack, rose)
	}
	submit(metadata("p, rose, /a, GET"))
	if jack, rose := ask("jack"), ask("rose"); jack != 403 || rose != 200 {
		t.Errorf("after a change: jack %d, rose %d", jack, rose)
	}
	if err := try(metadata("q, jack, /a, GET")); err == nil {
		t.Error("metadata that is no policy is accepted")
	}
	gone := metadata("")
	gone.Delete = true
	submit(gone)
	if jack, rose := ask("jack"), ask("rose"); jack != 503 || rose != 503 {
		t.Errorf("without metadata: jack %d, rose %d", jack, rose)
	}
}

// TestEnforcersMakeWay: what Casbin remembers of users that come up once stays bounded, and the roles hold on.
func TestEnforcersMakeWay(t *testing.T) {
	p, err := newPolicy(read(t, "model.conf"), read(t, "policy.csv"))
	if err != nil {
		t.Fatal(err)
	}
	first := p.current.Load()
	p.budget = 16
	first.left.Store(p.budget)
	var all sync.WaitGroup
	for part := range 4 {
		all.Go(func() {
			for i := range 64 {
				user, want := fmt.Sprintf("user-%d-%d", part, i), false
				if i%2 == 0 {
					user, want = "alice", true
				}
				if got, err := p.decide(question{user, "/x", "PUT"}); got != want || err != nil {
					t.Errorf("%s: got %v, %v", user, got, err)
				}
			}
		})
	}
	all.Wait()
	if last := p.current.Load(); last == first || last.left.Load() > p.budget || last.left.Load() <= 0 {
		t.Errorf("%d questions are left to the enforcer, which is the first: %v", last.left.Load(), last == first)
	}
}

// TestErrorRefuses: a rule that cannot be evaluated lets nobody in.
func TestErrorRefuses(t *testing.T) {
	model := strings.Replace(read(t, "model.conf"), "keyMatch(r.act, p.act)", "regexMatch(r.act, p.act)", 1)
	config := textConfig(t, model, "p, eve, /a, (")
	x := plugintest.Open(t, `{"authz-casbin":`+config+`}`)
	step := x.Run(func(x *gateway.Exchange) { x.Request.Header.Add("user", "eve") })
	if step != gateway.StepReply || x.Response.Status != 500 {
		t.Errorf("got step %v, status %d", step, x.Response.Status)
	}
}

// large has more rules than are evaluated on an event loop.
func large() string {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "p, user%d, /a/%[1]d, GET\n", i)
	}
	return b.String() + "p, jack, /a, GET\n"
}

// TestManyRulesWait: an event loop has no time for many rules; what is known it can answer.
func TestManyRulesWait(t *testing.T) {
	x := plugintest.Open(t, `{"authz-casbin":`+textConfig(t, read(t, "model.conf"), large())+`}`)
	jack := func(x *gateway.Exchange) { x.Request.Header.Add("user", "jack") }
	if step := x.Run(jack); step != gateway.StepBlock {
		t.Fatalf("got step %v, want to wait", step)
	}
	p, err := policyFor(read(t, "model.conf"), large())
	if err != nil {
		t.Fatal(err)
	}
	if allowed, err := p.decide(question{"jack", "/a", "GET"}); !allowed || err != nil {
		t.Fatal(allowed, err)
	}
	if step := x.Run(jack); step != gateway.StepForward {
		t.Errorf("got step %v, want to forward", step)
	}
}

func TestAllocs(t *testing.T) {
	x := plugintest.Open(t, `{"authz-casbin":`+textConfig(t, read(t, "model.conf"), read(t, "policy.csv"))+`}`)
	x.WantAllocs(t, gateway.StepForward, 0, func(x *gateway.Exchange) { x.Request.Header.Add("user", "alice") })
	x.WantAllocs(t, gateway.StepReply, 0, func(x *gateway.Exchange) { x.Request.Header.Add("user", "bob") })
}

func BenchmarkAuthzCasbin(b *testing.B) {
	model, rules := read(b, "model.conf"), read(b, "policy.csv")
	b.Run("known", func(b *testing.B) {
		x := plugintest.Open(b, `{"authz-casbin":`+textConfig(b, model, rules)+`}`)
		x.Bench(b, func(x *gateway.Exchange) { x.Request.Header.Add("user", "alice") })
	})
	for name, rules := range map[string]string{"few rules": rules, "many rules": large()} {
		b.Run(name, func(b *testing.B) {
			p, err := newPolicy(model, rules)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.decide(question{"nobody", "/x", "PUT"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
