// SPDX-License-Identifier: Apache-2.0

//go:build unix

package ando_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// block is one fenced block of README.
type block struct{ language, text string }

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// reader does what README says, block by block, in its order.
type reader struct {
	t   *testing.T
	dir string
	// ports stand for those that README names, which may be taken on this machine. Nothing else is changed in a block.
	ports *strings.Replacer
	env   []string
}

// blocks says for the beginning of each block what is done with it. A block that is not here is a failure, and so is an
// entry without a block.
var blocks = []struct {
	begins string
	check  func(r *reader, text string)
}{
	{"go run ./cmd/ando run\ngo test ./...\n", (*reader).start},
	{"curl -X PUT http://localhost:9180/apisix/admin/routes/1", (*reader).script},
	{"curl -i -H 'apikey: jacks-key'", (*reader).requests},
	{"{\n\tdefault_bind ando/\n", (*reader).caddyfile},
	{"ANDO_ADMIN_KEY=secret go run ./cmd/ando validate", (*reader).script},
	{"{\n  \"apps\": {", (*reader).json},
	{"{\n\ton_demand_tls {", (*reader).validate},
	{"{\n\tando {\n\t\tadmin localhost:", (*reader).caddyfile},
	{"go run ./cmd/ando reload --config ", (*reader).script},
	{"curl -i http://localhost:", (*reader).requests},
	// xcaddy itself cannot be had everywhere; TestXcaddyBuild builds what it generates.
	{"xcaddy build --with " + modulePath + "\n", func(*reader, string) {}},
	// Docker may not be there; TestDockerfile looks at what it would read.
	{"docker build -t ando .\ndocker run -p 9080:9080 -p 9180:9180 -e ANDO_ADMIN_KEY=secret -v ando:/data ando\n", func(*reader, string) {}},
}

func TestReadme(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	r := newReader(t)
	found := fence.FindAllStringSubmatch(read(t, "README.md"), -1)
	if len(found) != len(blocks) {
		t.Fatalf("README has %d blocks, %d are known", len(found), len(blocks))
	}
	for i, match := range found {
		b := block{match[1], match[2]}
		if !strings.HasPrefix(b.text, blocks[i].begins) {
			t.Fatalf("block %d is\n%s\nand should begin with\n%s", i+1, b.text, blocks[i].begins)
		}
		blocks[i].check(r, r.ports.Replace(b.text))
		if t.Failed() {
			t.FailNow()
		}
	}
}

func newReader(t *testing.T) *reader {
	t.Helper()
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "your server") }))
	t.Cleanup(node.Close)
	dir, gatewayPort, adminPort := t.TempDir(), freePort(t), freePort(t)
	stream := freePort(t)
	return &reader{
		t: t, dir: dir,
		ports: strings.NewReplacer(
			"localhost:9080", "localhost:"+gatewayPort, "localhost:9180", "localhost:"+adminPort,
			"tcp :9100", "tcp :"+stream, `"server_port": 9100`, `"server_port": `+stream, "localhost:9100", "localhost:"+stream,
			"tcp :9101", "tcp :"+freePort(t), "udp :9200", "udp :"+freePort(t),
			"127.0.0.1:8080", node.Listener.Addr().String(), "--config Caddyfile", "--config "+filepath.Join(dir, "Caddyfile"),
		),
		env: []string{
			"XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "CADDY_ADMIN=localhost:" + freePort(t),
			"ANDO_PORT=" + gatewayPort, "ANDO_TLS_PORT=" + freePort(t), "ANDO_ADMIN=localhost:" + adminPort,
		},
	}
}

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

func (r *reader) bash(script string) *exec.Cmd {
	cmd := command(".", "bash", "-euo", "pipefail", "-c", script)
	cmd.Env = append(cmd.Env, r.env...)
	return cmd
}

// start runs the first of the two commands. The second is the one that this test is part of: it is the one that
// continuous integration runs first.
func (r *reader) start(text string) {
	r.t.Helper()
	lines := strings.Split(text, "\n")
	if ci := read(r.t, ".ci/run"); !strings.Contains(ci, "section 'tests'\n"+lines[1]+"\n") {
		r.t.Errorf(".ci/run does not run %q", lines[1])
	}
	cmd := r.bash(lines[0])
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, w, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	w.Close()
	r.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		out.Close()
	})
	ready := make(chan error, 1)
	go func() {
		var said strings.Builder
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Fprintln(&said, lines.Text())
			if strings.HasPrefix(lines.Text(), "Next: ") {
				ready <- nil
			}
		}
		ready <- fmt.Errorf("it ended:\n%s", said.String())
	}()
	select {
	case err := <-ready:
		if err != nil {
			r.t.Fatal(err)
		}
	case <-time.After(5 * time.Minute):
		r.t.Fatal("it does not say where things are")
	}
}

// script runs a block. curl does not fail by itself on a refusal, so its answers are looked at.
func (r *reader) script(text string) {
	r.t.Helper()
	out, err := r.bash(text).CombinedOutput()
	if err != nil || strings.Contains(string(out), "error_msg") {
		r.t.Errorf("%s\n%v\n%s", text, err, out)
	}
}

var request = regexp.MustCompile(`(?m)^(curl .*?) +# (.*)$`)

// requests runs the block's lines one by one: behind each stands what comes back.
func (r *reader) requests(text string) {
	r.t.Helper()
	lines := request.FindAllStringSubmatch(text, -1)
	if len(lines) != strings.Count(text, "\n") {
		r.t.Fatalf("a line without an answer:\n%s", text)
	}
	for _, line := range lines {
		out, err := r.bash(line[1]).Output()
		if err != nil {
			r.t.Errorf("%s: %v", line[1], err)
		}
		status, body, _ := strings.Cut(line[2], " ")
		if line[2] == "what your server says" {
			status, body = "200", "your server"
		}
		head, got, _ := strings.Cut(string(out), "\r\n\r\n")
		if !strings.HasPrefix(head, "HTTP/1.1 "+status+" ") || strings.TrimSuffix(got, "\n") != body {
			r.t.Errorf("%s\ngot\n%s\nwant %s %s", line[1], out, status, body)
		}
	}
}

// validate checks a Caddyfile that stands alone.
func (r *reader) validate(text string) {
	r.t.Helper()
	write(r.t, r.dir, "alone.caddyfile", text)
	r.script("go run ./cmd/ando validate --config " + filepath.Join(r.dir, "alone.caddyfile"))
}

// caddyfile saves the block under the name by which the next one calls it.
func (r *reader) caddyfile(text string) { write(r.t, r.dir, "Caddyfile", text) }

func (r *reader) json(text string) {
	r.t.Helper()
	write(r.t, r.dir, "caddy.json", text)
	r.script("ANDO_ADMIN_KEY=secret go run ./cmd/ando validate --config " + filepath.Join(r.dir, "caddy.json"))
}
