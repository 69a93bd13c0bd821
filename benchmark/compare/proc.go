// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// tick is the unit of /proc's CPU times in microseconds: Linux shows them in hundredths of a second everywhere.
const tick = 10_000

// stat returns the fields of /proc/PID/stat from the third on, which is the process's state.
func stat(pid int) []string {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil
	}
	// The second field is a name in parentheses and may have anything in it.
	_, after, _ := strings.Cut(string(raw[strings.LastIndexByte(string(raw), ')'):]), " ")
	return strings.Fields(after)
}

// tree returns a process and everything below it; nothing for 0.
func tree(root int) []int {
	if root == 0 {
		return nil
	}
	children := map[int][]int{}
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if fields := stat(pid); len(fields) > 1 {
			parent, _ := strconv.Atoi(fields[1])
			children[parent] = append(children[parent], pid)
		}
	}
	found := []int{root}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found
}

// cpuTicks is what processes have used so far, in user mode and in the kernel, with all their threads.
func cpuTicks(pids []int) (ticks int64) {
	for _, pid := range pids {
		fields := stat(pid)
		if len(fields) < 13 {
			continue
		}
		user, _ := strconv.ParseInt(fields[11], 10, 64)
		system, _ := strconv.ParseInt(fields[12], 10, 64)
		ticks += user + system
	}
	return ticks
}

// resident is the memory that processes have, in bytes; what they share counts for each.
func resident(pids []int) (bytes int64) {
	for _, pid := range pids {
		if fields := stat(pid); len(fields) > 21 {
			pages, _ := strconv.ParseInt(fields[21], 10, 64)
			bytes += pages * int64(os.Getpagesize())
		}
	}
	return bytes
}

// processor is the time that a processor has spent, in ticks.
type processor struct{ busy, total int64 }

func processors() []processor {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil
	}
	return parseProcessors(string(raw))
}

func parseProcessors(text string) (all []processor) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 9 || len(fields[0]) < 4 || !strings.HasPrefix(fields[0], "cpu") {
			continue
		}
		var p processor
		// user, nice, system, idle, iowait, irq, softirq, steal; guests are within user.
		for i, field := range fields[1:9] {
			n, _ := strconv.ParseInt(field, 10, 64)
			p.total += n
			if i != 3 && i != 4 {
				p.busy += n
			}
		}
		all = append(all, p)
	}
	return all
}
