// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/andogate/ando/modules/gateway/gatewaytest/certtest"
)

func TestSSLMetrics(t *testing.T) {
	waiting := &App{settled: make(chan struct{})}
	if got := gather(t, sslMetrics{waiting}); len(got) != 0 {
		t.Errorf("before the start there are %v", got)
	}
	s := newSecureSite(t)
	s.mustLoad()
	pair := certtest.New(t, "ca").Issue(t, "a.test")
	s.putSSL("1", pair, `,"snis":["a.test","b.test"]`)
	metrics := sslMetrics{started.newest()}
	if got, want := gather(t, metrics), float64(pair.TLS(t).Leaf.NotAfter.Unix()); len(got) != 1 || got[0] != want {
		t.Errorf("got %v, want %v", got, want)
	}
	s.do("DELETE", s.admin, "/apisix/admin/ssls/1", "")
	if got := gather(t, metrics); len(got) != 0 {
		t.Errorf("without objects there are %v", got)
	}
}

// gather returns the values of all series.
func gather(t *testing.T, c prometheus.Collector) (values []float64) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.Metric {
			values = append(values, metric.GetGauge().GetValue())
		}
	}
	return values
}
