// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// configBehind says why Caddy's config does not have what the objects want of it; nothing when it has.
func configBehind() []string {
	app := started.newest()
	if app == nil {
		return nil
	}
	status := app.running.certifier.reloader.Status()
	if status.Err == nil {
		return nil
	}
	return []string{fmt.Sprintf("since %s: %v", status.Since.UTC().Format(time.RFC3339), status.Err)}
}

// reloadMetrics tells how Caddy's config follows the objects of a config's gateway.
type reloadMetrics struct{ app *App }

var (
	reloadsTotal = prometheus.NewDesc("ando_config_reloads_total",
		"Changes of Caddy's config that objects asked for, by what came of them.", []string{"result"}, nil)
	reloadBehind = prometheus.NewDesc("ando_config_behind",
		"1 while Caddy's config does not have what the objects want of it.", nil, nil)
)

// Describe implements prometheus.Collector.
func (reloadMetrics) Describe(descs chan<- *prometheus.Desc) {
	descs <- reloadsTotal
	descs <- reloadBehind
}

// Collect implements prometheus.Collector.
func (m reloadMetrics) Collect(metrics chan<- prometheus.Metric) {
	running := m.app.started()
	if running == nil {
		return
	}
	status, behind := running.certifier.reloader.Status(), 0.0
	if status.Err != nil {
		behind = 1
	}
	metrics <- prometheus.MustNewConstMetric(reloadsTotal, prometheus.CounterValue, float64(status.Reloads), "done")
	metrics <- prometheus.MustNewConstMetric(reloadsTotal, prometheus.CounterValue, float64(status.Failures), "failed")
	metrics <- prometheus.MustNewConstMetric(reloadBehind, prometheus.GaugeValue, behind)
}

var _ prometheus.Collector = reloadMetrics{}
