// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// peer is one proxy.
type peer struct {
	name string
	// port is for HTTP, the next one for HTTPS.
	port int
	// config is made of the template of the same name without the lane's.
	config string
	// program runs the peer here; it is a path, or a name in PATH. It is "" for those that run in Docker alone.
	program string
	args    []string
	// lane is Ando's.
	lane string
	// docker: it is in docker-compose.yml.
	docker  bool
	tls     bool
	keyAuth bool
	// log: it can write access logs to a file.
	log bool
	// one: it knows one host alone.
	one bool

	// pid is the process that was started, and the first of its tree.
	pid int
}

// direct is no peer: requests go to the node itself.
var direct = &peer{name: "node"}

// known are the peers. Those in Docker listen on the loopback addresses of the host.
func (b *bench) known() []*peer {
	config := func(name string) string { return filepath.Join(b.dir, name) }
	ando := func(lane string, port int) *peer {
		name := "ando-" + lane
		return &peer{
			name: name, port: port, config: name + ".Caddyfile", program: b.bin + "/ando", lane: lane,
			args:   []string{"run", "--config", config(name + ".Caddyfile"), "--adapter", "caddyfile"},
			docker: true, tls: true, keyAuth: true, log: true,
		}
	}
	return []*peer{
		{
			name: "nginx", port: 18000, config: "nginx.conf", program: "nginx", args: []string{"-c", config("nginx.conf")},
			docker: true, tls: true, keyAuth: true, log: true,
		},
		{
			name: "haproxy", port: 18010, config: "haproxy.cfg", program: "haproxy",
			args: []string{"-db", "-f", config("haproxy.cfg")}, tls: true, keyAuth: true,
		},
		{
			name: "caddy", port: 18020, config: "caddy.Caddyfile", program: b.bin + "/caddy",
			args:   []string{"run", "--config", config("caddy.Caddyfile"), "--adapter", "caddyfile"},
			docker: true, tls: true, log: true,
		},
		ando("ring", 18030), ando("poll", 18040), ando("off", 18050),
		{name: "apisix", port: 18060, config: "apisix.yaml", docker: true, tls: true, keyAuth: true},
		{name: "kong", port: 18070, config: "kong.yaml", docker: true, tls: true, keyAuth: true},
		{name: "krakend", port: 18080, config: "krakend.json", docker: true, one: true},
		{name: "tyk", port: 18100, config: "tyk.conf", docker: true, one: true},
	}
}

// found returns the peers that can be measured here.
func (b *bench) found() []*peer {
	return slices.DeleteFunc(b.known(), func(p *peer) bool {
		if len(b.Only) > 0 && !slices.Contains(b.Only, p.name) {
			return true
		}
		if b.Docker {
			return !p.docker
		}
		_, err := exec.LookPath(p.program)
		return err != nil
	})
}

// can reports whether the peer has what a scenario needs.
func (p *peer) can(s scenario) bool {
	return (p.tls || !s.tls) && (p.keyAuth || !s.keyAuth) && (p.log || !s.log) && (!p.one || s.hosts == 0)
}

// hosts is how many of the scenario's hosts it tells apart.
func (p *peer) hosts(s scenario) int {
	if p.one {
		return 1
	}
	return s.hostCount()
}

func (p *peer) address(s scenario) string {
	port := p.port
	switch {
	case s.direct:
		return nodeAddress
	case s.tls:
		port++
	}
	return "127.0.0.1:" + strconv.Itoa(port)
}

// start starts a peer; in Docker, again.
func (b *bench) start(p *peer, s scenario) (stop func(), err error) {
	if p == direct {
		return func() {}, nil
	}
	if b.Docker {
		if err := compose("restart", p.name); err != nil {
			return nil, err
		}
		out, err := exec.Command("docker", "inspect", "--format", "{{.State.Pid}}", "bench-"+p.name).Output()
		if err != nil {
			return nil, fmt.Errorf("docker inspect: %w", err)
		}
		p.pid, err = strconv.Atoi(strings.TrimSpace(string(out)))
		return func() {}, err
	}
	if conn, err := net.Dial("tcp", p.address(scenario{})); err == nil {
		conn.Close()
		return nil, fmt.Errorf("somebody else listens on %s", p.address(scenario{}))
	}
	var output bytes.Buffer
	processors := peerProcessor
	if s.both {
		processors += "," + loadProcessor
	}
	cmd := b.command(processors, p.program, p.args...)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Env = append(os.Environ(), "HOME="+b.dir, "XDG_DATA_HOME="+b.dir, "XDG_CONFIG_HOME="+b.dir)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.pid = cmd.Process.Pid
	return func() {
		end(cmd)
		if output.Len() > 0 {
			fmt.Fprintf(os.Stderr, "%s says:\n%s", p.name, output.Bytes()[:min(output.Len(), 2000)])
		}
	}, nil
}

// await returns when the peer listens.
func (b *bench) await(p *peer) error {
	if p == direct {
		return nil
	}
	return awaitPort(b.ctx, p.address(scenario{}), p.pid)
}

// awaitPort returns when somebody listens, or when the process that is to do so has ended.
func awaitPort(ctx context.Context, address string, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		if state := stat(pid); len(state) == 0 || state[0] == "Z" {
			return errors.New("it has ended")
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("nobody listens on %s", address), ctx.Err())
		}
	}
}

// writeConfigs writes the configs of all peers for a scenario, and a certificate for those with TLS, to a directory.
func writeConfigs(templates, dir string, of scenario) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := writeCertificate(dir); err != nil {
		return err
	}
	b := &bench{dir: dir}
	s := newSettings(dir, of)
	s.Certificate, s.Secret = read(filepath.Join(dir, "cert.pem")), read(filepath.Join(dir, "key.pem"))
	for _, p := range b.known() {
		s.Port, s.TLSPort, s.Lane = p.port, p.port+1, p.lane
		source := strings.Replace(p.config, "-"+p.lane+".", ".", 1)
		files, err := filepath.Glob(filepath.Join(templates, strings.SplitN(source, ".", 2)[0]+"*"))
		if err != nil || len(files) == 0 {
			return errors.Join(fmt.Errorf("%s: no template for %s", templates, p.name), err)
		}
		for _, file := range files {
			name := filepath.Base(file)
			if name == source {
				name = p.config
			}
			if err := writeConfig(file, filepath.Join(dir, name), s); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeConfig(file, target string, s settings) error {
	parsed, err := template.ParseFiles(file)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := parsed.Execute(&text, s); err != nil {
		return err
	}
	return os.WriteFile(target, text.Bytes(), 0o644)
}

// writeCertificate makes a certificate that nobody has to trust. haproxy wants it in one file with its key.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certificate := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 7),
		DNSNames: []string{"*.example.com", "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, certificate, &key.PublicKey, key)
	if err != nil {
		return err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), public, 0o644),
		// Containers read it as whoever they run as; it is good for nothing else.
		os.WriteFile(filepath.Join(dir, "key.pem"), private, 0o644),
		os.WriteFile(filepath.Join(dir, "both.pem"), append(public, private...), 0o644),
	)
}
