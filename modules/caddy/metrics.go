// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lane"
)

// requestMetrics counts requests that event loops have served in the caddy_http_* metrics of their config, with the labels
// that Caddy's server would give them. It is safe for concurrent use.
type requestMetrics struct {
	vectors
	server, handler string
	// hosts are those that have a label of their own; nil when there is no label for hosts.
	hosts map[string]bool
	// plainCatchAll and secureCatchAll say that any other host has too.
	plainCatchAll, secureCatchAll bool

	// byHost has the series of the label's values. It is replaced when one is added.
	byHost atomic.Pointer[map[string]*hostSeries]
}

// vectors are Caddy's own.
type vectors struct {
	inFlight                                              *prometheus.GaugeVec
	total                                                 *prometheus.CounterVec
	duration, requestSize, responseSize, responseDuration *prometheus.HistogramVec
}

// hostSeries are the series of one value of the label `host`, which is "" where there is none.
type hostSeries struct {
	inFlight prometheus.Gauge
	total    prometheus.Counter
	// byStatus has the series of a method, which is one of methods, and status.
	byStatus [len(methods)]atomic.Pointer[[600]atomic.Pointer[statusSeries]]
}

type statusSeries struct {
	duration, requestSize, responseSize, responseDuration prometheus.Observer
}

// methods are the values of the label `method`.
var methods = [...]string{"OTHER", "GET", "HEAD", "PUT", "POST", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

// maxMetricHosts bounds byHost. The series of further hosts are looked up for every request.
const maxMetricHosts = 1024

// otherHost is the label of hosts that have none of their own.
const otherHost = "_other"

// newRequestMetrics returns the metrics for requests to a server whose routes begin with handler, or nil when the config
// keeps none. It must not be called before the http app is provisioned.
func newRequestMetrics(ctx caddy.Context, app *caddyhttp.App, server *caddyhttp.Server, handler string) (*requestMetrics, error) {
	config := app.Metrics
	if config == nil {
		return nil, nil
	}
	m := &requestMetrics{server: server.Name(), handler: handler}
	m.byHost.Store(&map[string]*hostSeries{})
	basic := []string{"server", "handler"}
	full := []string{"server", "handler", "code", "method"}
	if config.PerHost {
		basic, full = append(basic, "host"), append(full, "host")
		m.hosts, m.secureCatchAll = metricHosts(app)
		m.plainCatchAll = config.ObserveCatchallHosts
		m.secureCatchAll = m.secureCatchAll || m.plainCatchAll
	}
	if err := registerCaddyMetrics(ctx, config); err != nil {
		return nil, err
	}
	registry := ctx.GetMetricsRegistry()
	return m, errors.Join(
		gauge(registry, "requests_in_flight", "Number of requests currently handled by this server.", basic, &m.inFlight),
		counter(registry, "requests_total", "Counter of HTTP(S) requests made.", basic, &m.total),
		histogram(registry, "request_duration_seconds", "Histogram of round-trip request durations.", full, &m.duration),
		histogram(registry, "request_size_bytes", "Total size of the request. Includes body", full, &m.requestSize),
		histogram(registry, "response_size_bytes", "Size of the returned response.", full, &m.responseSize),
		histogram(registry, "response_duration_seconds", "Histogram of times to first byte in response bodies.", full,
			&m.responseDuration),
	)
}

// registerCaddyMetrics has Caddy register its metrics, which it otherwise does when the first request comes to a route, and
// then insists on being the first. What it is given is no request, and gets no further than that.
func registerCaddyMetrics(ctx caddy.Context, config *caddyhttp.Metrics) error {
	var route caddyhttp.Route
	if err := route.ProvisionHandlers(ctx, config); err != nil {
		return err
	}
	nobody := caddyhttp.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) error { return nil })
	func() {
		defer func() { _ = recover() }()
		_ = route.Compile(nobody).ServeHTTP(nil, nil)
	}()
	return nil
}

// existing returns in found the collector that is registered where c would be.
func existing[T prometheus.Collector](registry *prometheus.Registry, c T, found *T) error {
	var registered prometheus.AlreadyRegisteredError
	switch err := registry.Register(c); {
	case err == nil:
		registry.Unregister(c)
		return errors.New("Caddy has not registered its metrics")
	case !errors.As(err, &registered):
		return err
	}
	var ok bool
	if *found, ok = registered.ExistingCollector.(T); !ok {
		return fmt.Errorf("Caddy's metric is a %T", registered.ExistingCollector)
	}
	return nil
}

func gauge(r *prometheus.Registry, name, help string, labels []string, found **prometheus.GaugeVec) error {
	opts := prometheus.GaugeOpts{Namespace: "caddy", Subsystem: "http", Name: name, Help: help}
	return existing(r, prometheus.NewGaugeVec(opts, labels), found)
}

func counter(r *prometheus.Registry, name, help string, labels []string, found **prometheus.CounterVec) error {
	opts := prometheus.CounterOpts{Namespace: "caddy", Subsystem: "http", Name: name, Help: help}
	return existing(r, prometheus.NewCounterVec(opts, labels), found)
}

func histogram(r *prometheus.Registry, name, help string, labels []string, found **prometheus.HistogramVec) error {
	opts := prometheus.HistogramOpts{Namespace: "caddy", Subsystem: "http", Name: name, Help: help}
	return existing(r, prometheus.NewHistogramVec(opts, labels), found)
}

// metricHosts is what Caddy's Metrics.scanConfigForHosts finds: the hosts that routes name, and whether any server speaks
// TLS.
func metricHosts(app *caddyhttp.App) (hosts map[string]bool, secure bool) {
	hosts = map[string]bool{}
	for _, server := range app.Servers {
		secure = secure || len(server.TLSConnPolicies) > 0
		for _, route := range server.Routes {
			for _, set := range route.MatcherSets {
				for _, matcher := range set {
					names, ok := matcher.(*caddyhttp.MatchHost)
					if !ok {
						continue
					}
					for _, name := range *names {
						if !strings.ContainsAny(name, "{*") {
							hosts[strings.ToLower(name)] = true
						}
					}
				}
			}
		}
	}
	return hosts, secure
}

// series returns those of the request's host.
func (m *requestMetrics) series(x *gateway.Exchange) *hostSeries {
	label := m.hostLabel(x)
	known := m.byHost.Load()
	if s := (*known)[label]; s != nil {
		return s
	}
	label = strings.Clone(label)
	labels := m.labels(label)
	s := &hostSeries{inFlight: m.inFlight.With(labels), total: m.total.With(labels)}
	if len(*known) < maxMetricHosts {
		more := maps.Clone(*known)
		more[label] = s
		// When another loop was faster, the next request is the one that is remembered.
		m.byHost.CompareAndSwap(known, &more)
	}
	return s
}

func (m *requestMetrics) hostLabel(x *gateway.Exchange) string {
	if m.hosts == nil {
		return ""
	}
	host := strings.ToLower(x.Request.RawHost)
	if m.hosts[host] || m.plainCatchAll || m.secureCatchAll && x.Request.TLS != nil {
		return host
	}
	return otherHost
}

func (m *requestMetrics) labels(host string) prometheus.Labels {
	labels := prometheus.Labels{"server": m.server, "handler": m.handler}
	if m.hosts != nil {
		labels["host"] = host
	}
	return labels
}

// Began implements lane.Metrics.
func (m *requestMetrics) Began(x *gateway.Exchange) { m.series(x).inFlight.Inc() }

// Ended implements lane.Metrics.
func (m *requestMetrics) Ended(x *gateway.Exchange, measured lane.Measured) {
	host := m.series(x)
	host.inFlight.Dec()
	host.total.Inc()
	s := m.statusSeries(host, x)
	if measured.ToHead > 0 {
		s.responseDuration.Observe(measured.ToHead.Seconds())
	}
	s.duration.Observe(measured.Took.Seconds())
	s.requestSize.Observe(float64(measured.RequestBytes))
	s.responseSize.Observe(float64(measured.ResponseBytes))
}

func (m *requestMetrics) statusSeries(host *hostSeries, x *gateway.Exchange) *statusSeries {
	method, status := methodIndex(x.Request.Method), x.Response.Status
	if status < 0 || status >= 600 {
		return m.newStatusSeries(x, methods[method])
	}
	row := host.byStatus[method].Load()
	if row == nil {
		row = new([600]atomic.Pointer[statusSeries])
		if !host.byStatus[method].CompareAndSwap(nil, row) {
			row = host.byStatus[method].Load()
		}
	}
	s := row[status].Load()
	if s == nil {
		s = m.newStatusSeries(x, methods[method])
		row[status].Store(s)
	}
	return s
}

func (m *requestMetrics) newStatusSeries(x *gateway.Exchange, method string) *statusSeries {
	labels := m.labels(strings.Clone(m.hostLabel(x)))
	labels["method"], labels["code"] = method, strconv.Itoa(x.Response.Status)
	return &statusSeries{
		m.duration.With(labels), m.requestSize.With(labels), m.responseSize.With(labels), m.responseDuration.With(labels),
	}
}

// lowerMethods are methods in lower case, which Caddy takes for the same.
var lowerMethods = func() (lower [len(methods)]string) {
	for i, method := range methods {
		lower[i] = strings.ToLower(method)
	}
	return lower
}()

// methodIndex is the place of a method's label in methods.
func methodIndex(method string) int {
	for i, known := range methods {
		if i > 0 && (method == known || method == lowerMethods[i]) {
			return i
		}
	}
	return 0
}

var _ lane.Metrics = (*requestMetrics)(nil)
