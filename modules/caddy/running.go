// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/andogate/ando/admin/standalone"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/nethttp"
	"github.com/andogate/ando/modules/secret"
	"github.com/andogate/ando/modules/stream"
	"github.com/andogate/ando/modules/table"
	"github.com/andogate/ando/modules/upstream/health"
)

// running is a gateway with its store open, and what serves it. There is one for each store in use, whatever the number
// of configs that come and go; it is closed when the last of them leaves.
type running struct {
	key     string
	gateway *gateway.Gateway
	server  *nethttp.Server
	// health checks the nodes of the upstreams in the gateway's table.
	health *health.Pool
	// streams carries the connections of stream routes. When it ends they may go on for so many nanoseconds as grace has.
	streams *stream.Proxy
	grace   atomic.Int64
	// document is what the store's objects come from, or nil when they are written one by one.
	document *standalone.State
	// secrets keeps what the objects refer to resolved, until rest is called.
	secrets *table.Secrets
	// discovery keeps the upstreams' nodes those that names and registries stand for, until rest is called.
	discovery *table.Discovery
	rest      func()
	// certifier has Caddy manage certificates for the hosts of the gateway's routes.
	certifier *certifier
}

var gateways = caddy.NewUsagePool()

// join makes gen current on the gateway of the store, which is opened when it is not. The caller calls detach and then
// leave, once each.
func join(store Store, gen *gateway.Generation) (r *running, detach func(), faults []error, err error) {
	key := store.StoreKey()
	value, loaded, err := gateways.LoadOrNew(key, func() (_ caddy.Destructor, err error) {
		r, faults, err = open(store, gen)
		return r, err
	})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("store: %w", err)
	}
	r = value.(*running)
	if !loaded {
		return r, func() { r.gateway.Detach(gen) }, faults, nil
	}
	detach, faults, err = r.gateway.Attach(gen)
	if err != nil {
		_ = r.leave()
		return nil, nil, nil, err
	}
	return r, detach, faults, nil
}

func open(store Store, gen *gateway.Generation) (*running, []error, error) {
	opened, err := store.OpenStore()
	if err != nil {
		return nil, nil, err
	}
	g, faults, err := gateway.Open(context.Background(), opened, gen)
	if err != nil {
		return nil, nil, err
	}
	r := &running{
		key: store.StoreKey(), gateway: g, document: newDocument(store),
		server:    nethttp.New(nethttp.Config{Gateway: g, ClientAddr: clientAddr, Ended: summarize}),
		health:    health.NewPool(newestLog),
		streams:   stream.New(g, newestLog),
		secrets:   &table.Secrets{Gateway: g, Resolver: resolverOf(store), Log: newestLog},
		discovery: &table.Discovery{Gateway: g, Pool: nodesOf(store), Log: newestLog},
	}
	g.AnswerSubrequests(r.server.Subrequest)
	if err := g.OnTable(r.health.Follow); err != nil {
		r.health.Close()
		return nil, nil, errors.Join(err, g.Close())
	}
	r.certifier = newCertifier(g)
	if err := g.OnTable(r.certifier.follow); err != nil {
		r.certifier.end()
		r.health.Close()
		return nil, nil, errors.Join(err, g.Close())
	}
	if err := g.OnTable(r.discovery.Follow); err != nil {
		r.certifier.end()
		r.health.Close()
		return nil, nil, errors.Join(err, g.Close())
	}
	r.resolve()
	return r, faults, nil
}

// askedAtStart bounds how long a start waits for secret managers, registries and name servers. What they have not told by
// then answers 503 until they do.
const askedAtStart = 5 * time.Second

// resolve asks for what the objects refer to, and goes on asking until rest.
func (r *running) resolve() {
	first, cancel := context.WithTimeout(context.Background(), askedAtStart)
	defer cancel()
	var asking sync.WaitGroup
	asking.Go(func() { r.secrets.Pass(first) })
	asking.Go(func() { r.discovery.Settle(first) })
	asking.Wait()
	ctx, stop := context.WithCancel(context.Background())
	var passing sync.WaitGroup
	passing.Go(func() { r.secrets.Run(ctx) })
	passing.Go(func() { r.discovery.Run(ctx) })
	r.rest = func() {
		stop()
		passing.Wait()
	}
}

// resolvers has the resolver of each store that was ever opened, by its key: a config is compiled before it is known
// whether the store is open.
var resolvers sync.Map

func resolverOf(store Store) *secret.Resolver {
	r, _ := resolvers.LoadOrStore(store.StoreKey(), new(secret.Resolver))
	return r.(*secret.Resolver)
}

// leave gives up one join.
func (r *running) leave() error {
	_, err := gateways.Delete(r.key)
	return err
}

// Destruct closes the store. The pool calls it when the last user has left.
func (r *running) Destruct() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.grace.Load()))
	r.streams.Close(ctx)
	cancel()
	r.certifier.end()
	r.rest()
	r.discovery.Pool.Close()
	defer r.health.Close()
	return r.gateway.Close()
}
