// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// Handler hands requests to the gateway: it looks up the route, runs its plugins and proxies to a node of its upstream.
// It answers every request; one that no route matches gets 404.
type Handler struct {
	// Objects that this site declares: routes, mostly. They are part of the one gateway, as those of the `ando` app are,
	// so a route that is meant for this site's hosts alone has to name them. The Caddyfile's `ando` directive does so.
	Objects []Declared `json:"objects,omitempty"`

	app *App
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.ando", New: func() caddy.Module { return new(Handler) }}
}

// Provision declares the objects and makes the server's connections keep what the gateway remembers about them.
func (h *Handler) Provision(ctx caddy.Context) error {
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	h.app = app
	app.rememberConnections(ctx)
	if err := app.secure(ctx); err != nil {
		return err
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		if _, ok := wrapped.Load(server); !ok {
			ctx.Logger().Info("connections of this server end with each reload, and Go's HTTP server serves them; the adapter "+
				"`ando`, or the global options `default_bind ando/` and `servers { listener_wrappers { ando } }`, change that",
				zap.Strings("listen", server.Listen))
		}
	}
	return app.declare(h.Objects)
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	running, err := h.app.serving(r.Context())
	if err != nil {
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	running.server.ServeHTTP(w, r)
	return nil
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
