// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine says where and with what the figures were measured: pairs of a name and its value.
func (b *bench) machine() [][2]string {
	facts := [][2]string{{"date", time.Now().UTC().Format("2006-01-02 15:04 MST")}}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		facts = append(facts, [2]string{"kernel", unix.ByteSliceToString(name.Release[:]) + " " + unix.ByteSliceToString(name.Machine[:])})
	}
	facts = append(facts,
		[2]string{"processors", fmt.Sprintf("%d, %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name"))},
		[2]string{"memory", field("/proc/meminfo", "MemTotal")},
		[2]string{"load average when the report was written", strings.Join(strings.Fields(read("/proc/loadavg"))[:3], " ")},
		[2]string{"Go", runtime.Version()},
	)
	for _, p := range b.peers {
		if b.Docker {
			facts = append(facts, [2]string{p.name, say("docker", "inspect", "--format", "{{.Config.Image}}", "bench-"+p.name)})
			continue
		}
		switch p.name {
		case "nginx":
			facts = append(facts, [2]string{p.name, say(p.program, "-v")})
		case "haproxy":
			facts = append(facts, [2]string{p.name, say(p.program, "-v")})
		case "caddy":
			facts = append(facts, [2]string{p.name, "built from go.mod: " + say("go", "list", "-m", "github.com/caddyserver/caddy/v2")})
		default:
			facts = append(facts, [2]string{p.name, "commit " + say("git", "describe", "--always", "--dirty")})
		}
	}
	if b.wrk != "" {
		facts = append(facts, [2]string{"wrk", say(b.wrk, "-v")})
	}
	return facts
}

func read(file string) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "? ? ?"
	}
	return string(raw)
}

// field returns the first value of a name in a file of lines "name: value".
func field(file, name string) string {
	for line := range strings.Lines(read(file)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// say returns the first line that a program prints; many tell their version on the way of errors.
func say(program string, args ...string) string {
	out, _ := exec.Command(program, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}
