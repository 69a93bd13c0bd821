// SPDX-License-Identifier: Apache-2.0

package table

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/gateway/gatewaytest/certtest"
	"github.com/andogate/ando/modules/secret"
)

// sslObject returns "ssls id value" with the fields of a pair and more, which begins with a comma.
func sslObject(t testing.TB, id string, pair certtest.Pair, more string) string {
	t.Helper()
	return fmt.Sprintf(`ssls %s {"cert":%s,"key":%s%s}`, id, quoted(t, pair.Cert), quoted(t, pair.Key), more)
}

func quoted(t testing.TB, text string) string {
	t.Helper()
	raw, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func sslID(t *Table, name string) string {
	if s := t.SSL(name); s != nil {
		return s.Object.ID
	}
	return ""
}

func TestSSLByName(t *testing.T) {
	pair := certtest.New(t, "ca").Issue(t, "any")
	table := compileAll(t, new(Compiler),
		sslObject(t, "exact", pair, `,"sni":"a.example.com"`),
		sslObject(t, "wild", pair, `,"snis":["*.example.com","other.test"]`),
		sslObject(t, "deep", pair, `,"sni":"*.b.example.com"`),
		sslObject(t, "zz-same", pair, `,"sni":"A.EXAMPLE.COM."`),
		sslObject(t, "loose", pair, `,"sni":"*shop.test"`),
		sslObject(t, "off", pair, `,"sni":"off.test","status":0`),
		sslObject(t, "client", pair, `,"sni":"client.test","type":"client"`),
	)
	for name, want := range map[string]string{
		"a.example.com":     "exact",
		"A.Example.Com.":    "exact",
		"c.example.com":     "wild",
		"x.b.example.com":   "deep",
		"x.y.b.example.com": "",
		"b.example.com":     "wild",
		"example.com":       "",
		".example.com":      "wild",
		"other.test":        "wild",
		"myshop.test":       "loose",
		"shop.test":         "loose",
		"my.shop.test":      "",
		"off.test":          "",
		"client.test":       "",
		"":                  "",
		"com":               "",
	} {
		if got := sslID(table, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	all := mustChange(t, table, sslObject(t, "everything", pair, `,"sni":"*"`))
	if got := sslID(all, "example.com"); got != "everything" {
		t.Errorf("with *: got %q", got)
	}
	if got := sslID(all, "a.example.com"); got != "exact" {
		t.Errorf("with *, an exact name: got %q", got)
	}
	less := mustChange(t, all, "ssls exact", "ssls loose")
	if got := sslID(less, "a.example.com"); got != "zz-same" {
		t.Errorf("without the first of two: got %q", got)
	}
	if got := sslID(less, "myshop.test"); got != "everything" {
		t.Errorf("without the loose one: got %q", got)
	}
	if got := sslID(table, "a.example.com"); got != "exact" {
		t.Errorf("the table before has changed: got %q", got)
	}
}

// TestSSLModel changes objects at random and compares what is found with a search through all of them.
func TestSSLModel(t *testing.T) {
	pair := certtest.New(t, "ca").Issue(t, "any")
	names := []string{"*", "*.a.b", "a.b", "x.a.b", "*a.b", "*.b", "y.b", "*b"}
	table := compileAll(t, new(Compiler))
	random := uint32(1)
	next := func(n int) int {
		random = random*1664525 + 1013904223
		return int(random>>16) % n
	}
	live := map[string][]string{}
	for round := range 400 {
		id := fmt.Sprintf("s%d", next(6))
		if next(3) == 0 {
			delete(live, id)
			table = mustChange(t, table, "ssls "+id)
		} else {
			live[id] = []string{names[next(len(names))], names[next(len(names))]}
			snis, _ := json.Marshal(live[id])
			table = mustChange(t, table, sslObject(t, id, pair, fmt.Sprintf(`,"snis":%s`, snis)))
		}
		for _, name := range []string{"a.b", "x.a.b", "q.a.b", "ca.b", "y.b", "z.b", "c.d", "b", "p.q.a.b"} {
			if got, want := sslID(table, name), naiveSSL(live, name); got != want {
				t.Fatalf("round %d, %v: %s: got %q, want %q", round, live, name, got, want)
			}
		}
	}
}

// naiveSSL finds the object by looking at all of them.
func naiveSSL(live map[string][]string, name string) (found string) {
	best := -1
	for id, patterns := range live {
		for _, pattern := range patterns {
			length := -1
			suffix, wild := strings.CutPrefix(pattern, "*")
			switch {
			case !wild && pattern == name:
				length = 1000
			case pattern == "*":
				length = 0
			case wild && strings.HasSuffix(name, suffix) && !strings.Contains(strings.TrimSuffix(name, suffix), "."):
				length = len(suffix)
			}
			if length > best || length == best && length >= 0 && id < found {
				best, found = length, id
			}
		}
	}
	return found
}

func TestSSLIsParsedOncePerChange(t *testing.T) {
	ca := certtest.New(t, "ca")
	one, two := sslObject(t, "1", ca.Issue(t, "one"), `,"sni":"one"`), sslObject(t, "2", ca.Issue(t, "two"), `,"sni":"two"`)
	c := new(Compiler)
	before := compileAll(t, c, one, two)
	after := mustChange(t, before, sslObject(t, "2", ca.Issue(t, "two"), `,"sni":"two"`))
	if after.SSL("one") != before.SSL("one") {
		t.Error("an object that did not change was parsed again")
	}
	if after.SSL("two") == before.SSL("two") {
		t.Error("an object that changed was not parsed")
	}
	again, _ := c.Recompile(before, 3, objects(t, one, two))
	if again.(*Table).SSL("one") != before.SSL("one") {
		t.Error("a new generation parsed what it knew")
	}
}

func TestSSLCertificateForTheClient(t *testing.T) {
	ca := certtest.New(t, "ca")
	rsa, ec := ca.IssueRSA(t, "a.test"), ca.Issue(t, "a.test")
	table := compileAll(t, new(Compiler), sslObject(t, "1", rsa, fmt.Sprintf(`,"sni":"a.test","certs":[%s],"keys":[%s]`,
		quoted(t, ec.Cert), quoted(t, ec.Key))))
	for want, schemes := range map[string][]tls.SignatureScheme{
		ec.Cert:  {tls.ECDSAWithP256AndSHA256, tls.PSSWithSHA256},
		rsa.Cert: {tls.PSSWithSHA256, tls.PKCS1WithSHA256},
	} {
		hello := &tls.ClientHelloInfo{
			ServerName: "a.test", SignatureSchemes: schemes, SupportedVersions: []uint16{tls.VersionTLS13},
			SupportedCurves: []tls.CurveID{tls.CurveP256}, CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256},
		}
		got, err := table.SSL("a.test").Certificate(hello)
		if err != nil {
			t.Fatal(err)
		}
		pair := certtest.Pair{Cert: want, Key: rsa.Key}
		if want == ec.Cert {
			pair.Key = ec.Key
		}
		if want := pair.TLS(t); string(got.Certificate[0]) != string(want.Certificate[0]) {
			t.Errorf("%v: got a certificate with %T", schemes, got.PrivateKey)
		}
	}
}

func TestSSLKeysAreDecryptedAndResolved(t *testing.T) {
	ca := certtest.New(t, "ca")
	pair := ca.Issue(t, "a.test")
	keyring := secret.Generate()
	t.Setenv("ANDO_TEST_CERT", pair.Cert)
	t.Setenv("ANDO_TEST_KEYS", `{"first":`+quoted(t, pair.Key)+`}`)
	table := compileAll(t, &Compiler{Keyring: keyring},
		sslObject(t, "stored", certtest.Pair{Cert: pair.Cert, Key: keyring.Encrypt(pair.Key)}, `,"sni":"stored.test"`),
		`ssls env {"cert":"$env://ANDO_TEST_CERT","key":"$ENV://ANDO_TEST_KEYS/first","sni":"env.test"}`,
	)
	for _, name := range []string{"stored.test", "env.test"} {
		if s := table.SSL(name); s == nil || s.Fault != nil || len(s.Certificates) != 1 {
			t.Errorf("%s: got %+v", name, s)
		}
	}
}

// What cannot be served is closed, and does not leave its names to others.
func TestSSLFaults(t *testing.T) {
	ca := certtest.New(t, "ca")
	pair, other := ca.Issue(t, "a.test"), ca.Issue(t, "a.test")
	mismatch := certtest.Pair{Cert: pair.Cert, Key: other.Key}
	table := compileAll(t, new(Compiler))
	for name, c := range map[string]struct{ object, want string }{
		"key of another certificate": {sslObject(t, "1", mismatch, `,"sni":"a.test"`), "private key does not match"},
		"unknown reference":          {`ssls 1 {"cert":"$env://ANDO_NONE","key":"$env://ANDO_NONE","sni":"a.test"}`, "$env://ANDO_NONE"},
		"CA that is none":            {sslObject(t, "1", pair, `,"sni":"a.test","client":{"ca":"x"}`), "client.ca"},
		"pattern that is none":       {sslObject(t, "1", pair, `,"sni":"a.test","client":{"ca":`+quoted(t, ca.Cert)+`,"skip_mtls_uri_regex":["("]}`), "skip_mtls_uri_regex"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := mustChange(t, table, c.object)
			s := changed.SSL("a.test")
			if s == nil || s.Fault == nil || !strings.Contains(s.Fault.Error(), c.want) {
				t.Fatalf("got %+v, want a fault with %q", s, c.want)
			}
			if _, err := s.Certificate(new(tls.ClientHelloInfo)); err == nil {
				t.Error("a certificate is presented")
			}
		})
	}
	err := new(Compiler).Check(object(t, sslObject(t, "1", pair, `,"sni":"a.test","client":{"ca":"","skip_mtls_uri_regex":["("]}`)))
	if err == nil || !strings.Contains(err.Error(), "skip_mtls_uri_regex") {
		t.Errorf("check: got %v", err)
	}
	good := mustChange(t, table, sslObject(t, "1", mismatch, fmt.Sprintf(`,"sni":"a.test","certs":[%s],"keys":[%s]`,
		quoted(t, other.Cert), quoted(t, other.Key))))
	if s := good.SSL("a.test"); s.Fault != nil || len(s.Certificates) != 1 {
		t.Errorf("one good pair of two: got %+v", s)
	}
}

func TestSSLVersions(t *testing.T) {
	pair := certtest.New(t, "ca").Issue(t, "a.test")
	table := compileAll(t, new(Compiler), sslObject(t, "1", pair, `,"sni":"a.test","ssl_protocols":["TLSv1.3","TLSv1.1"]`))
	if got := fmt.Sprint(table.SSL("a.test").Versions); got != fmt.Sprint([]uint16{tls.VersionTLS11, tls.VersionTLS13}) {
		t.Errorf("got %s", got)
	}
}

func BenchmarkSSL(b *testing.B) {
	pair := certtest.New(b, "ca").Issue(b, "any")
	var texts []string
	for i := range 1000 {
		texts = append(texts, sslObject(b, fmt.Sprint(i), pair, fmt.Sprintf(`,"snis":["h%d.test","*.w%d.test"]`, i, i)))
	}
	table := compileAll(b, new(Compiler), texts...)
	for _, name := range []string{"h500.test", "x.w500.test", "none.test"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.SSL(name)
			}
		})
	}
	b.Run("With", func(b *testing.B) {
		changed := []gateway.Change{{Object: object(b, texts[500])}}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := table.With(changed); err != nil {
				b.Fatal(err)
			}
		}
	})
}
