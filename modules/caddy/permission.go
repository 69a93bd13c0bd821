// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/andogate/ando/modules/gateway"
)

// Permission lets Caddy get certificates on demand, that is in a handshake, for the hosts of the gateway's routes and for no
// other name.
type Permission struct {
	// Also for names that only match a host with an asterisk. Whoever can open connections can then have any number of
	// certificates issued.
	Wildcards bool `json:"wildcards,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Permission) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.permission.ando", New: func() caddy.Module { return new(Permission) }}
}

// CertificateAllowed asks the newest gateway that runs: the TLS app, which has this module, may not depend on it.
func (p *Permission) CertificateAllowed(ctx context.Context, name string) error {
	app := started.newest()
	if app == nil {
		return errors.New("no gateway is running")
	}
	running, err := app.serving(ctx)
	if err != nil {
		return err
	}
	if t, ok := running.gateway.Table().(gateway.HostTable); ok && t.ServesHost(name, p.Wildcards) {
		return nil
	}
	return fmt.Errorf("%w: no route is for the host %s", caddytls.ErrPermissionDenied, name)
}

// UnmarshalCaddyfile reads `ando [wildcards]`.
func (p *Permission) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		if d.Val() != "wildcards" {
			return d.Errf("wildcards is expected, not %q", d.Val())
		}
		p.Wildcards = true
	}
	if d.NextArg() || d.NextBlock(d.Nesting()) {
		return d.ArgErr()
	}
	return nil
}

var (
	_ caddytls.OnDemandPermission = (*Permission)(nil)
	_ caddyfile.Unmarshaler       = (*Permission)(nil)
)
