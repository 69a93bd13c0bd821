// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary the command itself when a test runs it as one: what is tested is a process of its own
// with all that main does.
func TestMain(m *testing.M) {
	if os.Getenv("ANDO_TEST_PROCESS") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// machine is a place to run the command in: an empty home, a working directory and free ports.
type machine struct {
	t   *testing.T
	dir string

	port, tlsPort, admin, caddyAdmin string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if testing.Short() {
		t.Skip("starts processes")
	}
	return &machine{t: t, dir: t.TempDir(), port: freePort(t), tlsPort: freePort(t), admin: freePort(t), caddyAdmin: freePort(t)}
}

// freePort returns a port that nobody listened on a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

func (m *machine) adminURL(path string) string { return "http://localhost:" + m.admin + path }
func (m *machine) gatewayURL(path string) string {
	return "http://localhost:" + m.port + path
}

// write makes a file in the working directory. $PORT, $ADMIN and $CADDY in it are the machine's ports.
func (m *machine) write(name, text string) {
	m.t.Helper()
	text = strings.NewReplacer("$PORT", m.port, "$ADMIN", m.admin, "$CADDY", m.caddyAdmin).Replace(text)
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), "ANDO_TEST_PROCESS=1",
		"HOME="+m.dir, "XDG_DATA_HOME="+filepath.Join(m.dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(m.dir, "config"),
		"CADDY_ADMIN=localhost:"+m.caddyAdmin, "ANDO_PORT="+m.port, "ANDO_TLS_PORT="+m.tlsPort, "ANDO_ADMIN=localhost:"+m.admin)
	return cmd
}

// must runs a command to its end and returns what it printed.
func (m *machine) must(args ...string) string {
	m.t.Helper()
	out, err := m.command(args...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// mustFail runs a command that has to fail and returns what it printed.
func (m *machine) mustFail(args ...string) string {
	m.t.Helper()
	out, err := m.command(args...).CombinedOutput()
	if err == nil {
		m.t.Fatalf("%v succeeded:\n%s", args, out)
	}
	return string(out)
}

// process is a running command.
type process struct {
	cmd *exec.Cmd

	mu     sync.Mutex
	output bytes.Buffer
	heard  chan struct{}
	exited chan struct{}
}

// start runs the command until the test ends and returns when it serves.
func (m *machine) start(args ...string) *process {
	m.t.Helper()
	p := &process{cmd: m.command(args...), heard: make(chan struct{}, 1), exited: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		m.t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	w.Close()
	go p.listen(r)
	m.t.Cleanup(func() {
		p.stop(syscall.SIGKILL)
		if m.t.Failed() {
			m.t.Logf("output of %v:\n%s", args, p.text())
		}
	})
	p.waitFor(m.t, "serving initial configuration")
	return p
}

func (p *process) listen(r io.ReadCloser) {
	defer r.Close()
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		p.mu.Lock()
		p.output.WriteString(line)
		p.mu.Unlock()
		select {
		case p.heard <- struct{}{}:
		default:
		}
		if err != nil {
			_ = p.cmd.Wait()
			close(p.exited)
			return
		}
	}
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// waitFor returns when the process has printed the text.
func (p *process) waitFor(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		if strings.Contains(p.text(), text) {
			return
		}
		select {
		case <-p.heard:
		case <-p.exited:
			t.Fatalf("exited without saying %q:\n%s", text, p.text())
		case <-deadline:
			t.Fatalf("did not say %q:\n%s", text, p.text())
		}
	}
}

// stop ends the process and returns when it is gone.
func (p *process) stop(signal syscall.Signal) {
	_ = p.cmd.Process.Signal(signal)
	<-p.exited
}

// node is an HTTP server that requests are proxied to. It answers with its name, the path and the consumer.
func node(t *testing.T, name string) (address string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", name, r.URL.Path, r.Header.Get("X-Consumer-Username"))
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// reply is what a request got.
type reply struct {
	status int
	body   string
}

func send(t *testing.T, method, url, body string, header ...string) reply {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, string(read)}
}

func expect(t *testing.T, got reply, status int, body string) {
	t.Helper()
	if got.status != status || got.body != body {
		t.Fatalf("got  %d %q\nwant %d %q", got.status, got.body, status, body)
	}
}
