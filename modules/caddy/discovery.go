// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/table"
	"github.com/andogate/ando/modules/upstream/discovery"
)

// pools has the discovery of each store that was ever opened, by its key: a config is compiled before it is known whether
// the store is open, and what is known of nodes outlives configs.
var pools sync.Map

func nodesOf(store Store) *discovery.Pool {
	p, _ := pools.LoadOrStore(store.StoreKey(), discovery.NewPool(newestLog))
	return p.(*discovery.Pool)
}

func (a *App) provisionDiscovery() (err error) {
	a.discovery, err = discovery.Parse(a.Discovery)
	return err
}

// discover makes the config's registries the ones that are asked, until release is called. Nodes that the config's own
// objects need are asked for before these are served.
func (a *App) discover(objects []gateway.Object) (release func()) {
	pool := nodesOf(a.store)
	release = pool.Use(a.discovery)
	docs := make([]json.RawMessage, len(objects))
	for i, o := range objects {
		docs[i] = o.Value
	}
	(&table.Discovery{Pool: pool}).Prefetch(context.Background(), docs...)
	return release
}

// fetching asks for all that a document which is about to be written refers to outside of the gateway.
type fetching struct{ *running }

// Prefetch implements admin.Secrets.
func (f fetching) Prefetch(ctx context.Context, doc json.RawMessage) {
	var asking sync.WaitGroup
	asking.Go(func() { f.secrets.Prefetch(ctx, doc) })
	asking.Go(func() { f.discovery.Prefetch(ctx, doc) })
	asking.Wait()
}

// Pass implements admin.Secrets.
func (f fetching) Pass(ctx context.Context) { f.secrets.Pass(ctx) }
