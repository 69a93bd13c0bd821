// SPDX-License-Identifier: Apache-2.0

// Package certtest makes certificates for tests.
package certtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	// Cert is its certificate in PEM.
	Cert string
	cert *x509.Certificate
	key  crypto.Signer
}

// Pair is a certificate, with the chain that the client needs, and its key in PEM.
type Pair struct{ Cert, Key string }

// TLS returns the pair as crypto/tls takes it.
func (p Pair) TLS(t testing.TB) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(p.Cert), []byte(p.Key))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// New returns an authority that nobody knows yet.
func New(t testing.TB, name string) *Authority {
	t.Helper()
	return new(Authority).Sub(t, name)
}

// Sub returns an authority that a has signed.
func (a *Authority) Sub(t testing.TB, name string) *Authority {
	t.Helper()
	template := template(name)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	sub := &Authority{key: ecKey(t)}
	der := a.sign(t, template, sub.key)
	sub.Cert = encode("CERTIFICATE", der)
	var err error
	if sub.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return sub
}

// Pool returns a pool with the authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Issue returns a certificate, good for servers and clients, with an ECDSA key.
func (a *Authority) Issue(t testing.TB, names ...string) Pair {
	t.Helper()
	return a.IssueUntil(t, time.Now().Add(time.Hour), names...)
}

// IssueUntil is Issue with the end of the certificate's life.
func (a *Authority) IssueUntil(t testing.TB, end time.Time, names ...string) Pair {
	t.Helper()
	return a.issue(t, ecKey(t), end, names)
}

// IssueRSA is Issue with an RSA key. All certificates made so share one.
func (a *Authority) IssueRSA(t testing.TB, names ...string) Pair {
	t.Helper()
	return a.issue(t, rsaKey(), time.Now().Add(time.Hour), names)
}

var rsaKey = sync.OnceValue(func() crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func (a *Authority) issue(t testing.TB, key crypto.Signer, end time.Time, names []string) Pair {
	t.Helper()
	template := template(names[0])
	template.NotAfter, template.DNSNames = end, names
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	cert := encode("CERTIFICATE", a.sign(t, template, key))
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if string(a.cert.RawIssuer) != string(a.cert.RawSubject) {
		cert += a.Cert
	}
	return Pair{cert, encode("PRIVATE KEY", raw)}
}

func (a *Authority) sign(t testing.TB, template *x509.Certificate, key crypto.Signer) []byte {
	t.Helper()
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		panic(err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
