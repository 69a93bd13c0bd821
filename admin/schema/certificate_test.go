// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

var made = sync.OnceValues(func() (cert, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a.com"}, DNSNames: []string{"a.com"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		panic(err)
	}
	return inPEM("CERTIFICATE", der), pkcs8(private)
})

// certificate returns a certificate and its key in PEM.
func certificate(testing.TB) (cert, key string) { return made() }

func inPEM(label string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}

func pkcs8(key any) string {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return inPEM("PRIVATE KEY", der)
}

func inJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestCertificates(t *testing.T) {
	cert, key := certificate(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 200)
	broken := inPEM("CERTIFICATE", []byte(long))
	ssl := func(change map[string]any) map[string]any {
		object := map[string]any{"sni": "a.com", "cert": cert, "key": key}
		for name, v := range change {
			object[name] = v
		}
		return object
	}
	upstream := func(cert, key string) map[string]any {
		return map[string]any{
			"nodes": map[string]any{"a:1": 1}, "tls": map[string]any{"client_cert": cert, "client_key": key},
		}
	}
	for name, c := range map[string]struct {
		kind   gateway.Kind
		object map[string]any
		want   string // a prefix; "" for no error
	}{
		"valid":                {gateway.SSLs, ssl(nil), ""},
		"chain":                {gateway.SSLs, ssl(map[string]any{"cert": cert + cert}), ""},
		"rsa key":              {gateway.SSLs, ssl(map[string]any{"key": inPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))}), ""},
		"ed25519 key":          {gateway.SSLs, ssl(map[string]any{"key": pkcs8(edKey)}), ""},
		"ec key":               {gateway.SSLs, ssl(map[string]any{"key": inPEM("EC PARAMETERS", []byte{6, 5}) + inPEM("EC PRIVATE KEY", ecDER)}), ""},
		"reference":            {gateway.SSLs, ssl(map[string]any{"cert": "$secret://vault/1/cert", "key": long}), ""},
		"environment":          {gateway.SSLs, ssl(map[string]any{"cert": long, "key": "$ENV://KEY"}), ""},
		"no cert":              {gateway.SSLs, ssl(map[string]any{"cert": long}), "failed to parse cert: "},
		"broken cert":          {gateway.SSLs, ssl(map[string]any{"cert": broken}), "failed to parse cert: "},
		"broken in chain":      {gateway.SSLs, ssl(map[string]any{"cert": cert + broken}), "failed to parse cert: "},
		"encrypted key":        {gateway.SSLs, ssl(map[string]any{"key": long}), "failed to decrypt previous encrypted key"},
		"broken key":           {gateway.SSLs, ssl(map[string]any{"key": inPEM("PRIVATE KEY", []byte(long))}), "failed to parse key: "},
		"cert for key":         {gateway.SSLs, ssl(map[string]any{"key": cert}), "failed to parse key: "},
		"further pairs":        {gateway.SSLs, ssl(map[string]any{"certs": []any{cert}, "keys": []any{key}}), ""},
		"one key too few":      {gateway.SSLs, ssl(map[string]any{"certs": []any{cert}}), "mismatched number of certs and keys"},
		"second pair broken":   {gateway.SSLs, ssl(map[string]any{"certs": []any{cert, cert}, "keys": []any{key, long}}), "failed to handle cert-key pair[2]: failed to decrypt previous encrypted key"},
		"client ca":            {gateway.SSLs, ssl(map[string]any{"client": map[string]any{"ca": cert}}), ""},
		"client ca broken":     {gateway.SSLs, ssl(map[string]any{"client": map[string]any{"ca": broken}}), "failed to validate client_cert: failed to parse cert: "},
		"client type":          {gateway.SSLs, ssl(map[string]any{"type": "client", "certs": []any{cert}}), ""},
		"upstream":             {gateway.Upstreams, upstream(cert, key), ""},
		"upstream bad cert":    {gateway.Upstreams, upstream(long, key), "failed to parse cert: "},
		"upstream bad key":     {gateway.Upstreams, upstream(cert, inPEM("PRIVATE KEY", []byte(long))), "failed to parse key: "},
		"upstream by secret":   {gateway.Upstreams, upstream("$env://CERT", "$env://KEY"), ""},
		"service with bad key": {gateway.Services, map[string]any{"upstream": upstream(cert, long)}, "failed to decrypt"},
	} {
		t.Run(name, func(t *testing.T) {
			object, err := Decode([]byte(inJSON(c.object)))
			if err != nil {
				t.Fatal(err)
			}
			wantRefusal(t, Check(c.kind, object), c.want)
		})
	}
}

// wantRefusal checks for a refusal whose message begins with want, or for none when want is empty.
func wantRefusal(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("got %q, want no error", err)
		}
		return
	}
	if refusal, ok := errors.AsType[*gateway.Refusal](err); !ok || !strings.HasPrefix(refusal.Message, want) {
		t.Errorf("got %v (%T), want a refusal that begins with %q", err, err, want)
	}
}
