// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/andogate/ando/modules/gateway/gatewaytest/certtest"
)

// TestNodeRoots: the pool stays the very same while the certificates do, since connections go on only under it.
func TestNodeRoots(t *testing.T) {
	file := filepath.Join(t.TempDir(), "roots.pem")
	put := func(name string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(certtest.New(t, name).Issue(t, name).Cert), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func(list string) *x509.CertPool {
		t.Helper()
		pool, err := nodeRoots(list)
		if err != nil {
			t.Fatal(err)
		}
		return pool
	}
	put("first")
	first := load(file)
	if first == nil || load(file) != first {
		t.Error("the same file gives another pool")
	}
	put("second")
	if load(file) == first {
		t.Error("another certificate gives the same pool")
	}
	if load("system") != nil || load("") != nil {
		t.Error("the system's own are no pool of ours")
	}
	if system, err := x509.SystemCertPool(); err == nil && !system.Equal(x509.NewCertPool()) {
		if both := load("system, " + file); both == nil || both.Equal(load(file)) {
			t.Error("the system's are missing beside a file's")
		}
	}
	if _, err := nodeRoots(file + "-none"); err == nil {
		t.Error("a missing file was taken")
	}
	if err := os.WriteFile(file, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := nodeRoots(file); err == nil {
		t.Error("a file without certificates was taken")
	}
}
