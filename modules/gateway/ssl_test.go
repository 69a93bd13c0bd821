// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"iter"
	"runtime"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/andogate/ando/modules/gateway/gatewaytest/certtest"
)

// sslTable has ssl objects by name.
type sslTable struct {
	fakeTable
	ssls map[string]*SSL
}

func (t *sslTable) SSL(name string) *SSL {
	return t.ssls[strings.TrimSuffix(strings.ToLower(name), ".")]
}
func (t *sslTable) AsksClients() bool    { return true }
func (t *sslTable) SSLs() iter.Seq[*SSL] { return func(func(*SSL) bool) {} }

// chain returns a pair's certificates as a handshake leaves them.
func chain(t testing.TB, pairs ...certtest.Pair) (certs []*x509.Certificate) {
	t.Helper()
	for _, pair := range pairs {
		for _, der := range pair.TLS(t).Certificate {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			certs = append(certs, cert)
		}
	}
	return certs
}

func TestClientAuth(t *testing.T) {
	root := certtest.New(t, "root")
	sub := root.Sub(t, "sub")
	deep := sub.Sub(t, "deep")
	auth := &ClientAuth{CAs: root.Pool(), Depth: 1}
	direct, behind := root.Issue(t, "c"), sub.Issue(t, "c")
	below := deep.Issue(t, "c")
	below.Cert += sub.Cert
	for name, c := range map[string]struct {
		certs []*x509.Certificate
		good  bool
	}{
		"none":              {nil, false},
		"direct":            {chain(t, direct), true},
		"one between":       {chain(t, behind), true},
		"two between":       {chain(t, below), false},
		"another CA":        {chain(t, certtest.New(t, "root").Issue(t, "c")), false},
		"expired":           {chain(t, root.IssueUntil(t, time.Now().Add(-time.Hour), "c")), false},
		"not its own key's": {chain(t, certtest.New(t, "x").Issue(t, "c"), direct), false},
	} {
		for range 2 {
			if err := auth.Verify(c.certs); (err == nil) != c.good {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
	if err := (&ClientAuth{CAs: root.Pool(), Depth: 2}).Verify(chain(t, below)); err != nil {
		t.Errorf("two between with depth 2: %v", err)
	}
	if err := (&ClientAuth{CAs: root.Pool()}).Verify(chain(t, behind)); err == nil {
		t.Error("one between with depth 0 passes")
	}
}

// What was found out about a connection is neither used for another nor kept for ever.
func TestClientAuthRemembersConnections(t *testing.T) {
	root := certtest.New(t, "root")
	auth := &ClientAuth{CAs: root.Pool(), Depth: 1}
	certs := chain(t, root.Sub(t, "sub").Issue(t, "c"))
	if err := auth.Verify(certs); err != nil {
		t.Fatal(err)
	}
	if allocs := testing.AllocsPerRun(100, func() { _ = auth.Verify(certs) }); allocs > 1 {
		t.Errorf("a verdict that is known costs %v allocations", allocs)
	}
	// The same leaf without what leads to the CA.
	if err := auth.Verify([]*x509.Certificate{certs[0]}); err == nil {
		t.Error("another connection profits")
	}
	remembered := func() (n int) {
		auth.verdicts.Range(func(any, any) bool { n++; return true })
		return n
	}
	if got := remembered(); got != 2 {
		t.Errorf("%d connections are remembered, want 2", got)
	}
	runtime.KeepAlive(certs)
	certs = nil
	deadline := time.Now().Add(time.Minute)
	for remembered() > 0 && time.Now().Before(deadline) {
		runtime.GC()
	}
	if got := remembered(); got > 0 {
		t.Errorf("%d connections that have gone are remembered", got)
	}
}

// A certificate that expires while its connection lasts is good no more.
func TestClientAuthExpires(t *testing.T) {
	root := certtest.New(t, "root")
	auth := &ClientAuth{CAs: root.Pool(), Depth: 1}
	good := chain(t, root.IssueUntil(t, time.Now().Add(time.Hour), "c"))
	if v := auth.verify(good, time.Now()); v.err != nil || !v.until.Equal(good[0].NotAfter) {
		t.Errorf("got %+v, want a verdict until %v", v, good[0].NotAfter)
	}
	expired := chain(t, root.IssueUntil(t, time.Now().Add(-time.Minute), "c"))
	auth.verdicts.Store(weak.Make(&expired[0]), verdict{until: expired[0].NotAfter})
	if auth.Verify(expired) == nil {
		t.Error("it is still good")
	}
}

func TestClientFault(t *testing.T) {
	root := certtest.New(t, "root")
	auth := &ClientAuth{CAs: root.Pool(), Depth: 1, Skip: func(path string) bool { return path == "/open" }}
	table := &sslTable{ssls: map[string]*SSL{
		"asks.test": {Client: auth}, "other.test": {Client: auth}, "plain.test": {}, "fallback.test": {Client: auth},
	}}
	good, bad := chain(t, root.Issue(t, "c")), chain(t, certtest.New(t, "x").Issue(t, "c"))
	for name, c := range map[string]struct {
		sni, host, path string
		certs           []*x509.Certificate
		major           int
		want            int
	}{
		"good":                               {"asks.test", "asks.test", "/", good, 1, 0},
		"good, spelled otherwise":            {"Asks.Test.", "asks.test", "/", good, 2, 0},
		"none":                               {"asks.test", "asks.test", "/", nil, 1, 400},
		"bad":                                {"asks.test", "asks.test", "/", bad, 2, 400},
		"none, but it may":                   {"asks.test", "asks.test", "/open", nil, 1, 0},
		"bad, but it may":                    {"asks.test", "asks.test", "/open", bad, 1, 0},
		"another host that asks":             {"asks.test", "other.test", "/", good, 1, 400},
		"another host that does not":         {"asks.test", "plain.test", "/", good, 2, 400},
		"another host, and it may":           {"asks.test", "other.test", "/open", good, 1, 400},
		"a host that asks from one that not": {"plain.test", "asks.test", "/", nil, 1, 400},
		"the same on a shared connection":    {"plain.test", "asks.test", "/", nil, 2, 421},
		"the same on HTTP/3":                 {"unknown.test", "asks.test", "/", nil, 3, 421},
		"neither asks":                       {"plain.test", "unknown.test", "/", nil, 2, 0},
		"no name":                            {"", "fallback.test", "/", good, 1, 0},
		"no name, no certificate":            {"", "fallback.test", "/", nil, 1, 400},
		"no name, another host":              {"", "plain.test", "/", good, 1, 400},
	} {
		t.Run(name, func(t *testing.T) {
			x := new(Exchange)
			x.Request.Host, x.Request.Path, x.Request.ProtoMajor = c.host, c.path, c.major
			x.Request.TLS = &tls.ConnectionState{ServerName: c.sni, PeerCertificates: c.certs}
			x.Begin(table, &Settings{FallbackSNI: "fallback.test"}, nil)
			if step := x.Next(true); step != StepReply {
				t.Fatalf("got step %v", step)
			}
			got := x.Response.Status
			if got == 404 {
				got = 0 // the table has no routes
			}
			if got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
			if c.want != 0 && table.matches > 0 {
				t.Error("a request that is refused was matched")
			}
			table.matches = 0
		})
	}
}

func BenchmarkClientAuth(b *testing.B) {
	root := certtest.New(b, "root")
	auth := &ClientAuth{CAs: root.Pool(), Depth: 1}
	certs := chain(b, root.Issue(b, "c"))
	b.ReportAllocs()
	for b.Loop() {
		if err := auth.Verify(certs); err != nil {
			b.Fatal(err)
		}
	}
}
