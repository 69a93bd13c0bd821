// SPDX-License-Identifier: Apache-2.0

package standard

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// extensions are the plugins that APISIX does not have.
var extensions = map[string]bool{"zstd": true}

// TestContract holds every plugin to what APISIX says of its own of that name: the schemas but for their descriptions,
// the defaults, limits and encrypted fields among them, and where in a chain it runs.
func TestContract(t *testing.T) {
	t.Run("http", func(t *testing.T) { checkContract(t, gateway.RegisteredPlugins(), schema.Catalog(false)) })
	t.Run("stream", func(t *testing.T) { checkContract(t, gateway.RegisteredStreamPlugins(), schema.Catalog(true)) })
}

func checkContract(t *testing.T, plugins gateway.Plugins, catalog map[string]*schema.PluginDescription) {
	for name, plugin := range plugins {
		t.Run(name, func(t *testing.T) {
			want := catalog[name]
			if want == nil {
				if !extensions[name] {
					t.Fatal("APISIX has no such plugin, and it is not among the extensions")
				}
				return
			}
			if plugin.Priority != want.Priority || plugin.Version != want.Version {
				t.Errorf("priority %d, version %v; want %d, %v", plugin.Priority, plugin.Version, want.Priority, want.Version)
			}
			if plugin.Auth != (want.Type == "auth") || plugin.GlobalScope != (want.Scope == "global") {
				t.Errorf("auth %v, global %v; want type %q, scope %q", plugin.Auth, plugin.GlobalScope, want.Type, want.Scope)
			}
			same(t, "schema", schema.ForPlugin(plugin).Config.Raw(), want.Schema)
			same(t, "consumer schema", plugin.ConsumerSchema, want.ConsumerSchema)
			same(t, "metadata schema", plugin.MetadataSchema, want.MetadataSchema)
		})
	}
}

// names lists the plugins of requests and of streams.
func names() []string {
	all := gateway.RegisteredPlugins()
	maps.Copy(all, gateway.RegisteredStreamPlugins())
	return slices.Sorted(maps.Keys(all))
}

// TestEachHasItsManual: a folder of a plugin has a README that names it.
func TestEachHasItsManual(t *testing.T) {
	for _, name := range names() {
		folder := strings.ReplaceAll(name, "-", "")
		manual, err := os.ReadFile("../" + folder + "/README.md")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.HasPrefix(string(manual), "# "+name+"\n") {
			t.Errorf("%s: its README does not begin with its name", name)
		}
	}
}

// TestReadmeNamesThem: whoever reads what works finds every plugin.
func TestReadmeNamesThem(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, row, _ := strings.Cut(string(readme), "\n| Plugins | ")
	row, _, _ = strings.Cut(row, "\n")
	for _, name := range names() {
		if !strings.Contains(row, "`"+name+"`") {
			t.Errorf("README does not name %s", name)
		}
	}
}

func same(t *testing.T, what string, got, want json.RawMessage) {
	t.Helper()
	if (got == nil) != (want == nil) {
		t.Errorf("%s: got %s, want %s", what, got, want)
		return
	}
	if got == nil {
		return
	}
	if g, w := undescribed(t, got), undescribed(t, want); !reflect.DeepEqual(g, w) {
		gotText, _ := json.Marshal(g)
		wantText, _ := json.Marshal(w)
		t.Errorf("%s:\n got %s\nwant %s", what, gotText, wantText)
	}
}

// undescribed returns a schema without its descriptions.
func undescribed(t *testing.T, raw json.RawMessage) any {
	t.Helper()
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		t.Fatal(err)
	}
	var strip func(value any, names bool)
	strip = func(value any, names bool) {
		switch value := value.(type) {
		case map[string]any:
			if _, isText := value["description"].(string); isText && !names {
				delete(value, "description")
			}
			for key, inner := range value {
				strip(inner, !names && (key == "properties" || key == "patternProperties"))
			}
		case []any:
			for _, inner := range value {
				strip(inner, false)
			}
		}
	}
	strip(value, false)
	return value
}
