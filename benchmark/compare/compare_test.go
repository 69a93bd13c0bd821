// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseWrk(t *testing.T) {
	const text = `Running 2s test @ http://127.0.0.1:18000/svc5/orders/1
  1 threads and 200 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.54ms    7.37ms  1.01s    95.00%
  Latency Distribution
     50%  980.00us
     75%    2.11ms
     90%    5.00ms
     99%    1.20s 
  80011 requests in 2.10s, 12.00MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 10
Requests/sec:  38100.50
Transfer/sec:      5.71MB
`
	got, err := parseWrk(text)
	want := generated{Requests: 80011, RPS: 38100.5, P50: 980, P99: 1.2e6, Errors: 20}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := parseWrk("unable to connect to 127.0.0.1:1 Connection refused\n"); err == nil {
		t.Error("a run that was none is taken for one")
	}
}

func TestParseProcessors(t *testing.T) {
	got := parseProcessors("cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 100 50 4 5 6 0 0\ncpu1 10 0 0 0 0 0 0 0 0 0\nintr 5\n")
	want := []processor{{busy: 21, total: 171}, {busy: 10, total: 10}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestProcessTimes(t *testing.T) {
	pids := tree(os.Getpid())
	if len(pids) == 0 || pids[0] != os.Getpid() {
		t.Fatalf("tree is %v", pids)
	}
	before := cpuTicks(pids)
	for deadline := time.Now().Add(5 * time.Second); cpuTicks(pids) == before; {
		if time.Now().After(deadline) {
			t.Fatal("work takes no time")
		}
	}
	if resident(pids) < 1<<20 {
		t.Errorf("this process has %d bytes", resident(pids))
	}
	if tree(0) != nil {
		t.Error("no process has a tree")
	}
}

// Each peer has a template, and each in Docker a service under the name that is looked for.
func TestConfigs(t *testing.T) {
	dir := t.TempDir()
	if err := writeConfigs("../peers", dir, scenario{}); err != nil {
		t.Fatal(err)
	}
	compose := read("../docker-compose.yml")
	for _, p := range (&bench{dir: dir}).known() {
		text := read(filepath.Join(dir, p.config))
		if !strings.Contains(text, "svc9") && !p.one && p.name != "haproxy" {
			t.Errorf("%s: %s has no routes:\n%.200s", p.name, p.config, text)
		}
		if p.lane != "" && !strings.Contains(text, "lane "+p.lane+"\n") {
			t.Errorf("%s: %s has another lane", p.name, p.config)
		}
		if strings.HasSuffix(p.config, ".json") && !json.Valid([]byte(text)) {
			t.Errorf("%s is not JSON", p.config)
		}
		if p.docker && !strings.Contains(compose, "container_name: bench-"+p.name+"\n") {
			t.Errorf("docker-compose.yml has no container for %s", p.name)
		}
	}
}

func TestScenarios(t *testing.T) {
	all, err := scenarios(nil, 200)
	if err != nil || len(all) < 15 {
		t.Fatalf("%d scenarios, %v", len(all), err)
	}
	names := map[string]bool{}
	for _, s := range all {
		if names[s.name] || s.connections == 0 || s.body == 0 {
			t.Errorf("%+v", s)
		}
		names[s.name] = true
	}
	for _, p := range promises {
		if !names[p.scenario] || p.base != "" && !names[p.base] {
			t.Errorf("%s against %s is promised and not measured", p.scenario, p.base)
		}
	}
	if _, err := scenarios([]string{"plian"}, 200); err == nil {
		t.Error("an unknown scenario is accepted")
	}
}

func TestReport(t *testing.T) {
	todo, err := scenarios([]string{"plain", "ramp"}, 200)
	if err != nil {
		t.Fatal(err)
	}
	var runs []run
	for round := range 3 {
		for _, s := range todo {
			slow := float64(round)
			runs = append(
				runs,
				run{Scenario: s.name, Peer: "nginx", RPS: 40_000 - slow*1000, CPU: 25 + slow, P99: 2000, Requests: 100},
				run{Scenario: s.name, Peer: "ando-ring", RPS: 80_000 - slow*1000, CPU: 13 + slow, P99: 2200, Requests: 100, Errors: 1},
			)
		}
	}
	got := report(options{Duration: 2 * time.Second, Rounds: 3}, [][2]string{{"kernel", "6.1"}}, todo, runs)
	for _, want := range []string{
		"| kernel | 6.1 |\n",
		"| ando-ring | 79000 | 78000 to 80000 | 0 | 2200 | 14.0 | 2.03 | 0.54 |",
		"| 3 of 300 |\n",
		"| plain | ando-ring | CPU per request | nginx | at most 0.55 | 0.538 | yes |\n",
		"| plain | ando-ring | p99 | nginx | at most 1.00 | 1.100 | **no** |\n",
		"```mermaid\nxychart-beta\n  title \"plain: requests per second\"\n  x-axis [\"nginx\", \"ando-ring\"]\n  y-axis \"\" 0\n  bar [39000, 79000]\n```\n",
		"x-axis [\"50\", \"100\", \"200\", \"400\", \"700\", \"1000\"]",
		"  line [79000, 79000, 79000, 79000, 79000, 79000]\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the report does not have %q", want)
		}
	}
	if strings.Contains(got, "key-auth | ando") || strings.Contains(got, "ando-poll") {
		t.Error("the report has what was not measured")
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(c.values); got != c.want {
			t.Errorf("%v: got %v, want %v", c.values, got, c.want)
		}
	}
}
