// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"strings"
)

// promise is a figure that Ando is to keep, as a ratio. Where atLeast is set the ratio must not be lower, otherwise not
// higher.
type promise struct {
	scenario string
	figure   string
	value    func(figures) float64
	// against is a peer, or "" for the same peer in the scenario base.
	against, base string
	atLeast       bool
	ring, poll    float64
}

func cpu(f figures) float64  { return f.cpu }
func rate(f figures) float64 { return f.rps }
func tail(f figures) float64 { return f.p99 }

var promises = []promise{
	{"plain-64", "CPU per request", cpu, "nginx", "", false, 0.55, 0.82},
	{"plain-64", "requests per second", rate, "nginx", "", true, 1.7, 1.2},
	{"plain", "CPU per request", cpu, "nginx", "", false, 0.55, 0.82},
	{"plain", "requests per second", rate, "nginx", "", true, 1.7, 1.2},
	{"stress", "CPU per request", cpu, "nginx", "", false, 0.55, 0.82},
	{"stress", "requests per second", rate, "nginx", "", true, 1.7, 1.2},
	{"plain-wrk", "CPU per request", cpu, "nginx", "", false, 0.78, 0.88},
	{"key-auth", "CPU per request", cpu, "", "plain", false, 1.05, 1.05},
	{"stress", "requests per second", rate, "", "plain", true, 0.9, 0.9},
	{"body-16k", "CPU per request", cpu, "nginx", "", false, 0.45, 0.6},
	{"body-1m", "CPU per request", cpu, "nginx", "", false, 0.5, 0.5},
	{"tls", "CPU per request", cpu, "nginx", "", false, 0.75, 0.85},
	{"newconn", "CPU per request", cpu, "nginx", "", false, 1, 1.1},
	{"slow-heads", "p99", tail, "", "plain", false, 3, 3},
	// Twice the requests of one loop would be the same CPU for each, 1.8 times as many a ninth more.
	{"two-loops", "CPU per request", cpu, "", "plain", false, 1.11, 1.11},
	{"plain", "p99", tail, "nginx", "", false, 1, 1},
	{"plain-64", "CPU per request", cpu, "caddy", "", false, 0.2, 0.25},
	{"plain", "CPU per request", cpu, "caddy", "", false, 0.2, 0.25},
	{"plain-wrk", "CPU per request", cpu, "caddy", "", false, 0.2, 0.25},
	{"stress", "CPU per request", cpu, "caddy", "", false, 0.2, 0.25},
	{"body-16k", "CPU per request", cpu, "caddy", "", false, 0.2, 0.25},
	{"tls", "CPU per request", cpu, "caddy", "", false, 0.2, 0.25},
	{"newconn", "CPU per request", cpu, "caddy", "", false, 0.2, 0.25},
}

// promised writes what was promised beside what was measured.
func promised(b *strings.Builder, runs []run) {
	var rows strings.Builder
	for _, p := range promises {
		for _, lane := range []struct {
			peer  string
			bound float64
		}{{"ando-ring", p.ring}, {"ando-poll", p.poll}} {
			got, ok := p.ratio(runs, lane.peer)
			if !ok {
				continue
			}
			word, kept := "at most", got <= lane.bound
			if p.atLeast {
				word, kept = "at least", got >= lane.bound
			}
			against := p.against
			if against == "" {
				against = "itself in " + p.base
			}
			fmt.Fprintf(&rows, "| %s | %s | %s | %s | %s %.2f | %.3f | %s |\n", p.scenario, lane.peer, p.figure, against, word, lane.bound,
				got, map[bool]string{true: "yes", false: "**no**"}[kept])
		}
	}
	if rows.Len() == 0 {
		return
	}
	b.WriteString("\n## Promised and measured\n\n| scenario | peer | figure | against | promised | measured | kept |\n|---|---|---|---|---|---|---|\n")
	b.WriteString(rows.String())
}

// ratio reports false when something of it was not measured.
func (p promise) ratio(runs []run, peer string) (ratio float64, ok bool) {
	mine, ok := find(summarize(runs, p.scenario), peer)
	if !ok {
		return 0, false
	}
	scenario, other := p.scenario, p.against
	if other == "" {
		scenario, other = p.base, peer
	}
	theirs, ok := find(summarize(runs, scenario), other)
	if !ok || p.value(theirs) == 0 {
		return 0, false
	}
	return p.value(mine) / p.value(theirs), true
}
