// SPDX-License-Identifier: Apache-2.0

package table

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/upstream"
	"github.com/andogate/ando/modules/upstream/discovery"
)

// discoverer is an object whose upstreams have nodes that are found out, with the versions of what it was compiled with. It
// is immutable.
type discoverer struct {
	object *gateway.Object
	asked  map[discovery.Query]uint64
}

// discover returns the nodes that an upstream of an object is compiled with, and notes that it asked for them.
func (b *builder) discover(o *gateway.Object, q discovery.Query) ([]discovery.Node, error) {
	nodes, version, err := b.t.compiler.Discovery.Lookup(q)
	if unknown := new(discovery.UnknownTypeError); errors.As(err, &unknown) {
		return nil, err
	}
	noted := discoverer{o, map[discovery.Query]uint64{}}
	if before := b.t.discovering.get(o.Key()); before != nil {
		maps.Copy(noted.asked, before.asked)
	}
	noted.asked[q] = version
	b.t.discovering = b.t.discovering.with(o.Key(), &noted)
	return nodes, err
}

// discovers reports whether the version before of an object had nodes that are found out.
func (b *builder) discovers(key string) bool {
	return b.prior != nil && b.prior.discovering.get(key) != nil
}

// Discovery keeps the nodes of a gateway's upstreams those that names and registries stand for: it says to the pool what is
// in use, and has objects compiled again for which the answer has changed. No request waits for it, and what nobody can
// tell any more stays as it was told last.
type Discovery struct {
	Gateway *gateway.Gateway
	Pool    *discovery.Pool
	// Log returns the logger of the newest Caddy config.
	Log func() *zap.Logger

	// followed is what discovers in the table of the last Follow. It belongs to the committer.
	followed *tree[discoverer]
}

// Follow watches what the table asks for, and nothing else: it is for gateway.Gateway.OnTable.
func (d *Discovery) Follow(t gateway.Table) {
	current, ok := t.(*Table)
	if !ok || current.discovering == d.followed {
		return
	}
	d.followed = current.discovering
	used := make(map[discovery.Query]bool)
	d.followed.each(func(object *discoverer) bool {
		for q := range object.asked {
			used[q] = true
		}
		return true
	})
	// What has changed since the table was compiled is noticed by the pass that this brings about.
	d.Pool.Retain(used)
}

// Settle waits until what the table asks for has been answered for the first time, or until ctx ends, and then passes.
func (d *Discovery) Settle(ctx context.Context) {
	// A service may have names as nodes, which are then asked for too.
	for range 2 {
		current, ok := d.Gateway.Table().(*Table)
		if !ok {
			return
		}
		var queries []discovery.Query
		current.discovering.each(func(object *discoverer) bool {
			for q := range object.asked {
				queries = append(queries, q)
			}
			return true
		})
		d.Pool.Prefetch(ctx, queries...)
		d.Pass(context.WithoutCancel(ctx))
	}
}

// Run passes whenever something has changed, until ctx ends.
func (d *Discovery) Run(ctx context.Context) {
	for {
		select {
		case <-d.Pool.Changed():
			d.Pass(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// Pass returns when the objects are served for which there is another answer than they were compiled with.
func (d *Discovery) Pass(ctx context.Context) {
	current, ok := d.Gateway.Table().(*Table)
	if !ok {
		return
	}
	var stale []gateway.Object
	current.discovering.each(func(object *discoverer) bool {
		for q, version := range object.asked {
			if _, now, _ := d.Pool.Lookup(q); now != version {
				stale = append(stale, *object.object)
				break
			}
		}
		return true
	})
	if err := d.Gateway.Recompile(ctx, stale...); err != nil && ctx.Err() == nil {
		d.Log().Error("objects whose nodes have changed cannot be compiled", zap.Error(err))
	}
}

// prefetchFor bounds how long a write waits for registries and name servers.
const prefetchFor = 3 * time.Second

// Prefetch asks for what a document that is about to be written refers to, so that it is compiled with that. Failures are
// left to the next pass.
func (d *Discovery) Prefetch(ctx context.Context, docs ...json.RawMessage) {
	var queries []discovery.Query
	for _, doc := range docs {
		queries = append(queries, upstream.Queries(doc)...)
		eachInside(doc, func(inside json.RawMessage) { queries = append(queries, upstream.Queries(inside)...) })
	}
	if len(queries) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, prefetchFor)
	defer cancel()
	d.Pool.Prefetch(ctx, queries...)
}

// eachInside calls visit with each member "upstream" of a document, its own and those of plugin configs.
func eachInside(doc json.RawMessage, visit func(json.RawMessage)) {
	if !bytes.Contains(doc, []byte(`"upstream"`)) {
		return
	}
	var members map[string]json.RawMessage
	var items []json.RawMessage
	if json.Unmarshal(doc, &members) != nil && json.Unmarshal(doc, &items) != nil {
		return
	}
	for name, value := range members {
		if name == "upstream" {
			visit(value)
		}
		eachInside(value, visit)
	}
	for _, item := range items {
		eachInside(item, visit)
	}
}
