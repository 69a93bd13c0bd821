// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"

	"github.com/andogate/ando/admin"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/nethttp"
	"github.com/andogate/ando/modules/table"
	"github.com/andogate/ando/modules/upstream/discovery"
)

// App is the API gateway itself: its store of routes, services, upstreams and consumers, what is declared on top of
// them, and the APISIX Admin API that changes them while the server runs.
//
// The gateway outlives configs: a reload neither closes the store nor forgets a node's health, and the Admin API's
// listener is not touched. It ends when no config uses its store any more.
//
// Sites hand requests to it with the `ando` handler. A config that has such a handler and no `ando` app gets one with
// the defaults.
type App struct {
	// The Admin API. Default: on localhost:9180, without a key.
	Admin *AdminConfig `json:"admin,omitempty"`

	// The control API. Default: on 127.0.0.1:9090.
	Control *ControlConfig `json:"control,omitempty"`

	// The status API. Default: none.
	Status *StatusConfig `json:"status,omitempty"`

	// Where objects made with the Admin API are kept. Default: the bolt store in Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=ando.stores inline_key=module"`

	// How routes are looked up, by the names that APISIX gives its routers: radixtree_host_uri, radixtree_uri or
	// radixtree_uri_with_parameter. Default: radixtree_host_uri.
	Router string `json:"router,omitempty"`

	// Objects that this config declares. They are served and listed like those of the store, hide those of the same
	// kind and id, and cannot be changed with the Admin API.
	Objects []Declared `json:"objects,omitempty"`

	// The addresses and prefixes (CIDR) of proxies whose X-Forwarded-Proto, -Host and -Port are believed.
	TrustedAddresses []string `json:"trusted_addresses,omitempty"`

	// What the certificates of nodes are checked against where an upstream says tls.verify: PEM files and the word system,
	// with commas between them. Default: system.
	TrustedCertificates string `json:"trusted_certificates,omitempty"`

	// The plugins that may be used. Default: every plugin in this build.
	Plugins []string `json:"plugins,omitempty"`

	// Send X-APISIX-Upstream-Status with every response of a node; otherwise only with a 5xx.
	ShowUpstreamStatus bool `json:"show_upstream_status,omitempty"`

	// Where the nodes of upstreams with a `service_name` are found out, as in APISIX's config.yaml: a member for each registry
	// (dns, consul, consul_kv, eureka, kubernetes, nacos) with APISIX's settings of it. `resolver` is how nodes that are
	// names are resolved: `servers`, `valid` and `timeout` (seconds) are APISIX's dns_resolver, dns_resolver_valid and
	// resolver_timeout. Default: services by dns alone, and names with the system's resolver every 10s.
	Discovery json.RawMessage `json:"discovery,omitempty"`

	// Where connections for stream routes come in. Default: nowhere, and the Admin API has no stream routes.
	Stream *StreamConfig `json:"stream,omitempty"`

	// Where plugins that cache responses keep them, besides disk_cache_one and memory_cache, which are always there.
	CacheZones []CacheZone `json:"cache_zones,omitempty"`

	// The server name that a TLS client is taken to mean when it names none. Default: none, and Caddy chooses.
	FallbackSNI string `json:"fallback_sni,omitempty"`

	// Which event loops serve plain HTTP/1.1 on addresses with the `ando` listener wrapper: ring (io_uring), poll (epoll),
	// auto (the first of them that this system allows), or off (Go's HTTP server). Default: auto.
	Lane string `json:"lane,omitempty"`

	// Where this config has Caddy's admin endpoint, when that is not its default: it is how names of routes become names
	// that Caddy manages certificates for. "off" leaves Caddy's config alone. Default: localhost:2019.
	ConfigAPI string `json:"config_api,omitempty"`

	// How long the Admin API's answer to the write of a route or service waits for the certificates of its hosts. What is
	// not issued by then comes later. Default: 10s.
	CertificateWait caddy.Duration `json:"certificate_wait,omitempty"`

	// The names for which Caddy manages certificates because routes have them as hosts. The gateway keeps this list by
	// itself.
	Automated []string `json:"automated,omitempty"`

	log      *zap.Logger
	store    Store
	plugins  gateway.Plugins
	compiler *table.Compiler
	settings *gateway.Settings

	discovery *discovery.Settings

	// declared are the objects of this app and of every handler of its config, by key. Handlers add theirs while they
	// are provisioned, on one goroutine; after that it is not changed.
	declared map[string]gateway.Object

	// servers have been told to keep what the gateway remembers of a connection.
	servers map[*caddyhttp.Server]bool

	// policies are the TLS connection policies that servers have got for ssl objects.
	policies map[*caddyhttp.Server][]sslPolicy
	ssls     sslSource

	// streamPlugins are those that stream routes may use; nil is all. streamTLS is what TLS that ends at a stream's listener is
	// done with, if any does.
	streamPlugins gateway.Plugins
	streamTLS     *tls.Config

	// automates says that a site with automatic HTTPS has the gateway. carried are the names that the config before had and
	// this one does not, which tls manages from the start.
	automates bool
	carried   []string
	tls       *caddytls.TLS

	// settled is closed when Start has ended, or when it is certain that it will not be called.
	settled chan struct{}
	settle  func()
	// The rest is set by Start, before settled is closed, and not changed by Stop: requests that came in before a reload
	// are still served by their own config's handlers.
	running *running
	admin   http.Handler
	lanes   *laneSet

	// release undoes Start, once.
	release func()
}

const defaultCertificateWait = caddy.Duration(10 * time.Second)

const defaultRouter = "radixtree_host_uri"

var routers = []string{"radixtree_host_uri", "radixtree_uri", "radixtree_uri_with_parameter"}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ando", New: func() caddy.Module { return new(App) }}
}

// Provision checks the config and opens nothing: it also runs for `caddy validate`, beside a gateway that is serving.
func (a *App) Provision(ctx caddy.Context) error {
	a.log = ctx.Logger()
	if err := ctx.GetMetricsRegistry().Register(nodeHealth{}); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	a.declared = map[string]gateway.Object{}
	a.servers = map[*caddyhttp.Server]bool{}
	a.policies, a.ssls = map[*caddyhttp.Server][]sslPolicy{}, sslSource{a}
	a.settled = make(chan struct{})
	a.settle = sync.OnceFunc(func() { close(a.settled) })

	if err := ctx.GetMetricsRegistry().Register(sslMetrics{a}); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if err := ctx.GetMetricsRegistry().Register(reloadMetrics{a}); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if a.Admin == nil {
		a.Admin = new(AdminConfig)
	}
	if err := a.Admin.provision(); err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	if err := a.provisionControl(); err != nil {
		return err
	}
	if err := a.provisionStore(ctx); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if a.Router == "" {
		a.Router = defaultRouter
	}
	if !slices.Contains(routers, a.Router) {
		return fmt.Errorf("router: %q is not one of %s", a.Router, strings.Join(routers, ", "))
	}
	if a.Lane == "" {
		a.Lane = "auto"
	}
	if !slices.Contains(laneKinds, a.Lane) {
		return fmt.Errorf("lane: %q is not one of %s", a.Lane, strings.Join(laneKinds, ", "))
	}
	if err := a.provisionCacheZones(); err != nil {
		return fmt.Errorf("cache_zones: %w", err)
	}
	if err := a.provisionDiscovery(); err != nil {
		return err
	}
	if err := a.provisionPlugins(); err != nil {
		return fmt.Errorf("plugins: %w", err)
	}
	if err := a.provisionStream(ctx); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if a.CertificateWait == 0 {
		a.CertificateWait = defaultCertificateWait
	}
	if err := a.carryOver(ctx); err != nil {
		return err
	}
	settings, err := a.newSettings()
	if err != nil {
		return err
	}
	a.settings = settings
	a.compiler = &table.Compiler{Router: a.Router, Plugins: a.plugins, StreamPlugins: a.streamPlugins, Log: newestLog}
	return a.declare(a.Objects)
}

func (a *App) provisionStore(ctx caddy.Context) error {
	if len(a.StoreRaw) == 0 {
		a.StoreRaw = json.RawMessage(`{"module":"bolt"}`)
	}
	module, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return err
	}
	a.store = module.(Store)
	return nil
}

func (a *App) provisionPlugins() error {
	a.plugins = gateway.RegisteredPlugins()
	if len(a.Plugins) == 0 {
		return nil
	}
	for _, name := range a.Plugins {
		if a.plugins[name] == nil {
			return fmt.Errorf("%q is not in this build", name)
		}
	}
	for name := range a.plugins {
		if !slices.Contains(a.Plugins, name) {
			delete(a.plugins, name)
		}
	}
	return nil
}

func (a *App) newSettings() (*gateway.Settings, error) {
	settings := gateway.DefaultSettings()
	settings.ShowUpstreamStatus = a.ShowUpstreamStatus
	settings.FallbackSNI = a.FallbackSNI
	settings.Log = a.log
	for _, text := range a.TrustedAddresses {
		prefix, err := parsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("trusted_addresses: %q is neither an address nor a prefix", text)
		}
		settings.TrustedAddresses = append(settings.TrustedAddresses, prefix)
	}
	var err error
	if settings.NodeRoots, err = nodeRoots(a.TrustedCertificates); err != nil {
		return nil, fmt.Errorf("trusted_certificates: %w", err)
	}
	return settings, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		prefix, err := netip.ParsePrefix(text)
		return prefix.Masked(), err
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return addr.Prefix(addr.BitLen())
}

// declare adds objects to those of the config, in the order that decides between routes which rank alike. Modules call it
// from their Provision. A config that is reached on two ways, as that of a site with two addresses is, declares its
// objects twice; that is one object.
func (a *App) declare(objects []Declared) error {
	for i, d := range objects {
		if err := d.Check(a.plugins); err != nil {
			return fmt.Errorf("%s %s: %w", d.Kind, d.ID, err)
		}
		o, err := d.object()
		if err != nil {
			return fmt.Errorf("%s %s: %w", d.Kind, d.ID, err)
		}
		if prior, ok := a.declared[o.Key()]; ok && string(prior.Value) != string(o.Value) {
			return fmt.Errorf("%s %s: declared twice, and differently", d.Kind, d.ID)
		}
		o.Created, o.Modified = uint64(i+1), uint64(i+1)
		a.declared[o.Key()] = o
	}
	return nil
}

// rememberConnections makes the connections of the server that is being provisioned keep their exchange. A server must
// be told once.
func (a *App) rememberConnections(ctx caddy.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || a.servers[server] {
		return
	}
	a.servers[server] = true
	server.RegisterConnContext(nethttp.ConnContext)
}

// Start opens the store, or joins the gateway that has it open, and makes this config the one that is served.
func (a *App) Start() (err error) {
	defer a.settle()
	if a.lanes, err = lanesOf(a.Lane, a.log); err != nil {
		return err
	}
	if a.compiler.Keyring, err = keyringOf(a.store, a.log); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	a.compiler.Secrets = resolverOf(a.store)
	a.compiler.Discovery = nodesOf(a.store)
	status, err := a.Status.listen()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			status.release()
		}
	}()
	gen := &gateway.Generation{Compiler: a.compiler, Settings: a.settings, Objects: a.generationObjects()}
	forgo := a.discover(gen.Objects)
	defer func() {
		if err != nil {
			forgo()
		}
	}()
	running, detach, faults, err := join(a.store, gen)
	if err != nil {
		return err
	}
	for _, fault := range faults {
		a.log.Error("object cannot be served as it is", zap.Error(fault))
	}
	cfg := a.Admin.handlerConfig(running.gateway, a.compiler, a.plugins)
	cfg.Standalone, cfg.Secrets = running.document, fetching{running}
	cfg.Settle = running.certifier.Settle
	cfg.Stream, cfg.StreamPlugins = a.Stream != nil, a.streamPlugins
	handler, err := admin.New(cfg)
	if err != nil {
		detach()
		return errors.Join(fmt.Errorf("admin: %w", err), running.leave())
	}
	lease, err := a.Admin.listen(handler, a.log)
	if err != nil {
		detach()
		return errors.Join(fmt.Errorf("admin: %w", err), running.leave())
	}
	control, err := a.Control.listen(running, a.plugins, a.streamPlugins, a.log)
	if err != nil {
		lease.release()
		detach()
		return errors.Join(fmt.Errorf("control: %w", err), running.leave())
	}
	releaseStreams, err := a.leaseStreams(running.streams)
	if err != nil {
		lease.release()
		control.release()
		detach()
		return errors.Join(err, running.leave())
	}
	if a.Stream != nil {
		running.grace.Store(int64(a.Stream.GracePeriod))
	}
	if err := a.manageCarried(); err != nil {
		a.log.Error("certificates for hosts of routes cannot be managed", zap.Error(err))
	}
	a.running, a.admin = running, handler
	started.push(a)
	running.certifier.reloader.Ask()
	a.release = sync.OnceFunc(func() {
		started.remove(a)
		releaseStreams()
		detach()
		// What the Admin API is doing for somebody needs the gateway until it is done. A reload does not wait for that;
		// a process that exits does.
		finish := func() {
			for _, lease := range []*adminLease{lease, control, status} {
				lease.release()
			}
			if err := running.leave(); err != nil {
				caddy.Log().Named("ando").Error("closing the store failed", zap.Error(err))
			}
			// Requests need what is known of nodes until the gateway has ended.
			forgo()
		}
		if caddy.Exiting() {
			finish()
			return
		}
		go finish()
	})
	return nil
}

func (a *App) generationObjects() []gateway.Object {
	objects := make([]gateway.Object, 0, len(a.declared))
	for _, o := range a.declared {
		objects = append(objects, o)
	}
	slices.SortFunc(objects, func(x, y gateway.Object) int { return strings.Compare(x.Key(), y.Key()) })
	return objects
}

// Stop ends what Start began. It is called on a reload, when the next config has been started, and when a config is
// given up because another of its apps did not start.
func (a *App) Stop() error {
	ports.flush(a)
	if a.release != nil {
		a.release()
	}
	return nil
}

// Cleanup lets go of whoever waits for a Start that will not come.
func (a *App) Cleanup() error {
	if a.settle != nil {
		a.settle()
	}
	return a.Stop()
}

// errNotStarted is what a request gets of a config that could not be started.
var errNotStarted = errors.New("the gateway did not start")

// serving returns the gateway of this config. Apps start in any order, so a request may be here before it has started;
// it waits.
func (a *App) serving(ctx context.Context) (*running, error) {
	select {
	case <-a.settled:
	default:
		select {
		case <-a.settled:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if a.running == nil {
		return nil, errNotStarted
	}
	return a.running, nil
}

// started returns the gateway of this config, or nil when it has not started, or did not. It does not wait.
func (a *App) started() *running {
	select {
	case <-a.settled:
		return a.running
	default:
		return nil
	}
}

// AdminAddress is where the Admin API listens, or "" when it has no listener of its own.
func (a *App) AdminAddress() string { return a.Admin.Listen }

// StoreLocation says where objects are kept.
func (a *App) StoreLocation() string { return fmt.Sprint(a.store) }

// appOf returns the ando app of the config that is being provisioned.
func appOf(ctx caddy.Context) (*App, error) {
	app, err := ctx.App("ando")
	if err != nil {
		return nil, err
	}
	return app.(*App), nil
}

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
