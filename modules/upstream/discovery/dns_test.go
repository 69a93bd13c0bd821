// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// nameServer is a DNS server of a few records, by UDP and TCP on one port.
type nameServer struct {
	addr string
	mu   sync.Mutex
	// records are in the form of zone files; refused answers SERVFAIL.
	records []string
	refused bool
	// truncates answers UDP with nothing but the flag that says so.
	truncates bool
	asked     chan string
}

func newNameServer(t *testing.T, records ...string) *nameServer {
	t.Helper()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{addr: packets.LocalAddr().String(), records: records, asked: make(chan string, 1000)}
	stream, err := net.Listen("tcp", s.addr)
	if err != nil {
		t.Skip("the port is taken for TCP: ", err)
	}
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: s}, {Listener: stream, Handler: s}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return s
}

func (s *nameServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reply := new(dns.Msg)
	reply.SetReply(q)
	question := q.Question[0]
	_, overUDP := w.RemoteAddr().(*net.UDPAddr)
	switch {
	case s.refused:
		reply.Rcode = dns.RcodeServerFailure
	case s.truncates && overUDP:
		reply.Truncated = true
	default:
		s.fill(reply, question)
	}
	_ = w.WriteMsg(reply)
	select {
	case s.asked <- dns.TypeToString[question.Qtype] + " " + question.Name:
	default:
	}
}

func (s *nameServer) fill(reply *dns.Msg, question dns.Question) {
	known := false
	for _, text := range s.records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		if !strings.EqualFold(rr.Header().Name, question.Name) {
			continue
		}
		known = true
		if rr.Header().Rrtype == question.Qtype {
			reply.Answer = append(reply.Answer, rr)
		}
	}
	if !known {
		reply.Rcode = dns.RcodeNameError
	}
}

// pooled returns a pool with these settings, whose clients take each TTL as a few milliseconds.
func pooled(t *testing.T, settings string, queries ...Query) *Pool {
	t.Helper()
	s, err := Parse([]byte(settings))
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range s.sources {
		switch source := known.Source.(type) {
		case *dnsServices:
			source.client.floor = time.Millisecond
		case resolver:
			source.client.floor = time.Millisecond
		}
	}
	p := newTestPool(t)
	t.Cleanup(p.Use(s))
	used := make(map[Query]bool)
	for _, q := range queries {
		used[q] = true
	}
	p.Retain(used)
	return p
}

func TestNames(t *testing.T) {
	s := newNameServer(t, "a.test. 0 A 10.0.0.1", "a.test. 0 A 10.0.0.2", "a.test. 0 AAAA fd00::1", "six.test. 0 AAAA fd00::2")
	a, six, missing := Query{Name: "a.test"}, Query{Name: "six.test"}, Query{Name: "missing.test"}
	p := pooled(t, fmt.Sprintf(`{"resolver":{"servers":[%q]}}`, s.addr), a, six, missing)
	untilHosts(t, p, a, "10.0.0.1", "10.0.0.2")
	untilHosts(t, p, six, "fd00::2")
	until(t, p, missing, func(_ []Node, err error) bool { return err != nil && strings.Contains(err.Error(), "no such name") })

	s.set(func() { s.records = []string{"a.test. 0 A 10.0.0.3", "missing.test. 0 A 10.0.0.4"} })
	untilHosts(t, p, a, "10.0.0.3")
	untilHosts(t, p, missing, "10.0.0.4")

	// Neither a server's failure nor that the name is gone drops what is known.
	for _, failure := range []func(){func() { s.refused = true }, func() { s.refused, s.records = false, nil }} {
		s.set(failure)
		for len(s.asked) > 0 {
			<-s.asked
		}
		for range 20 {
			wait(t, s.asked)
		}
		untilHosts(t, p, a, "10.0.0.3")
		untilHosts(t, p, six, "fd00::2")
	}
	s.set(func() { s.truncates, s.records = true, []string{"a.test. 0 A 10.0.0.5"} })
	untilHosts(t, p, a, "10.0.0.5")
}

// TestTTL shows that an answer is not asked for again before its time.
func TestTTL(t *testing.T) {
	s := newNameServer(t, "slow.test. 3600 A 10.0.0.1", "fast.test. 0 A 10.0.0.2")
	slow, fast := Query{Name: "slow.test"}, Query{Name: "fast.test"}
	p := pooled(t, fmt.Sprintf(`{"resolver":{"servers":[%q]}}`, s.addr), slow, fast)
	untilHosts(t, p, slow, "10.0.0.1")
	asked := map[string]int{}
	for range 30 {
		asked[wait(t, s.asked)]++
	}
	if asked["A slow.test."] != 1 || asked["A fast.test."] < 2 {
		t.Errorf("asked %v", asked)
	}
}

func TestSecondServer(t *testing.T) {
	bad, good := newNameServer(t), newNameServer(t, "a.test. 0 A 10.0.0.1")
	bad.set(func() { bad.refused = true })
	q := Query{Name: "a.test"}
	untilHosts(t, pooled(t, fmt.Sprintf(`{"resolver":{"servers":[%q,%q]}}`, bad.addr, good.addr), q), q, "10.0.0.1")
}

func TestServiceRecords(t *testing.T) {
	s := newNameServer(t,
		"_web._tcp.test. 0 SRV 1 5 8080 a.test.", "_web._tcp.test. 0 SRV 1 0 0 b.test.", "_web._tcp.test. 0 SRV 2 7 8082 a.test.",
		"a.test. 0 A 10.0.0.1", "b.test. 0 A 10.0.0.2",
	)
	web, plain := Query{Type: "dns", Name: "_web._tcp.test"}, Query{Type: "dns", Name: "a.test:81"}
	p := pooled(t, fmt.Sprintf(`{"dns":{"servers":[%q]}}`, s.addr), web, plain)
	nodes := untilHosts(t, p, web, "10.0.0.1", "10.0.0.1", "10.0.0.2")
	want := []Node{
		{Host: "10.0.0.1", Port: 8080, Weight: 5, Priority: -1},
		{Host: "10.0.0.1", Port: 8082, Weight: 7, Priority: -2},
		{Host: "10.0.0.2", Weight: 1, Priority: -1},
	}
	for i := range want {
		if nodes[i] != want[i] {
			t.Errorf("got %v, want %v", nodes[i], want[i])
		}
	}
	if nodes := untilHosts(t, p, plain, "10.0.0.1"); nodes[0] != (Node{Host: "10.0.0.1", Port: 81, Weight: 1}) {
		t.Errorf("got %v", nodes)
	}
	// A target that cannot be resolved any more is where it was.
	s.set(func() {
		s.records = []string{"_web._tcp.test. 0 SRV 1 5 8083 a.test.", "_web._tcp.test. 0 SRV 1 5 8084 b.test.", "b.test. 0 A 10.0.0.4"}
	})
	untilHosts(t, p, web, "10.0.0.1", "10.0.0.4")
}

func TestHostsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	text := "# 10.0.0.9 a\n10.0.0.1 b A # a comment\n::1 a\nfe80::1%eth0 six\nnonsense a\n10.0.0.2 a.b\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "[10.0.0.1]", "six": "[fe80::1]", "c": "[]"} {
		if got := fmt.Sprint(inHosts(path, name)); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestSystemResolver(t *testing.T) {
	q := Query{Name: "localhost"}
	untilHosts(t, pooled(t, `{}`, q), q, "127.0.0.1")
}
