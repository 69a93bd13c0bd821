// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/andogate/ando/admin/standalone"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/nethttp"
)

// running is a gateway with its store open, and what serves it. There is one for each store in use, whatever the number
// of configs that come and go; it is closed when the last of them leaves.
type running struct {
	key     string
	gateway *gateway.Gateway
	server  *nethttp.Server
	// document is what the store's objects come from, or nil when they are written one by one.
	document *standalone.State
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
	server := nethttp.New(nethttp.Config{Gateway: g, ClientAddr: clientAddr})
	return &running{key: store.StoreKey(), gateway: g, server: server, document: newDocument(store)}, faults, nil
}

// leave gives up one join.
func (r *running) leave() error {
	_, err := gateways.Delete(r.key)
	return err
}

// Destruct closes the store. The pool calls it when the last user has left.
func (r *running) Destruct() error { return r.gateway.Close() }
