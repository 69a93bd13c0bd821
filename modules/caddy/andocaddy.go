// SPDX-License-Identifier: Apache-2.0

// Package andocaddy is Ando's Caddy modules. No behaviour of a gateway is in here: each module translates between Caddy
// and the packages that have it, and sees to it that what must outlive a config does.
package andocaddy

import (
	"github.com/caddyserver/caddy/v2"

	// The plugins are in every build, whichever module it was made for.
	_ "github.com/andogate/ando/modules/plugins/standard"
)

func init() {
	caddy.RegisterModule(new(App))
	caddy.RegisterModule(new(BoltStore))
	caddy.RegisterModule(new(MemoryStore))
	caddy.RegisterModule(new(FileStore))
	caddy.RegisterModule(new(StandaloneStore))
	caddy.RegisterModule(new(Handler))
	caddy.RegisterModule(new(KeyAuth))
	caddy.RegisterModule(new(Plugin))
	caddy.RegisterModule(new(LoadBalance))
	caddy.RegisterModule(new(RoundRobin))
	caddy.RegisterModule(new(CHash))
	caddy.RegisterModule(new(LeastConn))
	caddy.RegisterModule(new(EWMA))
	caddy.RegisterModule(new(Upstreams))
	caddy.RegisterModule(new(AdminHandler))
	caddy.RegisterModule(new(adminAPI))
	caddy.RegisterModule(new(ListenerWrapper))
	caddy.RegisterModule(new(HandshakeMatcher))
	caddy.RegisterModule(new(CertificateGetter))
	caddy.RegisterModule(new(Permission))
}
