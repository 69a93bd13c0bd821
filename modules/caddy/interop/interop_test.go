// SPDX-License-Identifier: Apache-2.0

// Package interop tests Ando as a whole with programs that others have written: servers as its nodes, and clients. A test
// whose program is not installed is skipped and says which Debian package has it.
//
// With ANDO_INTEROP=full in the environment the long forms run: larger files, longer soaks, every combination of ways in
// and out.
package interop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/andogate/ando/modules/caddy"
)

// full says that the long forms are asked for.
var full = os.Getenv("ANDO_INTEROP") == "full"

// lanes are the ways to serve HTTP/1.1 that a test goes through.
func lanes() []string {
	if testing.Short() {
		return []string{"auto"}
	}
	return []string{"auto", "poll", "off"}
}

// patience bounds the wait for what is bound to happen.
const patience = 30 * time.Second

// object is one object of the Admin API.
type object struct {
	Kind  string `json:"kind"`
	ID    string `json:"id"`
	Value any    `json:"value"`
}

type fields = map[string]any

// route sends everything to an upstream.
func route(upstream fields) object {
	return object{"routes", "r", fields{"uri": "/*", "enable_websocket": true, "upstream": upstream}}
}

// to is an upstream of one node.
func to(scheme, node string) fields {
	return fields{"scheme": scheme, "nodes": fields{node: 1}}
}

// ando is a Caddy with Ando in this process.
type ando struct {
	// plain speaks HTTP/1.1 and HTTP/2 with prior knowledge; secure is TLS, with HTTP/1.1, 2 and 3.
	plain, secure string
	identity      *identity
	// trusted are the files with the roots of nodes' certificates.
	trusted string
	config  func(objects []object) []byte
}

// start runs Ando until the test ends. lane is auto, ring, poll or off.
func start(t *testing.T, lane string, objects ...object) *ando {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	a := &ando{plain: freeAddress(t), secure: freeAddress(t), identity: newIdentity(t, "localhost")}
	server := func(address, protocols, more string) string {
		return fmt.Sprintf(`{"listen": ["ando/%s"], "protocols": [%s], "listener_wrappers": [{"wrapper": "ando"}],
			"automatic_https": {"disable": true}, "routes": [{"handle": [{"handler": "ando"}]}]%s}`, address, protocols, more)
	}
	a.config = func(objects []object) []byte {
		return fmt.Appendf(nil, `{
			"admin": {"disabled": true, "config": {"persist": false}},
			"logging": {"logs": {"default": {"level": "PANIC"}}},
			"apps": {
				"ando": {"lane": %q, "store": {"module": "memory"}, "admin": {"disabled": true}, "control": {"disabled": true}, "trusted_certificates": %q, "objects": %s},
				"tls": {"certificates": {"load_pem": [{"certificate": %q, "key": %q}]}},
				"http": {"http_port": 1, "servers": {"plain": %s, "secure": %s}}}}`,
			lane, a.trusted, encode(t, objects), a.identity.certificate, a.identity.key,
			server(a.plain, `"h1", "h2", "h2c"`, ""),
			server(a.secure, `"h1", "h2", "h3"`, `, "tls_connection_policies": [{}]`))
	}
	a.load(t, objects...)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// load replaces the config.
func (a *ando) load(t *testing.T, objects ...object) {
	t.Helper()
	if err := caddy.Load(a.config(objects), true); err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// freeAddress returns an address that nobody has at the moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// identity is a certificate that signs itself, in PEM.
type identity struct{ certificate, key string }

func newIdentity(t *testing.T, name string) *identity {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		BasicConstraintsValid: true, IsCA: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return &identity{
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})),
	}
}

func (i *identity) pair(t *testing.T) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(i.certificate), []byte(i.key))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// trusts is the client's side of TLS with whoever has the identity.
func (i *identity) trusts() *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(i.certificate))
	return &tls.Config{RootCAs: roots, ServerName: "localhost"}
}

// program returns the path of a program, or skips the test.
func program(t *testing.T, name, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: apt-get install %s", name, debianPackage)
	}
	return path
}

// folder makes a folder that servers can read which give up their rights, with these files in it.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ando-interop-") //nolint:usetesting // a folder of t.TempDir is in one that is for this user alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// run starts a program that stays in the foreground, and waits until it listens on the address. It is ended with the test.
func run(t *testing.T, listens, path string, args ...string) {
	t.Helper()
	var output bytes.Buffer
	command := exec.Command(path, args...)
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(patience):
			_ = command.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(path), strings.TrimSpace(output.String()))
		}
	})
	for deadline := time.Now().Add(patience); ; {
		conn, err := net.Dial("tcp", listens)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", path, err, output.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %s: %v", path, listens, err)
		}
	}
}

// serve starts a server of Go's and returns its address.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}
