// SPDX-License-Identifier: Apache-2.0

package table

import (
	"encoding/json"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// Nobody has checked a member whose name only looks like that of `_meta` or of one of its members.
func TestMetaHasOneSpelling(t *testing.T) {
	plugin := &gateway.Plugin{Name: "p", Priority: 7, Schema: json.RawMessage(`{"type":"object"}`)}
	for _, config := range []string{
		`{"_META":{"priority":1,"disable":true,"filter":[["arg_a","==","1"]]}}`, `{"_meta":{"Priority":1},"_Meta":{"priority":1}}`,
		`{"_meta":{"PRIORITY":"x","Filter":1,"ERROR_response":"text"}}`, `{"_Meta":1}`,
	} {
		c, err := new(Compiler).readConfig(plugin, json.RawMessage(config), false)
		if err != nil {
			t.Errorf("%s: %v", config, err)
			continue
		}
		if c.disabled || c.entry.Priority != 7 || c.entry.Filter != nil || c.entry.ErrorResponse != nil {
			t.Errorf("%s: got %+v", config, c)
		}
	}
	c, err := new(Compiler).readConfig(plugin, json.RawMessage(`{"_meta":{"priority":1,"Priority":2,"error_response":"<"}}`), false)
	if err != nil || c.entry.Priority != 1 || string(c.entry.ErrorResponse) != "<" {
		t.Errorf("got %+v, %v", c, err)
	}
}
