// SPDX-License-Identifier: Apache-2.0

package health

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startKnocker returns a knocker, and what has it make a knock and waits for the answer.
func startKnocker(t *testing.T) (*knocker, func(to netip.AddrPort, timeout time.Duration) error) {
	t.Helper()
	k := newKnocker()
	if k == nil {
		t.Fatal("no knocker")
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.run()
	}()
	t.Cleanup(func() {
		k.close()
		<-ended
	})
	return k, func(to netip.AddrPort, timeout time.Duration) error {
		t.Helper()
		answer := make(chan error, 1)
		k.add(&knock{to: to, deadline: time.Now().Add(timeout), doubt: true, done: func(err error) { answer <- err }})
		select {
		case err := <-answer:
			return err
		case <-time.After(patience):
			t.Fatal("no answer")
			return nil
		}
	}
}

func TestKnock(t *testing.T) {
	_, ask := startKnocker(t)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Log("skipped: ", err)
			continue
		}
		to := ln.Addr().(*net.TCPAddr).AddrPort()
		if err := ask(to, patience); err != nil {
			t.Errorf("%s: %v", address, err)
		}
		// The node sees that it was only a probe: its connection is reset.
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("%s: the node reads %v", address, err)
		}
		conn.Close()
		ln.Close()
		if err := ask(to, patience); err == nil || err.Error() != "dial tcp "+to.String()+": connect: connection refused" {
			t.Errorf("%s: nobody there: %v", address, err)
		}
	}
}

// TestKnockWaits: nodes that do not answer are given up in time, and others do not wait for them. A full backlog is a node
// that does not.
func TestKnockWaits(t *testing.T) {
	fd, full := fullBacklog(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	k, ask := startKnocker(t)
	answers := make(chan error, 1)
	held := make(chan error, 1)
	k.add(&knock{to: full, deadline: time.Now().Add(200 * time.Millisecond), done: func(err error) { answers <- err }})
	k.add(&knock{to: full, deadline: time.Now().Add(time.Hour), done: func(err error) { held <- err }})
	for range 3 {
		if err := ask(ln.Addr().(*net.TCPAddr).AddrPort(), patience); err != nil {
			t.Error(err)
		}
	}
	select {
	case err := <-answers:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v, want a deadline exceeded", err)
		}
	case <-time.After(patience):
		t.Fatal("never given up")
	}
	// Room in the backlog lets in who still waits.
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			conn, _, err := unix.Accept(fd)
			if err != nil {
				return
			}
			_ = unix.Close(conn)
		}
	}()
	select {
	case err := <-held:
		if err != nil {
			t.Errorf("got %v after the node had room", err)
		}
	case <-time.After(patience):
		t.Error("the node has room, and nobody noticed")
	}
	_ = unix.Shutdown(fd, unix.SHUT_RDWR)
	<-accepting
}

// fullBacklog returns a listening socket to which no connection comes through until somebody accepts, and its address.
func fullBacklog(t *testing.T) (fd int, at netip.AddrPort) {
	t.Helper()
	socket := func(flags int) int {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	fd = socket(0)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	to, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	var clients []unix.PollFd
	for range 4 {
		client := socket(unix.SOCK_NONBLOCK)
		if err := unix.Connect(client, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
			t.Fatal(err)
		}
		clients = append(clients, unix.PollFd{Fd: int32(client), Events: unix.POLLOUT})
	}
	// With the first that has come through there is no more room.
	for {
		n, err := unix.Poll(clients, int(patience/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			t.Fatal("no connection came through: ", err)
		}
		break
	}
	return fd, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(to.(*unix.SockaddrInet4).Port))
}

// TestKnockRefusesNonsense: what cannot even be tried is a failure that says so.
func TestKnockRefusesNonsense(t *testing.T) {
	_, ask := startKnocker(t)
	if err := ask(netip.MustParseAddrPort("0.0.0.0:0"), patience); err == nil || !strings.HasPrefix(err.Error(), "dial tcp 0.0.0.0:0: connect: ") {
		t.Errorf("got %v", err)
	}
}

// BenchmarkBareConnection is what the kernel takes for one connection to another process of this machine, and that for its
// side of it too: the floor under tcp probes, as a share of one processor at a thousand a second.
func BenchmarkBareConnection(b *testing.B) {
	to := &unix.SockaddrInet4{Port: startProbed(b), Addr: [4]byte{127, 0, 0, 1}}
	linger := &unix.Linger{Onoff: 1}
	used := cpuTime()
	for b.Loop() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err != nil {
			b.Fatal(err)
		}
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, linger)
		if err := unix.Connect(fd, to); err != nil {
			b.Fatal(err)
		}
		_ = unix.Close(fd)
	}
	b.ReportMetric(100*1000*(cpuTime()-used).Seconds()/float64(b.N), "%core@1000/s")
}
