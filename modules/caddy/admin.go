// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/andogate/ando/admin"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/table"
)

// defaultAdminAddress is where APISIX's clients expect the Admin API.
const defaultAdminAddress = "localhost:9180"

// AdminConfig says how the Admin API is reached. Its listener is its own, and a reload does not touch it: writes go on
// while the config changes.
type AdminConfig struct {
	// The TCP address to listen on. Without a key it has to be a loopback address. Default: localhost:9180.
	Listen string `json:"listen,omitempty"`

	// Do not listen. The Admin API can still be reached through the `ando_admin` handler, and under /apisix/admin/ on
	// Caddy's own admin endpoint.
	Disabled bool `json:"disabled,omitempty"`

	// The keys that open the Admin API. Without any, it answers who can reach it and is not a browser that another
	// site's page sent.
	Keys []AdminKey `json:"keys,omitempty"`

	// Host names, besides localhost, by which the Admin API is addressed when it has no keys; without port.
	Hosts []string `json:"hosts,omitempty"`

	// Origins of pages, besides its own, that may use the Admin API in a browser when it has no keys, such as
	// https://ui.example.com.
	Origins []string `json:"origins,omitempty"`
}

// AdminKey is one key of the Admin API.
type AdminKey struct {
	// Name tells keys apart in the logs.
	Name string `json:"name,omitempty"`

	// The key, which clients send as X-API-KEY. It may hold placeholders such as {env.ANDO_ADMIN_KEY}.
	Key string `json:"key,omitempty"`

	// What it is good for: admin (everything) or viewer (reading). Default: admin.
	Role string `json:"role,omitempty"`
}

func (c *AdminConfig) provision() error {
	if c.Listen == "" {
		c.Listen = defaultAdminAddress
	}
	if c.Disabled {
		c.Listen = ""
	}
	for i := range c.Keys {
		key, err := caddy.NewReplacer().ReplaceOrErr(c.Keys[i].Key, true, true)
		if err != nil || key == "" {
			return errors.Join(fmt.Errorf("keys: the key %q is empty", c.Keys[i].Name), err)
		}
		c.Keys[i].Key = key
		switch c.Keys[i].Role {
		case "", "admin", "viewer":
		default:
			return fmt.Errorf("keys: role %q is not one of admin, viewer", c.Keys[i].Role)
		}
	}
	if c.Disabled {
		return nil
	}
	address, err := caddy.ParseNetworkAddressWithDefaults(c.Listen, "tcp", 9180)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if !strings.HasPrefix(address.Network, "tcp") || address.PortRangeSize() != 1 {
		return fmt.Errorf("listen: one TCP address is expected, not %q", c.Listen)
	}
	c.Listen = address.JoinHostPort(0)
	if len(c.Keys) == 0 && !loopback(address.Host) {
		return c.errNoKey(c.Listen)
	}
	return nil
}

func (c *AdminConfig) errNoKey(address string) error {
	return fmt.Errorf("listen: %s can be reached from other machines, and no key protects it: "+
		"set a key (keys in JSON, `key NAME KEY` in the admin block of a Caddyfile), or listen on a loopback address", address)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func (c *AdminConfig) handlerConfig(g *gateway.Gateway, compiler *table.Compiler, plugins gateway.Plugins) admin.Config {
	cfg := admin.Config{
		Gateway: g, Checker: compiler, Plugins: plugins, Keyring: compiler.Keyring, Hosts: c.Hosts, Origins: c.Origins, Log: newestLog,
	}
	for _, key := range c.Keys {
		cfg.Keys = append(cfg.Keys, admin.Key{Name: key.Name, Key: key.Key, Role: key.Role})
	}
	return cfg
}

// listen begins to serve handler. The lease is nil when the Admin API has no listener.
func (c *AdminConfig) listen(handler http.Handler, log *zap.Logger) (*adminLease, error) {
	if c.Disabled {
		return nil, nil
	}
	lease, addr, err := leaseAdmin(c.Listen, handler)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if tcp, ok := addr.(*net.TCPAddr); ok && len(c.Keys) == 0 && !tcp.IP.IsLoopback() {
		lease.release()
		return nil, c.errNoKey(addr.String())
	}
	log.Info("the Admin API is open", zap.Stringer("address", addr), zap.Bool("needs_key", len(c.Keys) > 0))
	return lease, nil
}

// AdminHandler serves the APISIX Admin API on a site, below /apisix/admin; everything else goes to the next handler. The
// `ando` app must have at least one key: a site is for everybody who reaches it.
type AdminHandler struct {
	app *App
}

// CaddyModule returns the Caddy module information.
func (*AdminHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.ando_admin", New: func() caddy.Module { return new(AdminHandler) }}
}

// Provision finds the app.
func (h *AdminHandler) Provision(ctx caddy.Context) error {
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	if len(app.Admin.Keys) == 0 {
		return errors.New("ando_admin: the Admin API needs a key on a site: set one " +
			"(admin.keys of the ando app in JSON, `key NAME KEY` in the admin block of the ando option in a Caddyfile)")
	}
	h.app = app
	return nil
}

func (h *AdminHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !isAdminPath(r.URL.Path) {
		return next.ServeHTTP(w, r)
	}
	if _, err := h.app.serving(r.Context()); err != nil {
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	h.app.admin.ServeHTTP(w, r)
	return nil
}

const adminPrefix = "/apisix/admin"

func isAdminPath(path string) bool {
	return path == adminPrefix || strings.HasPrefix(path, adminPrefix+"/")
}

// adminAPI serves the Admin API on Caddy's admin endpoint, which lets in who may change everything anyway. Caddy makes it
// anew with each config, before the apps and even when these then fail, so it finds the gateway when it is asked.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.ando", New: func() caddy.Module { return new(adminAPI) }}
}

// Routes returns the paths of the Admin API.
func (*adminAPI) Routes() []caddy.AdminRoute {
	handler := caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		app := started.newest()
		if app == nil {
			return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("the ando app is not running")}
		}
		app.admin.ServeHTTP(w, r)
		return nil
	})
	return []caddy.AdminRoute{{Pattern: adminPrefix, Handler: handler}, {Pattern: adminPrefix + "/", Handler: handler}}
}

var (
	_ caddy.Provisioner           = (*AdminHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*AdminHandler)(nil)
	_ caddy.AdminRouter           = (*adminAPI)(nil)
)
