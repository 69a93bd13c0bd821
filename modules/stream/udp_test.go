// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// udpRig is a proxy that listens on one UDP port.
type udpRig struct {
	*rig
	datagrams *Datagrams
}

func newUDPRig(t testing.TB, address string, routes ...string) *udpRig {
	t.Helper()
	r := newRig(t, nil, routes...)
	pc, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Skip(err)
	}
	d := NewDatagrams(pc.(*net.UDPConn))
	served := make(chan struct{})
	go func() {
		defer close(served)
		d.Serve(func() *Proxy { return r.proxy })
	}()
	t.Cleanup(func() {
		_ = d.Close()
		<-served
	})
	r.addr = pc.LocalAddr().String()
	return &udpRig{r, d}
}

func (r *udpRig) dial() net.Conn {
	r.t.Helper()
	conn, err := net.Dial("udp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// asks sends a datagram and checks the one that comes back.
func asks(t testing.TB, conn net.Conn, text, want string) {
	t.Helper()
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, maxDatagram)
	n, err := conn.Read(b)
	if got := string(b[:n]); err != nil || got != want {
		t.Fatalf("got %.40q, %v; want %.40q", got, err, want)
	}
}

// udpEcho answers datagrams with its name and what they say, and sends where they come from to its channel.
func udpEcho(t testing.TB, name string) (addr string, clients <-chan netip.AddrPort) {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	from := make(chan netip.AddrPort, 100)
	go func() {
		for b := make([]byte, maxDatagram); ; {
			n, client, err := pc.(*net.UDPConn).ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			select {
			case from <- client:
			default:
			}
			_, _ = pc.WriteTo(fmt.Append(nil, name, " ", string(b[:n])), net.UDPAddrFromAddrPort(client))
		}
	}()
	return pc.LocalAddr().String(), from
}

// nobodyUDP returns an address that refuses datagrams.
func nobodyUDP(t testing.TB) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	return pc.LocalAddr().String()
}

func TestUDP(t *testing.T) {
	addr, clients := udpEcho(t, "n")
	r := newUDPRig(t, "127.0.0.1:0", to("", addr))
	one, other := r.dial(), r.dial()
	asks(t, one, "a", "n a")
	first := <-clients
	asks(t, one, "b", "n b")
	if again := <-clients; again != first {
		t.Errorf("one session has come from %s and %s", first, again)
	}
	asks(t, other, "c", "n c")
	if second := <-clients; second == first {
		t.Error("two clients are one to the node")
	}
	large := strings.Repeat("x", 9000)
	asks(t, one, large, "n "+large)
	asks(t, one, "", "n ")
	if n := r.proxy.Open(); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

// A session stays with its node; a new one sees the change.
func TestUDPChange(t *testing.T) {
	a, _ := udpEcho(t, "a")
	b, _ := udpEcho(t, "b")
	r := newUDPRig(t, "127.0.0.1:0", to("", a))
	old := r.dial()
	asks(t, old, "x", "a x")
	r.put("r0", to("", b))
	asks(t, old, "x", "a x")
	asks(t, r.dial(), "x", "b x")
}

func TestUDPFailover(t *testing.T) {
	live, _ := udpEcho(t, "n")
	r := newUDPRig(t, "127.0.0.1:0", to("", nobodyUDP(t), live))
	for range 6 {
		asks(t, r.dial(), "x", "n x")
	}
	// The attempts that failed are over, those that did not are not.
	table := r.gateway.Table().(gateway.StreamTable)
	nodes := table.Stream(addrPort(&net.UDPAddr{}), addrPort(&net.UDPAddr{}), "").Upstream.Nodes
	if dead, live := nodes[0].State.InFlight.Load(), nodes[1].State.InFlight.Load(); dead != 0 || live != 6 {
		t.Errorf("%d and %d are under way, want 0 and 6", dead, live)
	}
}

func TestUDPIdle(t *testing.T) {
	addr, clients := udpEcho(t, "n")
	r := newUDPRig(t, "127.0.0.1:0", to(`,"timeout":{"connect":5,"send":0.05,"read":0.05}`, addr))
	conn := r.dial()
	asks(t, conn, "x", "n x")
	first := <-clients
	eventually(t, "the end of the session", func() bool { return r.proxy.Open() == 0 })
	asks(t, conn, "y", "n y")
	if second := <-clients; second == first {
		t.Error("the session is the same")
	}
}

func TestUDPBound(t *testing.T) {
	addr, _ := udpEcho(t, "n")
	r := newUDPRig(t, "127.0.0.1:0", to(`,"timeout":{"connect":5,"send":60,"read":60}`, addr))
	r.datagrams.mu.Lock()
	r.datagrams.most = 1
	r.datagrams.mu.Unlock()
	known, other := r.dial(), r.dial()
	asks(t, known, "x", "n x")
	if _, err := other.Write([]byte("y")); err != nil {
		t.Fatal(err)
	}
	asks(t, known, "z", "n z")
	r.datagrams.mu.Lock()
	defer r.datagrams.mu.Unlock()
	if len(r.datagrams.sessions) != 1 {
		t.Errorf("%d sessions, want 1", len(r.datagrams.sessions))
	}
}

// On a socket for all addresses answers come from where the client has sent to, which is also what routes see.
func TestUDPLocal(t *testing.T) {
	if controlSize == 0 {
		t.Skip("this system does not tell")
	}
	addr, _ := udpEcho(t, "n")
	route := strings.Replace(to("", addr), "{", `{"server_addr":"127.0.0.3",`, 1)
	for _, address := range []string{"0.0.0.0:0", "[::]:0"} {
		r := newUDPRig(t, address, route)
		_, port, _ := net.SplitHostPort(r.addr)
		r.addr = "127.0.0.3:" + port
		// A connected socket hears nobody else.
		asks(t, r.dial(), "x", "n x")
	}
	six := newUDPRig(t, "[::]:0", strings.Replace(route, "127.0.0.3", "::1", 1))
	_, port, _ := net.SplitHostPort(six.addr)
	six.addr = "[::1]:" + port
	asks(t, six.dial(), "x", "n x")
}

func TestUDPClose(t *testing.T) {
	addr, _ := udpEcho(t, "n")
	r := newUDPRig(t, "127.0.0.1:0", to("", addr))
	asks(t, r.dial(), "x", "n x")
	if err := r.datagrams.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the session", func() bool { return r.proxy.Open() == 0 })
}

func BenchmarkUDP(b *testing.B) {
	addr, _ := udpEcho(b, "n")
	conn := newUDPRig(b, "127.0.0.1:0", to("", addr)).dial()
	_ = conn.SetDeadline(time.Time{})
	text, answer := []byte("ping"), make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = conn.Write(text)
		if _, err := conn.Read(answer); err != nil {
			b.Fatal(err)
		}
	}
}
