// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command compare measures proxies side by side: each in turn, again and again, alone on processor 0, with the load and the
// upstream node on processor 1. bench.sh builds what it needs and runs it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the settings of a comparison. They are part of the report.
type options struct {
	Duration    time.Duration
	Connections int
	Rounds      int
	Docker      bool
	Realtime    bool
	Scenarios   []string
	Only        []string

	// bin has the programs load, ando and caddy; templates the peers' configs; out is where results go.
	bin, templates, out string
}

// run is one measurement: one generator against one peer for one round of a scenario.
type run struct {
	Scenario string  `json:"scenario"`
	Peer     string  `json:"peer"`
	Round    int     `json:"round"`
	RPS      float64 `json:"rps"`
	Requests int64   `json:"requests"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	Errors   int64   `json:"errors"`
	// CPU is what the peer's processes used for a request, in microseconds.
	CPU float64 `json:"cpu_us"`
	// Memory is the peer's resident memory after the run, in bytes.
	Memory int64 `json:"memory"`
	// Busy is the share of processor 0 that the peer used, Others what everything else did, LoadIdle the share of
	// processor 1 that was idle: where that is near 0, the load is what limits the requests per second.
	Busy     float64 `json:"busy"`
	Others   float64 `json:"others"`
	LoadIdle float64 `json:"load_idle"`
}

func main() {
	if err := compare(); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func compare() error {
	var o options
	var only string
	flag.DurationVar(&o.Duration, "duration", 2*time.Second, "of each run, in whole seconds")
	flag.IntVar(&o.Connections, "connections", 200, "of the scenarios plain and key-auth")
	flag.IntVar(&o.Rounds, "rounds", 3, "how often each peer is measured in each scenario")
	flag.BoolVar(&o.Docker, "docker", false, "the peers run in docker compose")
	flag.BoolVar(&o.Realtime, "realtime", false, "run peers and load with SCHED_RR, ahead of what else the machine does")
	flag.StringVar(&only, "peers", "", "names of the peers to measure; all that are there without it")
	flag.StringVar(&o.bin, "bin", "", "directory of the programs load, ando and caddy")
	flag.StringVar(&o.templates, "templates", "benchmark/peers", "directory of the peers' configs")
	flag.StringVar(&o.out, "out", "", "directory for the results")
	configs := flag.Bool("configs", false, "write the peers' configs into -out and do no more")
	flag.Parse()
	o.Only = strings.Fields(only)
	o.Scenarios = flag.Args()
	if *configs {
		return writeConfigs(o.templates, o.out, scenario{})
	}
	todo, err := scenarios(o.Scenarios, o.Connections)
	if err != nil {
		return err
	}
	if o.Duration < time.Second || o.Rounds < 1 {
		return errors.New("a run takes at least a second, and there is at least one round")
	}

	// Children end with the thread that started them.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	b := &bench{options: o, ctx: ctx}
	if err := b.prepare(); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	runs, err := b.measure(todo)
	if len(runs) > 0 {
		err = errors.Join(err, b.save(runs, todo))
	}
	return err
}

// bench is a comparison under way.
type bench struct {
	options
	ctx   context.Context
	dir   string
	peers []*peer
	wrk   string
}

func (b *bench) prepare() (err error) {
	if b.bin, err = filepath.Abs(b.bin); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "bench-"); err != nil {
		return err
	}
	// nginx's worker is somebody else.
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return err
	}
	b.wrk, _ = exec.LookPath("wrk")
	b.peers = b.found()
	if len(b.peers) == 0 {
		return errors.New("no peer was found")
	}
	return nil
}

// measure runs scenario after scenario, and in each round after round of all peers.
func (b *bench) measure(todo []scenario) (runs []run, err error) {
	for _, s := range todo {
		if s.generator == "wrk" && b.wrk == "" {
			fmt.Fprintln(os.Stderr, s.name, "is left out: wrk is not installed")
			continue
		}
		if b.Docker && (s.own() || s.slow > 0 || s.both) {
			fmt.Fprintln(os.Stderr, s.name, "is left out: it needs peers that run here")
			continue
		}
		more, err := b.scenario(s)
		runs = append(runs, more...)
		if err != nil {
			return runs, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return runs, nil
}

// scenario starts the peers anew, so that what one scenario left in their memory is not another's.
func (b *bench) scenario(s scenario) (runs []run, err error) {
	taking := []*peer{direct}
	if !s.direct {
		taking = slices.DeleteFunc(slices.Clone(b.peers), func(p *peer) bool { return !p.can(s) })
	}
	if err := writeConfigs(b.templates, b.dir, s); err != nil {
		return nil, err
	}
	if s.generator == "wrk" {
		stop, err := b.startNode(s)
		if err != nil {
			return nil, err
		}
		defer stop()
	}
	for _, p := range taking {
		stop, err := b.start(p, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		defer stop()
	}
	for _, p := range taking {
		if err := b.await(p); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		warm := s
		warm.generator = "load"
		if s.generator == "load" && !s.direct {
			if _, err := b.load(p, warm, 300*time.Millisecond); err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	for round := range b.Rounds {
		for _, p := range taking {
			r, err := b.once(p, s)
			if err != nil {
				return runs, fmt.Errorf("%s: %w", p.name, err)
			}
			r.Scenario, r.Peer, r.Round = s.name, p.name, round+1
			runs = append(runs, r)
			fmt.Printf("%-14s %d %-12s %9.0f req/s  p50 %7.0f us  p99 %8.0f us  %7.2f us CPU  %6.1f MB  %d errors\n",
				s.name, round+1, p.name, r.RPS, r.P50, r.P99, r.CPU, float64(r.Memory)/1e6, r.Errors)
		}
	}
	return runs, nil
}

// once measures one peer once.
func (b *bench) once(p *peer, s scenario) (run, error) {
	if s.slow > 0 {
		stop, err := b.startSlow(p, s)
		if err != nil {
			return run{}, err
		}
		defer stop()
	}
	pids := tree(p.pid)
	cpu, before := cpuTicks(pids), processors()
	generate := b.load
	if s.generator == "wrk" {
		generate = b.runWrk
	}
	got, err := generate(p, s, b.Duration)
	if err != nil {
		return run{}, err
	}
	used := cpuTicks(pids) - cpu
	after := processors()
	r := run{
		RPS: got.RPS, Requests: got.Requests, P50: got.P50, P99: got.P99, Errors: got.Errors,
		CPU: float64(used) * tick / max(float64(got.Requests), 1), Memory: resident(pids),
	}
	if len(after) > 1 {
		whole := float64(after[0].total - before[0].total)
		r.Busy = float64(used) / whole
		r.Others = max(float64(after[0].busy-before[0].busy)/whole-r.Busy, 0)
		r.LoadIdle = 1 - float64(after[1].busy-before[1].busy)/float64(after[1].total-before[1].total)
	}
	return r, b.ctx.Err()
}

// save writes every run, and the report of them.
func (b *bench) save(runs []run, todo []scenario) error {
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	var lines strings.Builder
	for _, r := range runs {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%s\n", line)
	}
	if err := os.WriteFile(filepath.Join(b.out, "runs.jsonl"), []byte(lines.String()), 0o644); err != nil {
		return err
	}
	name := filepath.Join(b.out, "report.md")
	text := report(b.options, b.machine(), todo, runs)
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		return err
	}
	fmt.Println("\nreport:", name)
	return nil
}
