// SPDX-License-Identifier: Apache-2.0

package file_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/andogate/ando/admin/standalone"
	"github.com/andogate/ando/modules/gateway"
	_ "github.com/andogate/ando/modules/plugins/standard"
	"github.com/andogate/ando/modules/store/file"
	"github.com/andogate/ando/modules/table"
)

// followed is a gateway that serves a file.
type followed struct {
	t       *testing.T
	path    string
	gateway *gateway.Gateway
	look    chan time.Time
	logs    *observer.ObservedLogs
	// age makes every version of the file another, however fast they are written.
	age time.Time
}

func config(t *testing.T, path string) (cfg file.Config, compiler *table.Compiler, logs *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.WarnLevel)
	log := func() *zap.Logger { return zap.New(core) }
	compiler = &table.Compiler{Plugins: gateway.RegisteredPlugins()}
	reader := &standalone.Reader{Path: path, Checker: compiler, Log: log}
	return file.Config{Path: path, Parse: reader.Objects, Log: log, Look: make(chan time.Time)}, compiler, logs
}

func follow(t *testing.T, text string) *followed {
	t.Helper()
	f := &followed{t: t, path: filepath.Join(t.TempDir(), "apisix.yaml"), look: make(chan time.Time), age: time.Unix(1e9, 0)}
	f.write(text)
	cfg, compiler, logs := config(t, f.path)
	cfg.Look, f.logs = f.look, logs
	store, err := file.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.gateway, _, err = gateway.Open(t.Context(), store, &gateway.Generation{Compiler: compiler, Settings: gateway.DefaultSettings()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.gateway.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *followed) write(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.age = f.age.Add(time.Second)
	if err := os.Chtimes(f.path, f.age, f.age); err != nil {
		f.t.Fatal(err)
	}
}

// settle has the store look at the file. Its taking a second look says that it is done with the first.
func (f *followed) settle() {
	f.look <- time.Time{}
	f.look <- time.Time{}
}

func (f *followed) expect(want ...string) {
	f.t.Helper()
	var got []string
	for _, kind := range gateway.Kinds {
		for o := range f.gateway.Table().Objects(kind) {
			got = append(got, string(o.Kind)+" "+o.ID)
		}
	}
	if !slices.Equal(got, want) {
		f.t.Errorf("got %q, want %q", got, want)
	}
}

func (f *followed) logged(text string) {
	f.t.Helper()
	for _, entry := range f.logs.TakeAll() {
		for _, field := range entry.Context {
			if err, ok := field.Interface.(error); ok && strings.Contains(err.Error(), text) {
				return
			}
		}
	}
	f.t.Errorf("%q was not logged", text)
}

const two = `
upstreams:
  - {id: a, nodes: {"a:1": 1}}
  - {id: b, nodes: {"b:1": 1}}
routes:
  - {id: r, uri: /r, upstream_id: a}
#END`

func TestFollowsTheFile(t *testing.T) {
	f := follow(t, two)
	f.expect("upstreams a", "upstreams b", "routes r")
	before := f.gateway.Table()

	f.settle()
	if f.gateway.Table() != before {
		t.Error("a file that did not change made a new table")
	}
	f.write(strings.Replace(two, "b:1", "b:2", 1))
	f.settle()
	after := f.gateway.Table()
	if after.Upstream("a").Nodes[0].State != before.Upstream("a").Nodes[0].State {
		t.Error("an upstream that did not change lost its state")
	}
	if got := after.Upstream("b").Nodes[0].Addr; got != "b:2" {
		t.Errorf("got %s", got)
	}
	if got := after.Revision() - before.Revision(); got != 1 {
		t.Errorf("%d changes for one", got)
	}
	o, _ := after.Object(gateway.Upstreams, "b")
	if was, _ := before.Object(gateway.Upstreams, "b"); o.Created != was.Created || o.Modified <= was.Modified {
		t.Errorf("created %d, modified %d", o.Created, o.Modified)
	}

	f.write("routes: [{uri: /x, plugins: {}}]\n#END")
	f.settle()
	f.expect("routes arr_1")
}

func TestBrokenFileKeepsWhatWasServed(t *testing.T) {
	f := follow(t, two)
	for text, want := range map[string]string{
		"routes: []":          "missing valid end flag in file " + f.path,
		"routes: [\n#END":     "yaml: ",
		"a: ${{NO_SUCH}}#END": "can't find environment variable NO_SUCH",
		"global_rules: [{id: 1, plugins: {no-such: {}}}]\n#END": "a global rule cannot be left out: global_rules 1, item 1: unknown plugin [no-such]",
	} {
		f.write(text)
		f.settle()
		f.logged(want)
		f.expect("upstreams a", "upstreams b", "routes r")
	}
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	f.settle()
	f.logged("no such file")
	f.settle()
	if n := f.logs.Len(); n > 0 {
		t.Errorf("the same was logged %d times more", n)
	}
	f.write("routes: []\n#END")
	f.settle()
	f.expect()
}

func TestItemThatIsNotGood(t *testing.T) {
	f := follow(t, two)
	f.write(`
routes:
  - {id: r, uri: /r, plugins: {no-such: {}}}
  - {id: new, uri: /new, plugins: {no-such: {}}}
  - {id: good, uri: /good, plugins: {}}
#END`)
	f.settle()
	f.logged("routes new, item 2: unknown plugin [no-such]")
	// What was good before stays as it was: /r must not become somebody else's.
	f.expect("routes good", "routes r")
	if o, _ := f.gateway.Table().Object(gateway.Routes, "r"); !strings.Contains(string(o.Value), "upstream_id") {
		t.Errorf("got %s", o.Value)
	}
}

// A consumer is renamed and keeps its key: the old one goes first.
func TestRename(t *testing.T) {
	const consumer = "consumers: [{username: jack, plugins: {key-auth: {key: k}}}]\n#END"
	f := follow(t, consumer)
	f.write(strings.Replace(consumer, "jack", "john", 1))
	f.settle()
	f.expect("consumers john")
	if n := f.logs.Len(); n > 0 {
		t.Errorf("%v", f.logs.All())
	}
}

func TestReadOnly(t *testing.T) {
	f := follow(t, two)
	_, err := f.gateway.Submit(t.Context(), func(gateway.Tx) ([]gateway.Change, error) {
		return []gateway.Change{{Object: gateway.Object{Kind: gateway.Routes, ID: "r"}, Delete: true}}, nil
	})
	if !errors.Is(err, file.ErrReadOnly) {
		t.Errorf("got %v", err)
	}
	f.expect("upstreams a", "upstreams b", "routes r")
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"half.yaml": "routes: []", "bad.json": "{"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, _, _ := config(t, path)
		if _, err := file.Open(cfg); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg, _, _ := config(t, filepath.Join(dir, "missing.yaml"))
	if _, err := file.Open(cfg); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// Without a trigger the store looks by itself.
func TestLooksByItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "apisix.json")
	if err := os.WriteFile(path, []byte(`{}`), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, _ := config(t, path)
	cfg.Look = nil
	store, err := file.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(`{"routes":[{"uri":"/a","plugins":{}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for changes, err := range store.Watch(ctx, 0) {
		if err != nil || len(changes) != 1 || changes[0].Object.ID != "arr_1" {
			t.Errorf("got %v, %v", changes, err)
		}
		break
	}
}
