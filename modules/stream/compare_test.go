// SPDX-License-Identifier: Apache-2.0

//go:build linux

package stream

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxyFor is the environment variable that makes this test binary a proxy: it has the address of its node.
const proxyFor = "ANDO_TEST_STREAM_NODE"

func TestMain(m *testing.M) {
	if node := os.Getenv(proxyFor); node != "" {
		beProxy(node)
		return
	}
	os.Exit(m.Run())
}

// beProxy proxies to a node until standard input ends.
func beProxy(node string) {
	testing.Init()
	testing.Main(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "proxy", F: func(t *testing.T) {
		r := newRig(t, nil, to("", node))
		fmt.Println("listening on", r.addr)
		_, _ = io.Copy(io.Discard, os.Stdin)
	}}}, nil, nil)
}

// process is a proxy in a process of its own.
type process struct {
	addr string
	pid  int
}

func startProxy(t testing.TB, node string) process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), proxyFor+"="+node)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		t.Fatalf("got %q, %v", line, err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return process{addr, cmd.Process.Pid}
}

// startHAProxy skips without Debian's haproxy.
func startHAProxy(t testing.TB, node string) process {
	t.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("haproxy is not installed")
	}
	addr := nobody(t)
	config := filepath.Join(t.TempDir(), "haproxy.cfg")
	text := fmt.Sprintf("global\n\tmaxconn 4000\n\tmaxpipes 1000\ndefaults\n\tmode tcp\n\toption splice-auto\n\ttimeout connect 5s\n\ttimeout client 600s\n\ttimeout server 600s\n"+
		"listen l\n\tbind %s\n\tserver n %s\n", addr, node)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-db", "-f", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually(t, "haproxy", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return process{addr, cmd.Process.Pid}
}

// load is one kind of traffic: it returns how much there was of it, of whatever unit.
type load struct {
	unit string
	run  func(t testing.TB, addr string) float64
}

var loads = map[string]load{
	// Four clients download.
	"bulk": {"MB/s", func(t testing.TB, addr string) float64 {
		const each = 1 << 30
		both(t, 4, addr, func(conn net.Conn) error {
			if _, err := fmt.Fprintf(conn, "d%d\n", each); err != nil {
				return err
			}
			_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.LimitReader(conn, each)}, make([]byte, 256<<10))
			return err
		})
		return 4 * each / 1e6
	}},
	// 32 clients ask and are answered in turn.
	"turns": {"turns/s", func(t testing.TB, addr string) float64 {
		const each = 2000
		both(t, 32, addr, func(conn net.Conn) error {
			b := []byte("e" + strings.Repeat("x", 62) + "\n")
			for range each {
				if _, err := conn.Write(b); err != nil {
					return err
				}
				if _, err := io.ReadFull(conn, b); err != nil {
					return err
				}
			}
			return nil
		})
		return 32 * each
	}},
	// Eight clients connect for one turn each.
	"connections": {"connections/s", func(t testing.TB, addr string) float64 {
		const each = 1000
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range each {
					both(t, 1, addr, func(conn net.Conn) error {
						b := []byte("exxx\n")
						_, err := conn.Write(b)
						if err == nil {
							_, err = io.ReadFull(conn, b)
						}
						return err
					})
				}
			})
		}
		all.Wait()
		return 8 * each
	}},
}

// both runs as many clients at once.
func both(t testing.TB, clients int, addr string, do func(conn net.Conn) error) {
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				err = do(conn)
				_ = conn.Close()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// loadNode answers "e..." with itself and "dN" with N bytes.
func loadNode(t testing.TB) *server {
	block := make([]byte, 1<<20)
	return serve(t, nil, func(conn net.Conn) {
		lines := bufio.NewReaderSize(conn, 4096)
		for {
			line, err := lines.ReadSlice('\n')
			if err != nil {
				return
			}
			if line[0] == 'e' {
				if _, err = conn.Write(line); err != nil {
					return
				}
				continue
			}
			left, _ := strconv.Atoi(strings.TrimSpace(string(line[1:])))
			for left > 0 && err == nil {
				n := min(left, len(block))
				_, err = conn.Write(block[:n])
				left -= n
			}
		}
	})
}

// BenchmarkHAProxy compares with Debian's HAProxy in mode tcp, each in a process of its own, in turns. The figures are medians
// of the rounds: ours, and how it compares.
func BenchmarkHAProxy(b *testing.B) {
	node := loadNode(b)
	ours, theirs := startProxy(b, node.addr), startHAProxy(b, node.addr)
	for _, name := range []string{"bulk", "turns", "connections"} {
		b.Run(name, func(b *testing.B) {
			l := loads[name]
			figure := func(addr string) float64 {
				start := time.Now()
				return l.run(b, addr) / time.Since(start).Seconds()
			}
			figure(ours.addr)
			figure(theirs.addr)
			var mine, others []float64
			for b.Loop() {
				mine, others = append(mine, figure(ours.addr)), append(others, figure(theirs.addr))
			}
			slices.Sort(mine)
			slices.Sort(others)
			b.ReportMetric(mine[len(mine)/2], l.unit)
			b.ReportMetric(mine[len(mine)/2]/others[len(others)/2], "of-haproxy")
		})
	}
}

// residentKB is how much memory a process has, in KiB.
func residentKB(t testing.TB, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb
}

// idleConnections opens connections that are used once and then wait, and returns what memory the proxy has and had, in KiB.
func idleConnections(t testing.TB, count int) (before, after int) {
	t.Helper()
	// Each has two ends here, and two in the proxy.
	if need := 2*count + 200; openFiles(t) < need {
		t.Skipf("%d files may be open, and %d are needed", openFiles(t), need)
	}
	p := startProxy(t, loadNode(t).addr)
	before = residentKB(t, p.pid)
	b := []byte("exxx\n")
	for range count {
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, b); err != nil {
			t.Fatal(err)
		}
	}
	return before, residentKB(t, p.pid)
}

// TestIdleMemory holds idle connections to what ten thousand of them may cost: 100 MB.
func TestIdleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("opens many connections")
	}
	const count = 2000
	before, after := idleConnections(t, count)
	if each := (after - before) << 10 / count; each > 10_000 {
		t.Errorf("%d bytes for each idle connection, want 10000 at most", each)
	}
}

func BenchmarkIdleMemory(b *testing.B) {
	const count = 9900
	for b.Loop() {
		before, after := idleConnections(b, count)
		b.ReportMetric(float64(after)/1000, "MB")
		b.ReportMetric(float64(after-before)*1024/count, "B/conn")
	}
}
