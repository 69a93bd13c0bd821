// SPDX-License-Identifier: Apache-2.0

// Package caddyfile gives Caddy's Caddyfile adapter Ando's words: the global option ando, and the directives ando,
// ando_key_auth, ando_plugin, ando_load_balance and ando_admin.
package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// The order stands for where each acts: who sends the request is known before anything answers it, and what answers it
// stands where reverse_proxy does.
func init() {
	httpcaddyfile.RegisterGlobalOption("ando", parseOption)

	httpcaddyfile.RegisterHandlerDirective("ando_key_auth", parseKeyAuth)
	httpcaddyfile.RegisterDirectiveOrder("ando_key_auth", httpcaddyfile.Before, "basic_auth")
	httpcaddyfile.RegisterHandlerDirective("ando_plugin", parsePlugin)
	httpcaddyfile.RegisterDirectiveOrder("ando_plugin", httpcaddyfile.Before, "basic_auth")

	httpcaddyfile.RegisterHandlerDirective("ando_admin", parseAdmin)
	httpcaddyfile.RegisterDirectiveOrder("ando_admin", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterHandlerDirective("ando_load_balance", parseLoadBalance)
	httpcaddyfile.RegisterDirectiveOrder("ando_load_balance", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterHandlerDirective("ando", parseSite)
	httpcaddyfile.RegisterDirectiveOrder("ando", httpcaddyfile.Before, "reverse_proxy")
}
