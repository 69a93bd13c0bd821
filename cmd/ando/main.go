// SPDX-License-Identifier: Apache-2.0

// Command ando is Caddy with Ando and Caddy's standard modules in it. It takes Caddy's commands; `ando run` without a
// configuration, in a directory without a Caddyfile, serves the built-in one.
package main

import (
	"os"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/andogate/ando"
)

const longDescription = `Ando is an API gateway: APISIX's Admin API and routing in a Caddy server.

Everything that Caddy does works as it does there: 'ando run --config Caddyfile', 'ando reload', 'ando adapt',
'ando validate', 'ando list-modules'. 'ando run' alone, where there is no Caddyfile, serves a built-in configuration:
the gateway on port 9080, and with TLS on 9443, the Admin API on localhost:9180, objects in one file in Caddy's data directory.

In the environment ANDO_PORT, ANDO_TLS_PORT, ANDO_ADMIN (an address) and ANDO_STORE (a file) change these four.`

func main() {
	caddy.CustomBinaryName = "ando"
	caddy.CustomLongDescription = longDescription
	if wantsBuiltIn(os.Args, fileExists) {
		builtIn := newBuiltIn(caddy.DefaultAdminListen)
		os.Args = append(os.Args, builtIn.args()...)
		go builtIn.announce(os.Stdout)
	} else {
		os.Args = append(os.Args, adapterArgs(os.Args, fileExists)...)
	}
	caddycmd.Main()
}

func fileExists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
