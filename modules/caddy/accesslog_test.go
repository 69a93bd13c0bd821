// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"crypto/tls"
	"io"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lane"
)

// typical is the record of a request as browsers send it, with TLS.
func typical() *lane.Record {
	r := &lane.Record{
		Start: time.Now(), Took: time.Millisecond, Status: 200, Written: 512, TLS: new(tls.ConnectionState),
		RemoteIP: "192.0.2.1", RemotePort: "40000", Method: "GET", URI: "/shop/item?id=7", Proto: "HTTP/1.1", Host: "shop.example.com",
		Header: []gateway.Field{
			{Name: "User-Agent", Value: "Mozilla/5.0 (X11; Linux x86_64)"},
			{Name: "Accept", Value: "text/html"},
			{Name: "Accept-Language", Value: "en"},
			{Name: "Cookie", Value: "session=1"},
			{Name: "Referer", Value: "https://example.com/"},
		},
		Response: []gateway.Field{{Name: "Content-Type", Value: "text/html"}, {Name: "Content-Length", Value: "512"}},
	}
	r.RouteID, r.Consumer = "1", "jack"
	r.Attempts = []gateway.Attempt{{Node: &gateway.Node{Addr: "192.0.2.7:8080"}, Status: 200, Took: time.Millisecond}}
	return r
}

func discarding() *accessLog {
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	log := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(io.Discard), zapcore.InfoLevel))
	return newAccessLog(&caddyhttp.ServerLogConfig{LoggerNames: map[string]caddyhttp.StringArray{"*.example.com": {"shop"}}}, log)
}

func TestAccessLineAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("pools are not themselves under the race detector")
	}
	log, record := discarding(), typical()
	if n := testing.AllocsPerRun(1000, func() { log.write(record) }); n != 0 {
		t.Errorf("%v allocations for a line", n)
	}
}

func BenchmarkAccessLine(b *testing.B) {
	log, record := discarding(), typical()
	b.ReportAllocs()
	for b.Loop() {
		log.write(record)
	}
}

func TestRequestMetricsAllocateNothing(t *testing.T) {
	m, x := newTestMetrics(), new(gateway.Exchange)
	x.Request.Method, x.Request.RawHost, x.Response.Status = "GET", "shop.example.com", 200
	if raceDetector {
		t.Skip("pools are not themselves under the race detector")
	}
	if n := testing.AllocsPerRun(1000, func() { m.Began(x); m.Ended(x, lane.Measured{Took: 1, ToHead: 1}) }); n != 0 {
		t.Errorf("%v allocations for a request", n)
	}
}

func BenchmarkRequestMetrics(b *testing.B) {
	m, x := newTestMetrics(), new(gateway.Exchange)
	x.Request.Method, x.Request.RawHost, x.Response.Status = "GET", "shop.example.com", 200
	b.ReportAllocs()
	for b.Loop() {
		m.Began(x)
		m.Ended(x, lane.Measured{Took: time.Millisecond, ToHead: time.Millisecond, RequestBytes: 300, ResponseBytes: 512})
	}
}

func newTestMetrics() *requestMetrics {
	basic, full := []string{"server", "handler", "host"}, []string{"server", "handler", "code", "method", "host"}
	histogram := func(name string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name}, full)
	}
	m := &requestMetrics{server: "s", handler: "subroute", hosts: map[string]bool{"shop.example.com": true}, vectors: vectors{
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "in_flight"}, basic),
		total:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "total"}, basic),
		duration: histogram("duration"), requestSize: histogram("request"), responseSize: histogram("response"),
		responseDuration: histogram("head"),
	}}
	m.byHost.Store(&map[string]*hostSeries{})
	return m
}
