// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"slices"
	"strings"
)

// figures are the medians of one peer's runs of a scenario.
type figures struct {
	peer                       string
	rps, p50, p99, cpu, memory float64
	busy, others, loadIdle     float64
	least, most                float64
	errors, requests           int64
}

// median of no values is 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 0 {
		return (values[middle-1] + values[middle]) / 2
	}
	return values[middle]
}

// summarize returns the figures of a scenario, peers in the order in which they were measured.
func summarize(runs []run, scenario string) (all []figures) {
	byPeer := map[string][]run{}
	var order []string
	for _, r := range runs {
		if r.Scenario != scenario {
			continue
		}
		if byPeer[r.Peer] == nil {
			order = append(order, r.Peer)
		}
		byPeer[r.Peer] = append(byPeer[r.Peer], r)
	}
	for _, name := range order {
		rounds := byPeer[name]
		of := func(value func(run) float64) float64 {
			values := make([]float64, len(rounds))
			for i, r := range rounds {
				values[i] = value(r)
			}
			return median(values)
		}
		f := figures{
			peer: name,
			rps:  of(func(r run) float64 { return r.RPS }), cpu: of(func(r run) float64 { return r.CPU }),
			p50: of(func(r run) float64 { return r.P50 }), p99: of(func(r run) float64 { return r.P99 }),
			memory: of(func(r run) float64 { return float64(r.Memory) }), busy: of(func(r run) float64 { return r.Busy }),
			others: of(func(r run) float64 { return r.Others }), loadIdle: of(func(r run) float64 { return r.LoadIdle }),
			least: rounds[0].RPS,
		}
		for _, r := range rounds {
			f.errors += r.Errors
			f.requests += r.Requests
			f.least, f.most = min(f.least, r.RPS), max(f.most, r.RPS)
		}
		all = append(all, f)
	}
	return all
}

func find(all []figures, peer string) (figures, bool) {
	i := slices.IndexFunc(all, func(f figures) bool { return f.peer == peer })
	if i < 0 {
		return figures{}, false
	}
	return all[i], true
}

// report returns the text of report.md.
func report(o options, machine [][2]string, scenarios []scenario, runs []run) string {
	var b strings.Builder
	b.WriteString("# Proxies side by side\n\n| | |\n|---|---|\n")
	for _, fact := range machine {
		fmt.Fprintf(&b, "| %s | %s |\n", fact[0], strings.ReplaceAll(fact[1], "|", "/"))
	}
	fmt.Fprintf(&b, "| settings | %v a run, median of %d rounds, peers in turn within a round; %d hosts with %d routes each, %d keys |\n",
		o.Duration, o.Rounds, hostCount, prefixCount, keyCount)
	fmt.Fprintf(&b, "| placement | the peer on processor %s, load and node on processor %s, loopback; scheduler %s |\n",
		peerProcessor, loadProcessor, map[bool]string{true: "SCHED_RR", false: "the system's"}[o.Realtime])
	b.WriteString(`
CPU is what the peer's processes used for a request (utime and stime). "others" is the share of the peer's processor that
went elsewhere, interrupts included; "load idle" the share of the load's processor that was idle. Near 0 the load limits
the requests per second, and CPU is what to compare. Generator load (benchmark/load) is client and node in one process and
checks status and length of every answer; wrk has a node beside it and checks the status.
`)
	promised(&b, runs)
	for _, s := range scenarios {
		all := summarize(runs, s.name)
		if len(all) == 0 {
			continue
		}
		section(&b, s, all)
	}
	ramp(&b, scenarios, runs)
	return b.String()
}

func section(b *strings.Builder, s scenario, all []figures) {
	fmt.Fprintf(b, "\n## %s\n\nGenerator %s, %d connections, answers of %d bytes%s.\n\n", s.name, s.generator, s.connections, s.body, details(s))
	b.WriteString("| peer | req/s | lowest to highest | p50 us | p99 us | CPU us/req | req/s to nginx | CPU to nginx | memory MB | its share | others | load idle | errors |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	nginx, compared := find(all, "nginx")
	for _, f := range all {
		rate, cpu := "-", "-"
		if compared {
			rate, cpu = ratio(f.rps, nginx.rps), ratio(f.cpu, nginx.cpu)
		}
		fmt.Fprintf(b, "| %s | %.0f | %.0f to %.0f | %.0f | %.0f | %.1f | %s | %s | %.1f | %.2f | %.2f | %.2f | %d of %d |\n",
			f.peer, f.rps, f.least, f.most, f.p50, f.p99, f.cpu, rate, cpu, f.memory/1e6, f.busy, f.others, f.loadIdle,
			f.errors, f.requests)
	}
	if s.direct || strings.HasPrefix(s.name, "ramp-") {
		return
	}
	bars(b, s.name+": requests per second", all, func(f figures) float64 { return f.rps })
	bars(b, s.name+": p99 in microseconds", all, func(f figures) float64 { return f.p99 })
}

func details(s scenario) (text string) {
	for _, detail := range []struct {
		on   bool
		text string
	}{
		{s.tls, ", TLS"}, {s.keyAuth, ", a consumer's key"}, {s.fresh, ", a connection for each request"}, {s.direct, ", no proxy"},
	} {
		if detail.on {
			text += detail.text
		}
	}
	return text
}

func ratio(x, y float64) string {
	if y == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", x/y)
}

func bars(b *strings.Builder, title string, all []figures, value func(figures) float64) {
	var names, values []string
	for _, f := range all {
		names = append(names, `"`+f.peer+`"`)
		values = append(values, fmt.Sprintf("%.0f", value(f)))
	}
	fmt.Fprintf(b, "\n```mermaid\nxychart-beta\n  title %q\n  x-axis [%s]\n  y-axis \"\" 0\n  bar [%s]\n```\n",
		title, strings.Join(names, ", "), strings.Join(values, ", "))
}

// ramp draws what happens as connections are added.
func ramp(b *strings.Builder, scenarios []scenario, runs []run) {
	var counts []string
	rates, tails := map[string][]string{}, map[string][]string{}
	var order []string
	for _, s := range scenarios {
		all := summarize(runs, s.name)
		if !strings.HasPrefix(s.name, "ramp-") || len(all) == 0 {
			continue
		}
		counts = append(counts, fmt.Sprintf(`"%d"`, s.connections))
		for _, f := range all {
			if rates[f.peer] == nil {
				order = append(order, f.peer)
			}
			rates[f.peer] = append(rates[f.peer], fmt.Sprintf("%.0f", f.rps))
			tails[f.peer] = append(tails[f.peer], fmt.Sprintf("%.0f", f.p99))
		}
	}
	if len(counts) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## ramp\n\nLines in this order: %s.\n", strings.Join(order, ", "))
	for _, chart := range []struct {
		title  string
		values map[string][]string
	}{{"requests per second by connections", rates}, {"p99 in microseconds by connections", tails}} {
		fmt.Fprintf(b, "\n```mermaid\nxychart-beta\n  title %q\n  x-axis [%s]\n  y-axis \"\" 0\n", chart.title, strings.Join(counts, ", "))
		for _, name := range order {
			fmt.Fprintf(b, "  line [%s]\n", strings.Join(chart.values[name], ", "))
		}
		b.WriteString("```\n")
	}
}
