// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// example is one case of the Admin API, recorded from APISIX.
type example struct {
	N      int
	Method string
	Path   string
	Body   json.RawMessage
	Status int `json:"expect_status"`
	Expect struct {
		Message string   `json:"error_msg"`
		AnyOf   []string `json:"error_msg_any_of"`
		Prefix  string   `json:"error_msg_prefix"`
	}
}

func (e *example) refused() bool { return e.Status >= 400 }

// texts are those that the case allows.
func (e *example) texts() []string {
	if e.Expect.Message != "" {
		return []string{e.Expect.Message}
	}
	return e.Expect.AnyOf
}

func (e *example) allows(text string) bool {
	if e.Expect.Prefix != "" {
		return strings.HasPrefix(text, e.Expect.Prefix)
	}
	return slices.Contains(e.texts(), text)
}

func examples(t testing.TB) []example {
	t.Helper()
	raw, err := os.ReadFile("../testdata/examples.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var all []example
	lines := bufio.NewScanner(bytes.NewReader(raw))
	lines.Buffer(nil, len(raw))
	for lines.Scan() {
		var e example
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

// kindOf reads the kind and the id off a path.
func kindOf(path string) (kind gateway.Kind, id string) {
	path, _, _ = strings.Cut(strings.TrimPrefix(path, "/apisix/admin/"), "?")
	parts := strings.Split(path, "/")
	kind, parts = gateway.Kind(parts[0]), parts[1:]
	if len(parts) >= 2 && (parts[1] == "credentials" || parts[1] == "graphql_cost_decorations") {
		kind, parts = gateway.Kind(parts[1]), parts[2:]
	}
	return kind, strings.Join(parts, "/")
}

// decidedElsewhere reports whether a message comes from other objects, from plugins or from the request around the
// object, so that the object by itself is fine.
func decidedElsewhere(message string) bool {
	for _, prefix := range []string{
		"failed to check the configuration of ", "unknown plugin ", "invalid plugins configuration: ",
		"invalid plugin conf ", "failed to validate the 'vars' expression: ", "failed to load '",
		"only supports auth type plugins", "failed to fetch ", "duplicate ", "stream route can not set itself",
		"stream mode is disabled", "consumer not found", "missing credential id", "invalid request body: ",
		"invalid argument ttl: ", "not supported ", "wrong ", "missing configurations", "missing plugin name",
		"plugin '", "unknown protocol ",
	} {
		if strings.HasPrefix(message, prefix) {
			return true
		}
	}
	return false
}

func TestExamplesOfResources(t *testing.T) {
	run := 0
	for _, e := range examples(t) {
		kind, id := kindOf(e.Path)
		object, ok := bodyOf(t, e, kind, id)
		if !ok {
			continue
		}
		run++
		t.Run(fmt.Sprint(e.N), func(t *testing.T) {
			err := CheckForbidden(object)
			if err == nil {
				err = Check(kind, object)
			}
			elsewhere := slices.ContainsFunc(append(e.texts(), e.Expect.Prefix), decidedElsewhere)
			switch {
			case !e.refused() || elsewhere:
				if err != nil {
					t.Errorf("%s %s: got %q, want none", e.Path, e.Body, err)
				}
			case err == nil:
				t.Errorf("%s %s: got no error, want %q %s", e.Path, e.Body, e.texts(), e.Expect.Prefix)
			case !e.allows(err.Error()):
				t.Errorf("%s %s:\n got %s\nwant %q %s", e.Path, e.Body, err, e.texts(), e.Expect.Prefix)
			}
		})
	}
	t.Logf("%d cases", run)
	if run < 390 {
		t.Errorf("ran %d cases: too few for the file to have been understood", run)
	}
}

// bodyOf returns the object that a case writes, with its id, and whether it writes one that Check is asked about.
func bodyOf(t *testing.T, e example, kind gateway.Kind, id string) (any, bool) {
	t.Helper()
	if e.Method != "PUT" && e.Method != "POST" || e.Status == 405 || ForKind(kind) == nil && kind != gateway.Secrets {
		return nil, false
	}
	cert, key := certificate(t)
	body := bytes.ReplaceAll(e.Body, []byte(`"key": "<valid PEM>"`), []byte(`"key": `+inJSON(key)))
	body = bytes.ReplaceAll(body, []byte(`"keys": ["<valid PEM>"]`), []byte(`"keys": [`+inJSON(key)+`]`))
	body = bytes.ReplaceAll(body, []byte(`"<valid PEM>"`), []byte(inJSON(cert)))
	value, err := Decode(body)
	object, ok := value.(map[string]any)
	if err != nil || !ok {
		return nil, false
	}
	if object["id"] == nil && id != "" && kind != gateway.Consumers {
		object["id"] = id
	}
	return object, true
}

// pluginCases are the configs of plugins that a case writes, with the schema that each must satisfy.
type pluginCase struct {
	schema *Schema
	name   string
	config any
	// prefix is what the Admin API puts before the schema's text.
	prefix string
}

func pluginsOf(object map[string]any, kind gateway.Kind, plugins map[string]*gateway.Plugin) []pluginCase {
	var cases []pluginCase
	configs, _ := object["plugins"].(map[string]any)
	for name, config := range configs {
		plugin := plugins[name]
		if kind == gateway.StreamRoutes {
			plugin = plugins["stream/"+name]
		}
		if _, isObject := config.(map[string]any); plugin == nil || !isObject {
			continue
		}
		c := pluginCase{
			ForPlugin(plugin).Config, name, config, "failed to check the configuration of plugin " + name + " err: ",
		}
		switch kind {
		case gateway.Consumers, gateway.Credentials:
			if schemas := ForPlugin(plugin); schemas.Consumer != nil {
				c.schema = schemas.Consumer
			}
			c.prefix = "invalid plugins configuration: " + c.prefix
		case gateway.StreamRoutes:
			c.prefix = "failed to check the configuration of stream plugin [" + name + "]: "
		}
		cases = append(cases, c)
	}
	return cases
}

// recordedPlugins are APISIX's plugins with their schemas and nothing else.
func recordedPlugins(t testing.TB) map[string]*gateway.Plugin {
	t.Helper()
	plugins := map[string]*gateway.Plugin{}
	for prefix, catalog := range map[string]map[string]*PluginDescription{"": Catalog(false), "stream/": Catalog(true)} {
		for name, d := range catalog {
			plugins[prefix+name] = &gateway.Plugin{
				Name: name, Schema: d.Schema, ConsumerSchema: d.ConsumerSchema, MetadataSchema: d.MetadataSchema,
			}
		}
	}
	return plugins
}

// notBySchema are the cases in which some plugin's schema is satisfied and the request is refused all the same: by the
// plugin's own code, or for something else in the object.
var notBySchema = []int{
	94, 207, 215, 230, 232, 241, 257, 258, 259, 384, 385, 446, 459, 470, 530, 531, 535, 536, 568, 569, 576, 579, 604, 605,
	627, 636, 639, 650, 661, 671, 694, 697, 934, 935, 936, 941, 942,
}

// ownFirst are those of them where the plugin's own code runs before its schema, which has another text for them.
var ownFirst = []int{530}

func TestExamplesOfPlugins(t *testing.T) {
	plugins := recordedPlugins(t)
	refused, accepted := 0, 0
	for _, e := range examples(t) {
		kind, id := kindOf(e.Path)
		if e.Method != "PUT" && e.Method != "POST" {
			continue
		}
		value, err := Decode(e.Body)
		object, ok := value.(map[string]any)
		if err != nil || !ok {
			continue
		}
		cases := pluginsOf(object, kind, plugins)
		if plugin := plugins[id]; kind == gateway.PluginMetadata && plugin != nil {
			if metadata := ForPlugin(plugin).Metadata; metadata != nil {
				cases = append(cases, pluginCase{metadata, id, value, "invalid configuration: "})
			}
		}
		for _, c := range cases {
			err := c.schema.Validate(c.config)
			wantError := e.refused() && !slices.Contains(notBySchema, e.N)
			switch {
			case slices.Contains(ownFirst, e.N):
			case err == nil && !wantError:
				accepted++
			case err == nil:
				t.Errorf("case %d: plugin %s: %s\n got no error, want %q", e.N, c.name, e.Body, e.texts())
			case wantError && e.allows(c.prefix+err.Error()):
				refused++
			default:
				t.Errorf("case %d: plugin %s: %s\n got %s\nwant %q", e.N, c.name, e.Body, err, e.texts())
			}
		}
	}
	if refused < 170 || accepted < 140 {
		t.Errorf("%d refused, %d accepted: too few for the files to have been understood", refused, accepted)
	}
}
