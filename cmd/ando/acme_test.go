// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// authority is an ACME server for which every name is on this machine.
type authority struct {
	server *httptest.Server
	// root is a file with the certificate of the server itself.
	root string

	mu  sync.Mutex
	log bytes.Buffer
}

func (a *authority) Write(line []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.log.Write(line)
}

// issued returns how many certificates there are.
func (a *authority) issued() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Count(a.log.String(), "Issued certificate serial")
}

// newAuthority starts Pebble, which validates names with TLS on a port.
func newAuthority(t *testing.T, tlsPort string) *authority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	port, err := strconv.Atoi(tlsPort)
	if err != nil {
		t.Fatal(err)
	}
	a := new(authority)
	logger := log.New(a, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	validator := va.New(logger, 1, port, true, localNames(t), store)
	front := wfe.New(logger, store, validator, issuer, []string{"pebble.letsencrypt.org"}, true, false, 1, 1)
	a.server = httptest.NewTLSServer(front.Handler())
	t.Cleanup(a.server.Close)
	a.root = filepath.Join(t.TempDir(), "root.pem")
	raw := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.server.Certificate().Raw})
	if err := os.WriteFile(a.root, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// localNames is a DNS server that knows 127.0.0.1 under every name.
func localNames(t *testing.T) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: ln, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		reply := new(dns.Msg)
		reply.SetReply(q)
		if question := q.Question[0]; question.Qtype == dns.TypeA {
			header := dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}
			reply.Answer = []dns.RR{&dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(reply)
	})}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
	return ln.Addr().String()
}

const acmeSite = `{
	admin localhost:$CADDY
	storage file_system %[1]s
	http_port %[2]s
	https_port %[3]s
	auto_https disable_redirects
	ando {
		admin localhost:$ADMIN
		control off
		store memory
		certificate_wait 2m
	}
}
https:// {
	tls {
		issuer acme %[4]s {
			trusted_roots %[5]s
			disable_http_challenge
		}
	}
	ando
}
`

// Three gateways that share a storage get one certificate for each host of their routes, when these are written.
func TestACME(t *testing.T) {
	var machines []*machine
	for range 3 {
		machines = append(machines, newMachine(t))
	}
	a := newAuthority(t, machines[0].tlsPort)
	storage := t.TempDir()
	for _, m := range machines {
		m.write("Caddyfile", fmt.Sprintf(acmeSite, storage, freePort(t), m.tlsPort, a.server.URL+wfe.DirectoryPath, a.root))
		m.start("run")
	}
	const hosts = 5
	host := func(i int) string { return fmt.Sprintf("h%d.example.com", i) }
	var writing sync.WaitGroup
	for _, m := range machines {
		writing.Go(func() {
			for i := range hosts {
				body := fmt.Sprintf(`{"uri":"/","host":%q,"plugins":{}}`, host(i))
				r, err := http.NewRequest("PUT", m.adminURL(fmt.Sprintf("/apisix/admin/routes/%d", i)), strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				res, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				res.Body.Close()
				if got := res.Header.Get("X-Ando-Certificates"); got != host(i)+"=issued" {
					t.Errorf("%s: got %d and %q", host(i), res.StatusCode, got)
				}
			}
		})
	}
	writing.Wait()
	if got := a.issued(); got != hosts {
		t.Errorf("%d certificates were issued for %d names", got, hosts)
	}
	for _, m := range machines {
		for i := range hosts {
			conn, err := tls.Dial("tcp", "127.0.0.1:"+m.tlsPort, &tls.Config{ServerName: host(i), InsecureSkipVerify: true})
			if err != nil {
				t.Errorf("%s: %v", host(i), err)
				continue
			}
			if issuer := conn.ConnectionState().PeerCertificates[0].Issuer.CommonName; !strings.HasPrefix(issuer, "Pebble") {
				t.Errorf("%s: the certificate is by %s", host(i), issuer)
			}
			conn.Close()
		}
	}
	// Without its route a name is managed no more.
	if got := send(t, "DELETE", machines[1].adminURL("/apisix/admin/routes/0"), ""); got.status != 200 {
		t.Fatalf("delete: %+v", got)
	}
	if conn, err := tls.Dial("tcp", "127.0.0.1:"+machines[1].tlsPort, &tls.Config{ServerName: host(0), InsecureSkipVerify: true}); err == nil {
		conn.Close()
		t.Error("a name without a route is served")
	}
}
