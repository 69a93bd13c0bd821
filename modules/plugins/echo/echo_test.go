// SPDX-License-Identifier: Apache-2.0

package echo

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
		{`{"body":""}`, ""},
		{`{"before_body":"a","after_body":"b","headers":{"A":"b","C":1}}`, ""},
		{`{}`, "expect object to have at least 1 properties"},
		{`{"headers":{}}`, `property "headers" validation failed: expect object to have at least 1 properties`},
		{`{"headers":{"A":"b"}}`, `object matches none of the required: `},
		{`{"body":"a","headers":{"A":{}}}`, "invalid type as header value"},
		{`{"body":"a","headers":{"":"a"}}`, "invalid field length in header"},
	})
}

func TestAllocs(t *testing.T) {
	x := plugintest.Open(t, `{"echo":{"body":"b","headers":{"A":"c"}},"key-auth":{}}`)
	x.WantAllocs(t, gateway.StepReply, 0, nil)
}

func BenchmarkEcho(b *testing.B) {
	plugintest.Open(b, `{"echo":{"body":"b","headers":{"A":"c"}},"key-auth":{}}`).Bench(b, nil)
}
