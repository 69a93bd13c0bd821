// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/andogate/ando/modules/gateway"
)

// sslMetrics tells when the certificates of the gateway's ssl objects expire. It looks at the newest table when it is
// asked, and says nothing before the gateway has started.
type sslMetrics struct{ app *App }

var sslExpiry = prometheus.NewDesc("ando_ssl_not_after_seconds",
	"When the certificate of an ssl object expires, in seconds since 1970.", []string{"ssl", "snis", "algorithm"}, nil)

// Describe implements prometheus.Collector.
func (sslMetrics) Describe(descs chan<- *prometheus.Desc) { descs <- sslExpiry }

// Collect implements prometheus.Collector.
func (m sslMetrics) Collect(metrics chan<- prometheus.Metric) {
	running := m.app.started()
	if running == nil {
		return
	}
	t, ok := running.gateway.Table().(gateway.SecureTable)
	if !ok {
		return
	}
	for ssl := range t.SSLs() {
		seen := map[string]bool{}
		for i := range ssl.Certificates {
			leaf := ssl.Certificates[i].Leaf
			algorithm := leaf.PublicKeyAlgorithm.String()
			if seen[algorithm] {
				continue // only the first of a kind is ever presented
			}
			seen[algorithm] = true
			metrics <- prometheus.MustNewConstMetric(sslExpiry, prometheus.GaugeValue, float64(leaf.NotAfter.Unix()),
				ssl.Object.ID, strings.Join(ssl.Names, ","), algorithm)
		}
	}
}

var _ prometheus.Collector = sslMetrics{}
