// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

// generated is what a generator says of a run.
type generated struct {
	Requests int64   `json:"requests"`
	RPS      float64 `json:"rps"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	Errors   int64   `json:"errors"`
}

// The processors that the peer and its load have for themselves.
const (
	peerProcessor = "0"
	loadProcessor = "1"
)

// command is a program pinned to a processor. It ends with this one, however that ends.
func (b *bench) command(processor, name string, args ...string) *exec.Cmd {
	line := append([]string{"taskset", "-c", processor, name}, args...)
	if b.Realtime {
		line = append([]string{"chrt", "-r", "10"}, line...)
	}
	cmd := exec.CommandContext(b.ctx, line[0], line[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 3 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Dir = b.dir
	return cmd
}

// load runs the project's generator, which is the node as well.
func (b *bench) load(p *peer, s scenario, duration time.Duration) (generated, error) {
	args := []string{
		"-target", p.address(s), "-node", nodeAddress, "-connections", strconv.Itoa(s.connections),
		"-duration", duration.String(), "-body", strconv.Itoa(s.body),
		// Numbers without a common divisor reach nearly every pair of host and prefix.
		"-host", fmt.Sprintf("host{%d}.example.com", p.hosts(s)), "-path", fmt.Sprintf("/svc{%d}/orders/1", prefixCount-1),
	}
	if s.keyAuth {
		args = append(args, "-path", "/auth/orders/1", "-header", fmt.Sprintf("apikey: key-{%d}", keyCount))
	}
	if s.fresh {
		args = append(args, "-fresh")
	}
	var stderr bytes.Buffer
	cmd := b.command(loadProcessor, b.bin+"/load", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return generated{}, fmt.Errorf("load: %w: %s", err, stderr.Bytes())
	}
	var g generated
	return g, json.Unmarshal(out, &g)
}

// runWrk runs wrk; the node is a process beside it.
func (b *bench) runWrk(p *peer, s scenario, duration time.Duration) (generated, error) {
	scheme := "http"
	if s.tls {
		scheme = "https"
	}
	args := []string{
		"-t1", fmt.Sprint("-c", s.connections), fmt.Sprintf("-d%ds", int(duration.Seconds())), "--latency", "--timeout", "2s",
		"-H", fmt.Sprintf("Host: host%d.example.com", p.hosts(s)/2),
	}
	if s.fresh {
		args = append(args, "-H", "Connection: close")
	}
	path := "/svc5/orders/1"
	out, err := b.command(loadProcessor, b.wrk, append(args, scheme+"://"+p.address(s)+path)...).CombinedOutput()
	if err != nil {
		return generated{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	return parseWrk(string(out))
}

var (
	wrkRequests = regexp.MustCompile(`(\d+) requests in`)
	wrkRate     = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkQuantile = regexp.MustCompile(`(50|99)%\s+([\d.]+)(us|ms|s|m)\s`)
	wrkSocket   = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkStatus   = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

func parseWrk(text string) (g generated, err error) {
	requests, rate := wrkRequests.FindStringSubmatch(text), wrkRate.FindStringSubmatch(text)
	if requests == nil || rate == nil {
		return g, fmt.Errorf("wrk: cannot read %q", text)
	}
	g.Requests, _ = strconv.ParseInt(requests[1], 10, 64)
	g.RPS, _ = strconv.ParseFloat(rate[1], 64)
	unit := map[string]float64{"us": 1, "ms": 1e3, "s": 1e6, "m": 60e6}
	for _, match := range wrkQuantile.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.ParseFloat(match[2], 64)
		if match[1] == "50" {
			g.P50 = n * unit[match[3]]
		} else {
			g.P99 = n * unit[match[3]]
		}
	}
	counts := wrkStatus.FindStringSubmatch(text)
	if counts != nil {
		counts = counts[1:]
	}
	if match := wrkSocket.FindStringSubmatch(text); match != nil {
		counts = append(counts, match[1:]...)
	}
	for _, text := range counts {
		n, _ := strconv.ParseInt(text, 10, 64)
		g.Errors += n
	}
	return g, nil
}

// startNode starts a node for a generator that is none.
func (b *bench) startNode(s scenario) (stop func(), err error) {
	if b.Docker {
		if err := compose("up", "-d", "echo"); err != nil {
			return nil, err
		}
		return func() { _ = compose("stop", "echo") }, awaitPort(b.ctx, nodeAddress, os.Getpid())
	}
	cmd := b.command(loadProcessor, b.bin+"/load", "-connections", "0", "-duration", "0", "-node", nodeAddress,
		"-body", strconv.Itoa(s.body))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() { end(cmd) }, awaitPort(b.ctx, nodeAddress, cmd.Process.Pid)
}

// startSlow connects clients that send their heads a byte a second. It returns when all are connected.
func (b *bench) startSlow(p *peer, s scenario) (stop func(), err error) {
	cmd := b.command(loadProcessor, b.bin+"/load", "-connections", strconv.Itoa(s.slow), "-slow", "-target", p.address(s), "-duration", "0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		end(cmd)
		return nil, fmt.Errorf("load -slow: %q, %w", line, err)
	}
	return func() { end(cmd) }, nil
}

// end stops a process and returns when it is gone.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
}

// compose runs docker compose on the benchmark's file.
func compose(args ...string) error {
	out, err := exec.Command("docker", append([]string{"compose", "-f", "benchmark/docker-compose.yml"}, args...)...).CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("docker compose %v: %s", args, out), err)
	}
	return nil
}
