// SPDX-License-Identifier: Apache-2.0

package ando_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// xcaddyMain is what `xcaddy build --with github.com/andogate/ando` generates.
const xcaddyMain = `package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/andogate/ando"
)

func main() {
	caddycmd.Main()
}
`

var modules = []string{
	"admin.api.ando", "ando", "ando.stores.bolt", "ando.stores.memory", "caddy.listeners.ando", "http.handlers.ando", "http.handlers.ando_admin",
	"http.handlers.ando_key_auth", "http.handlers.ando_load_balance", "http.handlers.ando_plugin",
	"tls.get_certificate.ando", "tls.handshake_match.ando",
}

func TestXcaddyBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a Caddy")
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	requirements := strings.Replace(read(t, "go.mod"), "module "+modulePath, "module caddy", 1)
	write(t, dir, "go.mod", requirements+"\nrequire "+modulePath+" v0.0.0\n\nreplace "+modulePath+" => "+root+"\n")
	write(t, dir, "go.sum", read(t, "go.sum"))
	write(t, dir, "main.go", xcaddyMain)

	run(t, dir, "go", "build", "-o", "caddy", ".")
	listed := strings.Fields(run(t, dir, "./caddy", "list-modules", "--skip-standard"))
	for _, module := range modules {
		if !slices.Contains(listed, module) {
			t.Errorf("list-modules does not list %s", module)
		}
	}
}

func TestDockerfile(t *testing.T) {
	text := read(t, "Dockerfile")
	caddyVersion := regexp.MustCompile(regexp.QuoteMeta(caddyPath) + ` v(\S+)`).FindStringSubmatch(read(t, "go.mod"))[1]
	for _, want := range []string{
		"ARG CADDY_VERSION=" + caddyVersion + "\n",
		"FROM caddy:${CADDY_VERSION}-builder AS builder\n",
		"RUN xcaddy build v${CADDY_VERSION} --with " + modulePath + "=/src\n",
		"FROM caddy:${CADDY_VERSION}\nCOPY --from=builder /usr/bin/caddy /usr/bin/caddy\n",
		"EXPOSE 9080 9180 9443 9443/udp\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the Dockerfile lacks %q", want)
		}
	}
	if testing.Short() {
		t.Skip("runs the command")
	}
	_, rest, _ := strings.Cut(text, "COPY <<\"EOF\" /etc/caddy/Caddyfile\n")
	caddyfile, _, found := strings.Cut(rest, "EOF\n")
	if !found {
		t.Fatal("the Dockerfile has no Caddyfile in it")
	}
	dir := t.TempDir()
	write(t, dir, "Caddyfile", caddyfile)
	validate := command(".", "go", "run", "./cmd/ando", "validate", "--config", filepath.Join(dir, "Caddyfile"))
	validate.Env = append(validate.Env, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	if out, err := validate.CombinedOutput(); err == nil || !strings.Contains(string(out), "is an environment variable empty?") {
		t.Errorf("without a key: %v\n%s", err, out)
	}
	validate = command(".", validate.Args...)
	validate.Env = append(validate.Env, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "ANDO_ADMIN_KEY=secret")
	if out, err := validate.CombinedOutput(); err != nil {
		t.Errorf("with a key: %v\n%s", err, out)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func command(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = os.Environ()
	return cmd
}

// run runs a command in a module of its own.
func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := command(dir, args...)
	cmd.Env = append(cmd.Env, "GOFLAGS=-mod=mod -buildvcs=false")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}
