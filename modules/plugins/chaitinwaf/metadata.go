// SPDX-License-Identifier: Apache-2.0

package chaitinwaf

import (
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// options are how a detector is asked; nil and 0 are not said.
type options struct {
	Connect     int64 `json:"connect_timeout"`
	Send        int64 `json:"send_timeout"`
	Read        int64 `json:"read_timeout"`
	BodySize    int64 `json:"req_body_size"`
	Idle        int   `json:"keepalive_size"`
	IdleTimeout int64 `json:"keepalive_timeout"`
	RealIP      *bool `json:"real_client_ip"`
}

// What holds where nobody says anything: APISIX's defaults.
var defaults = options{Connect: 1000, Send: 1000, Read: 1000, BodySize: 1024, Idle: 256, IdleTimeout: 60_000}

// over fills in what is not said.
func (o options) over(rest options) options {
	fill := func(value *int64, other int64) {
		if *value <= 0 {
			*value = other
		}
	}
	fill(&o.Connect, rest.Connect)
	fill(&o.Send, rest.Send)
	fill(&o.Read, rest.Read)
	fill(&o.BodySize, rest.BodySize)
	fill(&o.IdleTimeout, rest.IdleTimeout)
	if o.Idle <= 0 {
		o.Idle = rest.Idle
	}
	if o.RealIP == nil {
		o.RealIP = rest.RealIP
	}
	return o
}

// duration makes a time.Duration of milliseconds.
func duration(milliseconds int64) time.Duration {
	const most = int64(time.Hour / time.Millisecond)
	return time.Duration(min(milliseconds, most)) * time.Millisecond
}

// metadata are the detectors, and what holds for configs that do not say otherwise. It is immutable but for next.
type metadata struct {
	mode      string
	options   options
	detectors []*detector
	next      atomic.Uint64
}

func compileMetadata(_ gateway.Env, config json.RawMessage) (any, error) {
	var c struct {
		Mode  string `json:"mode"`
		Nodes []struct {
			Host string `json:"host"`
			Port int    `json:"port"`
		} `json:"nodes"`
		Options options `json:"config"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("chaitin-waf: %w", err)
	}
	m := &metadata{mode: c.Mode, options: c.Options.over(defaults)}
	if m.mode == "" {
		m.mode = monitor
	}
	for _, n := range c.Nodes {
		if path, ok := strings.CutPrefix(n.Host, "unix:"); ok {
			m.detectors = append(m.detectors, detectorFor(n.Host, "unix", path))
			continue
		}
		if n.Port > 65535 {
			return nil, fmt.Errorf("property \"nodes\" validation failed: there is no port %d", n.Port)
		}
		host := strings.TrimSuffix(strings.TrimPrefix(n.Host, "["), "]")
		m.detectors = append(m.detectors, detectorFor(n.Host, "tcp", net.JoinHostPort(host, strconv.Itoa(n.Port))))
	}
	return m, nil
}

// pick returns the detector whose turn it is, of those that work; nil is none.
func (m *metadata) pick(now time.Time) *detector {
	turn := m.next.Add(1)
	n := uint64(len(m.detectors))
	for i := range n {
		if d := m.detectors[(turn+i)%n]; d.allows(now) {
			return d
		}
	}
	return nil
}
