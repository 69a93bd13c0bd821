// SPDX-License-Identifier: Apache-2.0

// Package redistest runs real Redis servers for tests. A test is skipped where redis-server is not installed.
package redistest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience bounds how long a server may take to come up.
const patience = 20 * time.Second

// Server is one running redis-server.
type Server struct {
	// Addr is host:port on the loopback interface.
	Addr string
	// Client is for the test's own questions.
	Client *redis.Client
	stop   func()
}

// Host and Port are the parts of Addr.
func (s *Server) Host() string {
	host, _, _ := net.SplitHostPort(s.Addr)
	return host
}

// Port is the port of Addr.
func (s *Server) Port() int {
	_, port, _ := net.SplitHostPort(s.Addr)
	n, _ := strconv.Atoi(port)
	return n
}

// Stop ends the server before the test does.
func (s *Server) Stop() { s.stop() }

// Start starts a server with these options, each as it stands in redis.conf, and stops it when the test ends.
func Start(t testing.TB, options ...string) *Server {
	t.Helper()
	return start(t, freePort(t), options...)
}

func start(t testing.TB, port int, options ...string) *Server {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed (Debian: redis-server)")
	}
	dir := t.TempDir()
	config := append([]string{
		"bind 127.0.0.1", "port " + strconv.Itoa(port), "dir " + dir, `save ""`, "appendonly no", "daemonize no",
	}, options...)
	file := filepath.Join(dir, "redis.conf")
	if err := os.WriteFile(file, []byte(strings.Join(config, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{file}
	if strings.HasPrefix(options0(options), "sentinel ") {
		args = append(args, "--sentinel")
	}
	cmd := exec.Command(binary, args...) //nolint:gosec // found by its name
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	s := &Server{Addr: "127.0.0.1:" + strconv.Itoa(port)}
	s.Client = redis.NewClient(&redis.Options{Addr: s.Addr, Protocol: 2, DisableIdentity: true})
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = s.Client.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(s.stop)
	awaitReady(t, out)
	return s
}

func options0(options []string) string {
	if len(options) == 0 {
		return ""
	}
	return options[0]
}

// awaitReady reads what the server says until it is ready, and then goes on reading so that it can go on writing.
func awaitReady(t testing.TB, out interface{ Read([]byte) (int, error) }) {
	t.Helper()
	ready := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		var said []string
		told := false
		for lines.Scan() {
			text := lines.Text()
			said = append(said, text)
			isReady := strings.Contains(text, "Ready to accept connections") || strings.Contains(text, "Sentinel ID is")
			if isReady && !told {
				told, said = true, nil
				ready <- ""
			}
		}
		if !told {
			ready <- "redis-server ended: " + strings.Join(said, "\n")
		}
	}()
	select {
	case failure := <-ready:
		if failure != "" {
			t.Fatal(failure)
		}
	case <-time.After(patience):
		t.Fatal("redis-server does not come up")
	}
}

// Cluster starts three masters that share the slots among them.
func Cluster(t testing.TB) []*Server {
	t.Helper()
	const masters, slots = 3, 16384
	servers := make([]*Server, masters)
	ctx := t.Context()
	for i := range servers {
		servers[i] = start(t, freePort(t), "cluster-enabled yes", "cluster-port "+strconv.Itoa(freePort(t)), "cluster-node-timeout 2000")
		from, to := i*slots/masters, (i+1)*slots/masters-1
		must(t, servers[i].Client.ClusterAddSlotsRange(ctx, from, to).Err())
	}
	for i, s := range servers[1:] {
		bus, err := servers[i+1].Client.ConfigGet(ctx, "cluster-port").Result()
		must(t, err)
		must(t, servers[0].Client.Do(ctx, "CLUSTER", "MEET", s.Host(), s.Port(), bus["cluster-port"]).Err())
	}
	for _, s := range servers {
		await(t, "the cluster", func() bool {
			info, _ := s.Client.ClusterInfo(ctx).Result()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	return servers
}

// Sentinel starts a master and a sentinel that knows it by that name.
func Sentinel(t testing.TB, name string, options ...string) (master, sentinel *Server) {
	t.Helper()
	master = Start(t, options...)
	sentinel = start(t, freePort(t), fmt.Sprintf("sentinel monitor %s %s %d 1", name, master.Host(), master.Port()))
	return master, sentinel
}

// await asks until it is so.
func await(t testing.TB, what string, isSo func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !isSo() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s does not come up", what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// freePort returns a port that nobody listens on just now.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
