// SPDX-License-Identifier: Apache-2.0

package serverlesspostfunction

import (
	"os"
	"testing"

	"github.com/andogate/ando/modules/gateway/gatewaytest"
	"github.com/andogate/ando/modules/plugins/plugintest"
	_ "github.com/andogate/ando/modules/plugins/proxyrewrite"
	_ "github.com/andogate/ando/modules/plugins/serverlessprefunction"
)

func TestCases(t *testing.T) { gatewaytest.Run(t, os.DirFS("testdata")) }

func TestConfigs(t *testing.T) {
	plugintest.Check(t, name, []plugintest.Config{
		{`{"functions":["return function() end"]}`, ""},
		{`{"functions":["ngx.log("]}`, `failed to loadstring: [string "ngx.log("]:1: unexpected symbol near '<eof>'`},
	})
}
