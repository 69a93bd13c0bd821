// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/andogate/ando/modules/stream"
)

// streamSocket is one address on which streams come in. It outlives configs: each leases it, and the newest lease says what
// becomes of a connection. When the last is gone it closes; what is established goes on.
type streamSocket struct {
	key    string
	newest atomic.Pointer[streamLease]
	// tcp or udp is what it listens with; stopped is closed when nothing comes in any more.
	tcp     *net.TCPListener
	udp     *stream.Datagrams
	stopped chan struct{}

	// leases belong to streamSockets.mu; the newest is the last.
	leases []*streamLease
}

// streamLease is one config's share in a socket.
type streamLease struct {
	socket *streamSocket
	proxy  *stream.Proxy
	// secure is for TLS that ends here; nil is none.
	secure *tls.Config
}

var streamSockets struct {
	mu    sync.Mutex
	byKey map[string]*streamSocket
}

// leaseStreams takes a share in every address of the config, or in none when one of them cannot be had.
func (a *App) leaseStreams(proxy *stream.Proxy) (release func(), err error) {
	var leases []*streamLease
	release = func() {
		for _, lease := range leases {
			lease.release()
		}
	}
	if a.Stream == nil {
		return release, nil
	}
	for network, listeners := range map[string][]StreamListener{"tcp": a.Stream.TCP, "udp": a.Stream.UDP} {
		for _, l := range listeners {
			lease := &streamLease{proxy: proxy}
			if l.TLS {
				lease.secure = a.streamTLS
			}
			if err := lease.open(network, l.Listen); err != nil {
				release()
				return nil, fmt.Errorf("stream: %s: %w", network, err)
			}
			leases = append(leases, lease)
		}
	}
	return release, nil
}

func (lease *streamLease) open(network, address string) error {
	ss := &streamSockets
	ss.mu.Lock()
	defer ss.mu.Unlock()
	key := network + "/" + address
	s := ss.byKey[key]
	if s == nil {
		s = &streamSocket{key: key, stopped: make(chan struct{})}
		if err := s.bind(network, address); err != nil {
			return err
		}
		if ss.byKey == nil {
			ss.byKey = map[string]*streamSocket{}
		}
		ss.byKey[key] = s
	}
	lease.socket = s
	s.leases = append(s.leases, lease)
	s.newest.Store(lease)
	if len(s.leases) == 1 {
		go s.serve()
	}
	return nil
}

// bind binds the address for this process alone.
func (s *streamSocket) bind(network, address string) error {
	if network == "udp" {
		pc, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		udp, ok := pc.(*net.UDPConn)
		if !ok {
			return errors.Join(fmt.Errorf("%s: %T instead of a UDP socket", address, pc), pc.Close())
		}
		s.udp = stream.NewDatagrams(udp)
		return nil
	}
	ln, err := bind(context.Background(), net.ListenConfig{}, address)
	if err != nil {
		return err
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return errors.Join(fmt.Errorf("%s: %T instead of a TCP listener", address, ln), ln.Close())
	}
	s.tcp = tcp
	return nil
}

// serve has what comes in until the socket closes.
func (s *streamSocket) serve() {
	defer close(s.stopped)
	if s.udp != nil {
		s.udp.Serve(func() *stream.Proxy { return s.newest.Load().proxy })
		return
	}
	for {
		conn, err := s.tcp.AcceptTCP()
		switch {
		case err == nil:
			s.newest.Load().serve(conn)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			// It is the system that has no room at present.
			time.Sleep(acceptPause)
		}
	}
}

func (lease *streamLease) serve(conn *net.TCPConn) { lease.proxy.Serve(conn, lease.secure) }

// release gives the lease up. Who has connected by then is served.
func (lease *streamLease) release() {
	ss := &streamSockets
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := lease.socket
	s.leases = slices.DeleteFunc(s.leases, func(other *streamLease) bool { return other == lease })
	if n := len(s.leases); n > 0 {
		s.newest.Store(s.leases[n-1])
		return
	}
	delete(ss.byKey, s.key)
	if s.udp != nil {
		_ = s.udp.Close()
		<-s.stopped
		return
	}
	waiting, _ := drainSocket(s.tcp)
	<-s.stopped
	for _, conn := range waiting {
		lease.serve(conn)
	}
}
