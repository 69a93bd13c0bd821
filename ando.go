// SPDX-License-Identifier: Apache-2.0

// Package ando adds an API gateway to Caddy: import it for its side effects next to Caddy's standard modules, which is
// what `xcaddy build --with github.com/andogate/ando` does.
//
//	import (
//		caddycmd "github.com/caddyserver/caddy/v2/cmd"
//		_ "github.com/caddyserver/caddy/v2/modules/standard"
//
//		_ "github.com/andogate/ando"
//	)
//
//	func main() { caddycmd.Main() }
//
// The modules are in modules/caddy, the Caddyfile's words in caddyfile; cmd/ando is the binary with a built-in
// configuration.
package ando

import (
	_ "github.com/andogate/ando/caddyfile"
	_ "github.com/andogate/ando/modules/caddy"
)
