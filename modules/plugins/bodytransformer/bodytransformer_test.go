// SPDX-License-Identifier: Apache-2.0

package bodytransformer

import (
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"request":{"template":"{\"a\":\"{{b}}\"}"}}`, ""},
		{`{"response":{"input_format":"json","template":"x","template_is_base64":true}}`, ""},
		{`{"request":{"template":"e3thfX0h"},"response":{"template":"{{"}}`, ""},
		{`{}`, `object matches none of the required: ["request"] or ["response"] or ["request","response"]`},
		{`{"request":{}}`, `property "request" validation failed: property "template" is required`},
		{`{"request":{"input_format":"yaml","template":"x"}}`, `property "request" validation failed: property "input_format" validation failed: matches none of the enum values`},
		{`{"request":{"template":"x"},"max_req_body_size":0}`, `property "max_req_body_size" validation failed: expected 0 to be at least 1`},
		{`{"request":{"template":"{% if %}"}}`, `request template compile: template:3: unexpected symbol near`},
		{`{"response":{"template":"{(page.html)}"}}`, `response template compile: {(page.html)}: templates cannot include others`},
		{`{"response":{"template":"eyUgaWYgJX0=","template_is_base64":true}}`, `response template compile: template:3: unexpected symbol near`},
	})
}

// TestWhoBlocks: what transforms requests leaves the loop, what transforms responses alone does not.
func TestWhoBlocks(t *testing.T) {
	for config, want := range map[string]gateway.Step{
		`{"request":{"template":"x"}}`: gateway.StepBody, `{"response":{"template":"x"}}`: gateway.StepForward,
	} {
		if got := plugintest.Open(t, `{"body-transformer":`+config+`}`).Run(nil); got != want {
			t.Errorf("%s: got step %v, want %v", config, got, want)
		}
	}
	compiled, err := plugintest.Compile(t, name, `{"request":{"template":"x"}}`)
	if err != nil || !compiled.(gateway.Blocker).Blocks() {
		t.Errorf("%v (%v) does not block", compiled, err)
	}
}
