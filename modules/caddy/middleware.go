// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"encoding/json"
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/nethttp"
	"github.com/andogate/ando/modules/table"
)

// Plugin runs one of the gateway's plugins around the handlers after it: it sees their requests before and their
// responses after them. Consumers are those of the gateway.
type Plugin struct {
	// The name of the plugin, such as response-rewrite.
	Name string `json:"name,omitempty"`

	// Its config, as in a route. Default: empty.
	Config json.RawMessage `json:"config,omitempty"`

	pluginMiddleware
}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.ando_plugin", New: func() caddy.Module { return new(Plugin) }}
}

// Check reports what is wrong with the config.
func (p *Plugin) Check() error { return checkPlugin(p.Name, p.Config) }

// Provision compiles the config.
func (p *Plugin) Provision(ctx caddy.Context) error {
	return p.provision(ctx, "ando_plugin", p.Name, p.Config)
}

// KeyAuth lets requests pass that carry the key of one of the gateway's consumers, and answers others with 401. It is
// the plugin key-auth as a handler: who sent the request is known to the handlers after it.
type KeyAuth struct {
	// The request header with the key. Default: apikey.
	Header string `json:"header,omitempty"`

	// The query argument with the key, for requests without the header. Default: apikey.
	Query string `json:"query,omitempty"`

	// Remove the key from the request.
	HideCredentials bool `json:"hide_credentials,omitempty"`

	// The consumer that stands for requests without a valid key. Default: none, and they get 401.
	AnonymousConsumer string `json:"anonymous_consumer,omitempty"`

	// The realm in WWW-Authenticate. Default: key.
	Realm string `json:"realm,omitempty"`

	pluginMiddleware
}

// CaddyModule returns the Caddy module information.
func (*KeyAuth) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.ando_key_auth", New: func() caddy.Module { return new(KeyAuth) }}
}

// Check reports what is wrong with the config.
func (k *KeyAuth) Check() error {
	config, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return checkPlugin("key-auth", config)
}

// Provision compiles the config.
func (k *KeyAuth) Provision(ctx caddy.Context) error {
	config, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return k.provision(ctx, "ando_key_auth", "key-auth", config)
}

func checkPlugin(name string, config json.RawMessage) error {
	compiler := table.Compiler{Plugins: gateway.RegisteredPlugins(), Log: newestLog}
	_, err := compiler.Chain("", pluginConfig(name, config))
	return err
}

func pluginConfig(name string, config json.RawMessage) map[string]json.RawMessage {
	if len(config) == 0 {
		config = json.RawMessage(`{}`)
	}
	return map[string]json.RawMessage{name: config}
}

// pluginMiddleware is what handlers that are one plugin have in common.
type pluginMiddleware struct {
	app   *App
	chain *gateway.Chain
}

func (m *pluginMiddleware) provision(ctx caddy.Context, owner, plugin string, config json.RawMessage) error {
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	app.rememberConnections(ctx)
	m.app = app
	m.chain, err = app.compiler.Chain(owner, pluginConfig(plugin, config))
	return err
}

func (m *pluginMiddleware) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	running, err := m.app.serving(r.Context())
	if err != nil {
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	middleware := nethttp.Middleware{Gateway: running.gateway, Chain: m.chain, ClientAddr: clientAddr}
	return middleware.Serve(w, r, next.ServeHTTP)
}

// clientAddr returns who Caddy says sent the request, when the peer is one of the server's trusted proxies.
func clientAddr(r *http.Request) netip.Addr {
	ctx := r.Context()
	if trusted, _ := caddyhttp.GetVar(ctx, caddyhttp.TrustedProxyVarKey).(bool); !trusted {
		return netip.Addr{}
	}
	text, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

var (
	_ caddy.Provisioner           = (*Plugin)(nil)
	_ caddy.Provisioner           = (*KeyAuth)(nil)
	_ caddyhttp.MiddlewareHandler = (*Plugin)(nil)
	_ caddyhttp.MiddlewareHandler = (*KeyAuth)(nil)
)
