// SPDX-License-Identifier: Apache-2.0

// Package directorytest starts OpenLDAP's server for tests.
package directorytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/andogate/ando/modules/gateway/gatewaytest"
)

// What the directory holds: below [Base] the administrator, and in [Users] jack, rose and two of the name "twin".
const (
	Base          = "dc=example,dc=org"
	Users         = "ou=users," + Base
	Admin         = "cn=admin," + Base
	AdminPassword = "adminsecret"
)

const entries = `dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: ou=users,dc=example,dc=org
objectClass: organizationalUnit
ou: users

dn: cn=Jack Doe,ou=users,dc=example,dc=org
objectClass: inetOrgPerson
cn: Jack Doe
sn: Doe
uid: jack
userPassword: jacks secret

dn: cn=Doe\2C Rose,ou=users,dc=example,dc=org
objectClass: inetOrgPerson
cn: Doe, Rose
sn: Doe
uid: rose
uid: a*(b)\c
userPassword: roses:secret

dn: cn=twin 1,ou=users,dc=example,dc=org
objectClass: inetOrgPerson
cn: twin 1
sn: twin
uid: twin
userPassword: twins

dn: cn=twin 2,ou=users,dc=example,dc=org
objectClass: inetOrgPerson
cn: twin 2
sn: twin
uid: twin
userPassword: twins
`

// Server is where the directory listens: with StartTLS, and with TLS from the beginning. Its certificate is signed by
// nobody.
type Server struct{ Addr, TLSAddr string }

// Start starts the server and stops it when the test ends. Without the program the test is skipped. private refuses
// searches to whoever has not logged in.
func Start(t *testing.T, private bool) Server {
	t.Helper()
	slapd, err := exec.LookPath("slapd")
	if err != nil {
		if slapd, err = exec.LookPath("/usr/sbin/slapd"); err != nil {
			t.Skip("slapd is not installed (Debian's package slapd): nothing to ask")
		}
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certificate, key := certify(t)
	access := "access to attrs=userPassword by anonymous auth\naccess to * by * read\n"
	if private {
		access = "access to attrs=userPassword by anonymous auth\naccess to * by users read\n"
	}
	config := write("slapd.conf", fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/pid
TLSCertificateFile %[2]s
TLSCertificateKeyFile %[3]s
TLSVerifyClient never
database mdb
maxsize 10485760
suffix "%[4]s"
rootdn "%[5]s"
rootpw %[6]s
directory %[1]s
%[7]s`, dir, write("cert.pem", certificate), write("key.pem", key), Base, Admin, AdminPassword, access))
	load := exec.Command(slapd, "-T", "add", "-f", config, "-l", write("entries.ldif", entries))
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v: %s", err, out)
	}
	s := Server{freeAddr(t), freeAddr(t)}
	const logStats = "256"
	cmd := exec.Command(slapd, "-f", config, "-d", logStats, "-h", "ldap://"+s.Addr+" ldaps://"+s.TLSAddr)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// text belongs to the reader until done.
	var text strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&text, log)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		err := cmd.Wait()
		if t.Failed() {
			t.Logf("slapd (%v): %s", err, text.String())
		}
	})
	for _, addr := range []string{s.Addr, s.TLSAddr} {
		await(t, addr, done)
	}
	return s
}

// await returns when somebody listens. The server does not tell: what it writes comes before it listens.
func await(t *testing.T, addr string, ended <-chan struct{}) {
	t.Helper()
	patience := time.After(30 * time.Second)
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-again.C:
		case <-ended:
			t.Fatal("slapd has ended")
		case <-patience:
			t.Fatalf("nobody listens on %s", addr)
		}
	}
}

// Run runs a case file of gatewaytest with the server. In it "LDAP" and "LDAPS" stand for its addresses, and basic<...> for
// what is between the signs in base64.
func (s Server) Run(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	expanded := strings.NewReplacer(`"LDAPS"`, `"`+s.TLSAddr+`"`, `"LDAP"`, `"`+s.Addr+`"`).Replace(string(text))
	for {
		before, rest, ok := strings.Cut(expanded, "basic<")
		inner, after, closed := strings.Cut(rest, ">")
		if !ok || !closed {
			break
		}
		expanded = before + base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(inner, `\n`, "\n"))) + after
	}
	gatewaytest.Run(t, fstest.MapFS{filepath.Base(path): {Data: []byte(expanded)}})
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func certify(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", keyDER)
}
