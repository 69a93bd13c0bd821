// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"encoding/json"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"

	"github.com/andogate/ando/admin"
	"github.com/andogate/ando/modules/gateway"
)

// certifier has Caddy manage certificates for the hosts of a gateway's routes. It goes with the gateway, from config to
// config.
type certifier struct {
	gateway  *gateway.Gateway
	reloader *admin.Reloader
	end      func()

	// edited is the fingerprint of what the config was edited for last. It belongs to the Reloader's goroutine.
	edited uint64
	// names are those that Caddy is to manage, as of the last edit.
	names atomic.Pointer[[]string]
}

func newCertifier(g *gateway.Gateway) *certifier {
	c := &certifier{gateway: g}
	c.reloader = &admin.Reloader{
		API: &configAPI{address: configAddress}, Path: "/config/apps", Edit: c.edit, Needless: c.needless, Log: newestLog,
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.reloader.Run(ctx) })
	c.end = func() {
		cancel()
		running.Wait()
	}
	return c
}

// configAddress returns where the newest config has Caddy's admin endpoint.
func configAddress() string {
	app := started.newest()
	switch {
	case app == nil || app.ConfigAPI == "":
		return caddy.DefaultAdminListen
	case app.ConfigAPI == "off":
		return ""
	}
	return app.ConfigAPI
}

// follow looks at each table's hosts. It is for gateway.OnTable.
func (c *certifier) follow(gateway.Table) { c.reloader.Ask() }

// hosts returns the hosts of the routes for which no ssl object has a certificate.
func (c *certifier) hosts() (hosts []string) {
	t, ok := c.gateway.Table().(gateway.HostTable)
	if !ok {
		return nil
	}
	secure, _ := t.(gateway.SecureTable)
	for host := range t.Hosts() {
		if secure == nil || secure.SSL(host) == nil {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

var fingerprintSeed = maphash.MakeSeed()

// fingerprint tells the hosts, and the config that they are for, from others. It is never 0.
func fingerprint(app *App, hosts []string) uint64 {
	var h maphash.Hash
	h.SetSeed(fingerprintSeed)
	maphash.WriteComparable(&h, app)
	for _, host := range hosts {
		// Nothing that is written fails.
		_, _ = h.WriteString(host)
		_ = h.WriteByte(0)
	}
	return h.Sum64() | 1
}

// needless reports that the config was edited for these very hosts, or that there are neither names nor sites for any.
func (c *certifier) needless() bool {
	app := started.newest()
	if app == nil {
		return true
	}
	hosts := c.hosts()
	if len(app.Automated) == 0 && (len(hosts) == 0 || !app.automates) {
		return true
	}
	return fingerprint(app, hosts) == c.edited && c.reloader.Status().Err == nil
}

func (c *certifier) edit(apps json.RawMessage) (json.RawMessage, error) {
	app, hosts := started.newest(), c.hosts()
	edited, names, err := editNames(apps, hosts)
	if err == nil {
		c.edited = fingerprint(app, hosts)
		c.names.Store(&names)
	}
	return edited, err
}

// Settle waits until Caddy's config follows a write and certificates for the object's hosts can be presented, up to the
// time that the config allows. The answer says of each name that Caddy manages where it stands: issued, pending or
// failed; it is empty when there is none.
func (c *certifier) Settle(ctx context.Context, o gateway.Object) string {
	app := started.newest()
	if app == nil || !app.automates && len(app.Automated) == 0 {
		return ""
	}
	hosts := c.hostsOf(o)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(app.CertificateWait))
	defer cancel()
	since := certificates.mark()
	switch err := c.reloader.Wait(ctx, c.reloader.Ask()); {
	case len(hosts) == 0:
		return ""
	case err != nil && ctx.Err() == nil:
		return describe(hosts, func(string) string { return "failed" })
	case err != nil:
		return describe(hosts, func(string) string { return "pending" })
	}
	if app = started.newest(); app == nil {
		return ""
	}
	hosts = slices.DeleteFunc(hosts, func(host string) bool { return !slices.Contains(app.Automated, host) })
	states := certificates.await(ctx, hosts, since)
	return describe(hosts, func(host string) string { return states[host] })
}

func describe(hosts []string, state func(string) string) string {
	texts := make([]string, len(hosts))
	for i, host := range hosts {
		texts[i] = host + "=" + state(host)
	}
	return strings.Join(texts, ", ")
}

// hostsOf returns the hosts of a route, or those of its service, or of a service: names for which there can be a
// certificate.
func (c *certifier) hostsOf(o gateway.Object) []string {
	var d struct {
		Host      string          `json:"host"`
		Hosts     []string        `json:"hosts"`
		ServiceID json.RawMessage `json:"service_id"`
	}
	if len(o.Value) == 0 || json.Unmarshal(o.Value, &d) != nil {
		return nil
	}
	hosts := d.Hosts
	if d.Host != "" {
		hosts = append(hosts, d.Host)
	}
	if id := strings.Trim(string(d.ServiceID), `"`); len(hosts) == 0 && id != "" && id != "null" {
		if service, ok := c.gateway.Table().Object(gateway.Services, id); ok && o.Kind == gateway.Routes {
			return c.hostsOf(service)
		}
	}
	for i := range hosts {
		hosts[i] = strings.ToLower(hosts[i])
	}
	known := c.hosts()
	hosts = slices.DeleteFunc(hosts, func(host string) bool {
		return strings.HasPrefix(host, "*") || !slices.Contains(known, host)
	})
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// certificateEvents hears what becomes of the certificates that Caddy manages, in any config. The cache of certificates is
// the process's too.
type certificateEvents struct {
	mu sync.Mutex
	// count counts failures; failed is the count at which the latest of a name was.
	count  uint64
	failed map[string]uint64
	news   chan struct{}
}

var certificates = certificateEvents{failed: map[string]uint64{}, news: make(chan struct{})}

// heard are the events that it is told.
var heard = []string{"cached_managed_cert", "cert_failed"}

// maxFailures bounds the names whose failure is remembered.
const maxFailures = 10_000

// Handle implements caddyevents.Handler.
func (c *certificateEvents) Handle(_ context.Context, event caddy.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name, ok := event.Data["identifier"].(string); ok && event.Name() == "cert_failed" {
		if len(c.failed) >= maxFailures {
			clear(c.failed)
		}
		c.count++
		c.failed[name] = c.count
	}
	close(c.news)
	c.news = make(chan struct{})
	return nil
}

// hearCertificates makes a config tell what becomes of its certificates.
func hearCertificates(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return err
	}
	for _, name := range heard {
		if err := app.(*caddyevents.App).On(name, &certificates); err != nil {
			return err
		}
	}
	return nil
}

// mark returns a point in time: failures before it do not count for await.
func (c *certificateEvents) mark() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// await returns when each name has a certificate or has failed since the mark, or ctx ends.
func (c *certificateEvents) await(ctx context.Context, names []string, since uint64) map[string]string {
	states := make(map[string]string, len(names))
	for {
		c.mu.Lock()
		news := c.news
		for _, name := range names {
			states[name] = "pending"
			if c.failed[name] > since {
				states[name] = "failed"
			}
		}
		c.mu.Unlock()
		waiting := false
		for _, name := range names {
			if hasCertificate(name) {
				states[name] = "issued"
			}
			waiting = waiting || states[name] == "pending"
		}
		if !waiting {
			return states
		}
		select {
		case <-news:
		case <-ctx.Done():
			return states
		}
	}
}

// hasCertificate reports whether Caddy could present a certificate for the name now.
func hasCertificate(name string) bool {
	now := time.Now()
	return slices.ContainsFunc(caddytls.AllMatchingCertificates(name), func(cert certmagic.Certificate) bool {
		return cert.Leaf != nil && now.Before(cert.Leaf.NotAfter)
	})
}

// carryOver has a new config manage from the start what the one before had been told to, and does not know of itself: one
// that was loaded as a whole. The Reloader adds it to the config, or not, when it has looked at it.
func (a *App) carryOver(ctx caddy.Context) error {
	prior := started.newest()
	if prior == nil || prior.store.StoreKey() != a.store.StoreKey() || prior.running.certifier.names.Load() == nil {
		return nil
	}
	names := slices.DeleteFunc(slices.Clone(*prior.running.certifier.names.Load()), func(name string) bool {
		return slices.Contains(a.Automated, name)
	})
	if len(names) == 0 {
		return nil
	}
	module, err := ctx.App("tls")
	if err != nil {
		return err
	}
	a.tls, a.carried = module.(*caddytls.TLS), names
	own := &caddytls.AutomationPolicy{IssuersRaw: []json.RawMessage{json.RawMessage(`{"module":"internal"}`)}}
	for _, name := range a.carried {
		if !certmagic.SubjectQualifiesForPublicCert(name) && !hasPolicy(a.tls, name) {
			own.SubjectsRaw = append(own.SubjectsRaw, name)
		}
	}
	if len(own.SubjectsRaw) == 0 {
		return nil
	}
	return a.tls.AddAutomationPolicy(own)
}

// manageCarried begins to manage what was carried over. It is called by Start, when all of the config's servers are known.
func (a *App) manageCarried() error {
	if len(a.carried) == 0 || !a.automates {
		return nil
	}
	names := make(map[string]struct{}, len(a.carried))
	for _, name := range a.carried {
		names[name] = struct{}{}
	}
	return a.tls.Manage(names)
}

// hasPolicy reports whether the config itself says how the name's certificate is got.
func hasPolicy(app *caddytls.TLS, name string) bool {
	if app.Automation == nil {
		return false
	}
	return slices.ContainsFunc(app.Automation.Policies, func(p *caddytls.AutomationPolicy) bool {
		subjects := p.Subjects()
		return len(p.SubjectsRaw) > 0 && slices.ContainsFunc(subjects, func(s string) bool { return certmagic.MatchWildcard(name, s) })
	})
}
