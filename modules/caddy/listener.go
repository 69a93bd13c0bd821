// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// adminListener is one address that the Admin API listens on. It outlives configs: each leases it, the newest lease says
// who answers, and when the last is gone it finishes what it is doing and closes.
type adminListener struct {
	address string
	ln      net.Listener
	server  *http.Server
	handler atomic.Pointer[http.Handler]

	// leases belong to adminListeners.mu; the newest is the last.
	leases []*adminLease
}

var adminListeners struct {
	mu        sync.Mutex
	byAddress map[string]*adminListener
}

// adminLease is one config's share in a listener.
type adminLease struct {
	listener *adminListener
	handler  http.Handler
}

// drainTime bounds how long requests are waited for on an address that is given up.
const drainTime = 10 * time.Second

// leaseAdmin makes handler answer on the address until the lease is released. Configs that spell the address alike share
// one listener.
func leaseAdmin(address string, handler http.Handler) (*adminLease, net.Addr, error) {
	ls := &adminListeners
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.byAddress[address]
	if l == nil {
		var err error
		if l, err = openAdmin(address); err != nil {
			return nil, nil, err
		}
		if ls.byAddress == nil {
			ls.byAddress = map[string]*adminListener{}
		}
		ls.byAddress[address] = l
	}
	lease := &adminLease{l, handler}
	l.leases = append(l.leases, lease)
	l.handler.Store(&handler)
	if len(l.leases) == 1 {
		go l.serve()
	}
	return lease, l.ln.Addr(), nil
}

// openAdmin binds the address for this process alone: Caddy's own listeners can be shared among processes, but a write
// that goes to one gateway or another by chance is lost.
func openAdmin(address string) (*adminListener, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	l := &adminListener{address: address, ln: ln}
	l.server = &http.Server{
		Handler:           http.HandlerFunc(l.serveHTTP),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          zap.NewStdLog(caddy.Log().Named("ando.admin")),
	}
	return l, nil
}

func (l *adminListener) serveHTTP(w http.ResponseWriter, r *http.Request) {
	(*l.handler.Load()).ServeHTTP(w, r)
}

func (l *adminListener) serve() {
	if err := l.server.Serve(l.ln); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		newestLog().Error("a listener for the APIs failed", zap.String("address", l.address), zap.Error(err))
	}
}

// release gives the lease up. The newest other config answers from here on; when there is none, release waits until the
// requests under way are answered.
func (lease *adminLease) release() {
	if lease == nil {
		return
	}
	if l := lease.listener; l.drop(lease) {
		drain(l.server)
	}
}

// drain lets requests under way finish, for a bounded time, and then closes everything.
func drain(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		_ = server.Close()
	}
}

// drop reports whether the lease was the last one. The address is free when it returns.
func (l *adminListener) drop(lease *adminLease) (last bool) {
	ls := &adminListeners
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.leases = slices.DeleteFunc(l.leases, func(other *adminLease) bool { return other == lease })
	if len(l.leases) > 0 {
		l.handler.Store(&l.leases[len(l.leases)-1].handler)
		return false
	}
	delete(ls.byAddress, l.address)
	_ = l.ln.Close()
	return true
}
