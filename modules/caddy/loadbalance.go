// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/nethttp"
	"github.com/andogate/ando/modules/upstream"
	"github.com/andogate/ando/modules/upstream/health"
)

// LoadBalance proxies every request to the nodes of one upstream, without a route. What is known about the nodes outlives
// a reload that leaves the upstream as it is.
type LoadBalance struct {
	// The upstream as APISIX spells it: type (roundrobin, chash, least_conn, ewma), nodes, key, hash_on, retries, ...
	Upstream json.RawMessage `json:"upstream,omitempty"`

	app      *App
	pooled   *pooledUpstream
	balancer func() *nethttp.LoadBalancer
}

// pooledUpstream is a compiled upstream that handlers of one text share, those of the next config included.
type pooledUpstream struct{ *gateway.Upstream }

func (p *pooledUpstream) Destruct() error {
	siteHealth().Drop(p.Key)
	return nil
}

// compileForSite compiles an upstream that a site declares outside of the gateway.
func compileForSite(module string, raw json.RawMessage) (*pooledUpstream, error) {
	name := fnv.New64a()
	_, _ = name.Write(raw)
	compiled, err := upstream.Compile(fmt.Sprintf("%s/%016x", module, name.Sum64()), raw, nil, upstream.Surroundings{})
	return &pooledUpstream{compiled}, err
}

// siteHealth checks the nodes of upstreams that sites declare, from the first request on: `caddy validate` probes nobody.
// It outlives configs; the upstreams are dropped one by one.
var siteHealth = sync.OnceValue(func() *health.Pool { return health.NewPool(newestLog) })

var upstreams = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*LoadBalance) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.ando_load_balance", New: func() caddy.Module { return new(LoadBalance) }}
}

// Check reports what is wrong with the upstream.
func (l *LoadBalance) Check() error {
	value, err := schema.Decode(l.Upstream)
	if err != nil {
		return fmt.Errorf("upstream: not JSON: %w", err)
	}
	if err := schema.Check(gateway.Upstreams, value); err != nil {
		return fmt.Errorf("upstream: %w", err)
	}
	return nil
}

// Provision compiles the upstream, or finds it as the config before has it.
func (l *LoadBalance) Provision(ctx caddy.Context) error {
	if err := l.Check(); err != nil {
		return err
	}
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	app.rememberConnections(ctx)
	l.app = app
	value, _, err := upstreams.LoadOrNew(string(l.Upstream), func() (caddy.Destructor, error) {
		return compileForSite("ando_load_balance", l.Upstream)
	})
	if err != nil {
		return err
	}
	l.pooled = value.(*pooledUpstream)
	l.balancer = sync.OnceValue(func() *nethttp.LoadBalancer {
		siteHealth().Set(l.pooled.Upstream)
		return l.app.running.server.LoadBalancer(l.pooled.Upstream)
	})
	return nil
}

func (l *LoadBalance) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if _, err := l.app.serving(r.Context()); err != nil {
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	l.balancer().ServeHTTP(w, r)
	return nil
}

// Cleanup gives the upstream back.
func (l *LoadBalance) Cleanup() error {
	if l.pooled == nil {
		return nil
	}
	_, err := upstreams.Delete(string(l.Upstream))
	return err
}

var (
	_ caddy.Provisioner           = (*LoadBalance)(nil)
	_ caddy.CleanerUpper          = (*LoadBalance)(nil)
	_ caddyhttp.MiddlewareHandler = (*LoadBalance)(nil)
)
