// SPDX-License-Identifier: Apache-2.0

package health

import (
	"slices"
	"strings"
	"time"
)

// Report is what is known of one object's nodes.
type Report struct {
	// Key is the object's key, such as "/apisix/upstreams/1".
	Key   string
	Nodes []NodeReport
}

// NodeReport is what is known of one node.
type NodeReport struct {
	// Host and Port are where it is probed; Name is the host that probes ask for.
	Host     string
	Port     int
	Name     string
	Status   Status
	Counters Counters
	// Reason is the last failure that counted, and empty before the first.
	Reason string
	// Since is when the node last turned healthy or unhealthy, and zero when it never did.
	Since time.Time
	// Next is when it is probed next: zero for nodes that are not probed, and now for one that is being probed.
	Next time.Time
}

// Report returns what is known of an object. ok is false when it is not checked. A nil pool checks nothing.
func (p *Pool) Report(key string) (report Report, ok bool) {
	if p == nil {
		return Report{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.records[key]
	if r == nil {
		return Report{}, false
	}
	return r.report(), true
}

// Reports returns what is known of every object that is checked, in the order of their keys.
func (p *Pool) Reports() []Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	reports := make([]Report, 0, len(p.records))
	for _, r := range p.records {
		reports = append(reports, r.report())
	}
	slices.SortFunc(reports, func(a, b Report) int { return strings.Compare(a.Key, b.Key) })
	return reports
}

func (r *record) report() Report {
	a := &r.version.config.Active
	report := Report{Key: r.key, Nodes: make([]NodeReport, len(r.targets))}
	for i, t := range r.targets {
		word := t.node.State.Health.Load()
		n := NodeReport{
			Host: t.node.Host, Port: t.node.Port, Name: t.node.HostName(), Status: statusOf(word), Counters: countersOf(word),
			Reason: t.reason, Since: t.since,
		}
		if a.Port != 0 {
			n.Port = a.Port
		}
		if a.Host != "" {
			n.Name = a.Host
		}
		switch {
		case a.Type == "":
		case t.place < 0:
			n.Next = time.Now()
		default:
			n.Next = t.next
		}
		report.Nodes[i] = n
	}
	return report
}
