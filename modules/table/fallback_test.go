// SPDX-License-Identifier: Apache-2.0

package table

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// TestFallbackSchema: a config that leaves something to the metadata is refused without it, in the words of the schema, and
// accepted with it, also when both come at once. What neither schema allows is refused in any case.
func TestFallbackSchema(t *testing.T) {
	compiler := toyCompiler("")
	plugin := toyPlugin("toy-lacks", 90)
	plugin.Schema = json.RawMessage(`{"type":"object","required":["a","b"]}`)
	plugin.FallbackSchema = json.RawMessage(`{"type":"object","required":["b"]}`)
	compiler.Plugins["toy-lacks"] = plugin
	put := func(text string) gateway.Change { return gateway.Change{Object: object(t, text)} }
	route := func(config string) gateway.Change {
		return put(`routes 1 {"uri":"/","plugins":{"toy-lacks":` + config + `},"upstream":{"nodes":{"127.0.0.1:1":1}}}`)
	}
	metadata := put(`plugin_metadata toy-lacks {}`)
	for _, c := range []struct {
		changes []gateway.Change
		want    string
	}{
		{[]gateway.Change{route(`{"a":1,"b":1}`)}, ""},
		{[]gateway.Change{route(`{"b":1}`)}, `failed to check the configuration of plugin toy-lacks err: property "a" is required`},
		{[]gateway.Change{route(`{"b":1}`), metadata}, ""},
		{[]gateway.Change{metadata, route(`{"b":1}`)}, ""},
		{[]gateway.Change{metadata, route(`{"a":1}`)}, `failed to check the configuration of plugin toy-lacks err: property "b" is required`},
	} {
		empty, _ := compiler.Compile(0, nil)
		_, err := empty.With(c.changes)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.changes[0].Object.Value, err, c.want)
		}
		// What there is beside the object is not known yet.
		if err := compiler.Check(c.changes[len(c.changes)-1].Object); (err != nil) != strings.Contains(c.want, `"b"`) {
			t.Errorf("%s: check gave %v", c.changes[len(c.changes)-1].Object.Value, err)
		}
	}
	if _, faults := compiler.Compile(1, []gateway.Object{route(`{"b":1}`).Object}); len(faults) != 1 {
		t.Errorf("a stored config that lacks metadata: faults %v", faults)
	}
}
