// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/andogate/ando/modules/upstream/health"
)

// nodeHealth is a metric of Caddy's: what health checks hold of each node. It is read when it is asked for, so that a config
// which starts shows what is known already.
type nodeHealth struct{}

// The labels are those of APISIX's upstream_status.
var nodeHealthy = prometheus.NewDesc("ando_upstream_node_healthy",
	"Whether health checks hold the node for healthy (1) or not (0).", []string{"name", "ip", "port"}, nil)

// Describe implements prometheus.Collector.
func (nodeHealth) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- nodeHealthy }

// Collect implements prometheus.Collector.
func (nodeHealth) Collect(metrics chan<- prometheus.Metric) {
	pools := []*health.Pool{siteHealth()}
	if app := started.newest(); app != nil {
		pools = append(pools, app.running.health)
	}
	for _, pool := range pools {
		for _, report := range pool.Reports() {
			collectReport(metrics, report)
		}
	}
}

func collectReport(metrics chan<- prometheus.Metric, report health.Report) {
	type place struct {
		host string
		port int
	}
	// Nodes that are probed at one address of their host are one series: unhealthy when one of them is.
	healthy := make(map[place]float64, len(report.Nodes))
	for _, n := range report.Nodes {
		at := place{n.Host, n.Port}
		if before, twice := healthy[at]; twice && before == 0 {
			continue
		}
		healthy[at] = 0
		if n.Status.Up() {
			healthy[at] = 1
		}
	}
	for at, value := range healthy {
		metrics <- prometheus.MustNewConstMetric(nodeHealthy, prometheus.GaugeValue, value, report.Key, at.host, strconv.Itoa(at.port))
	}
}

var _ prometheus.Collector = nodeHealth{}
