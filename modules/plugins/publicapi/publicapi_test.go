// SPDX-License-Identifier: Apache-2.0

package publicapi

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest"
	_ "github.com/andogate/ando/modules/plugins/keyauth"
	"github.com/andogate/ando/modules/plugins/plugintest"
)

// offers is a plugin with APIs of its own.
func init() {
	say := func(text string) func(x *gateway.Exchange) gateway.Verdict {
		return func(x *gateway.Exchange) gateway.Verdict { return x.Exit(200, []byte(text)) }
	}
	gateway.RegisterPlugin(&gateway.Plugin{
		Name: "test-offers", Schema: json.RawMessage(`{"type":"object"}`),
		New: func(gateway.Env, json.RawMessage) (any, error) { return struct{}{}, nil },
		Endpoints: []gateway.Endpoint{
			{Methods: []string{"GET", "HEAD"}, Path: "/apisix/plugin/test/hello", Serve: say("hello")},
			{Methods: []string{"POST"}, Path: "/apisix/plugin/test/hello", Serve: func(x *gateway.Exchange) gateway.Verdict {
				// It may wait, so it may read.
				body, err := x.Body()
				if err != nil {
					return x.Exit(400, nil)
				}
				return x.Exit(201, append([]byte("posted "), body...))
			}},
		},
	})
}

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{}`, ""},
		{`{"uri":"/apisix/status"}`, ""},
		{`{"uri":1}`, `property "uri" validation failed: wrong type: expected string, got number`},
	})
}
