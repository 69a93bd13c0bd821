// SPDX-License-Identifier: Apache-2.0

package table

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/secret"
)

// resolve puts what references stand for in their places. value is what raw was decoded to. A config with unknown
// references is left as it is. The error does not show what has been resolved.
func (compiler *Compiler) resolve(raw json.RawMessage, value any, rules *schema.Schema) (resolved any, unknown []string, err error) {
	if !secret.MayRefer(raw) {
		return value, nil, nil
	}
	text, unknown := compiler.Secrets.Substitute(raw)
	if len(unknown) > 0 {
		return value, unknown, nil
	}
	resolved, err = schema.Decode(text)
	if err != nil || rules.Validate(resolved) != nil {
		return nil, nil, errors.New("what its references stand for does not satisfy the schema")
	}
	return resolved, nil, nil
}

// unresolved is why an object cannot be served.
func unresolved(references []string) string {
	return "references that cannot be resolved: " + strings.Join(references, ", ")
}

// Referring yields the objects with references to secrets that are kept elsewhere, in key order.
func (t *Table) Referring() iter.Seq[gateway.Object] {
	return func(yield func(gateway.Object) bool) {
		t.referring.each(func(o *gateway.Object) bool { return yield(*o) })
	}
}

// Secrets keeps the references in a gateway's objects resolved: it asks the secret managers, and has objects compiled
// again for which a reference stands for something else than before. What cannot be resolved is closed: a plugin config
// answers 503 and a credential lets nobody in.
type Secrets struct {
	Gateway  *gateway.Gateway
	Resolver *secret.Resolver
	// Log returns the logger of the newest Caddy config.
	Log func() *zap.Logger

	// mu makes one pass at a time; it guards cache.
	mu    sync.Mutex
	cache map[string]objectReferences
	// passed is the table of the last pass; guarded by mu.
	passed *Table
}

type objectReferences struct {
	modified   uint64
	references []string
}

// passEvery is how often Run looks at what is due; parallel is how many managers are asked at once.
const (
	passEvery = time.Second
	parallel  = 8
)

// Run passes until ctx ends.
func (s *Secrets) Run(ctx context.Context) {
	tick := time.NewTicker(passEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.Pass(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// Pass asks for every reference that is due and returns when the objects that have changed by it are served. Failures are
// logged.
func (s *Secrets) Pass(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	current, ok := s.Gateway.Table().(*Table)
	if !ok || current.referring == nil && s.cache == nil || current == s.passed && s.Resolver.Quiet() {
		return
	}
	uses := s.uses(current)
	changed := s.refresh(ctx, current, uses)
	stale := make(map[string]gateway.Object)
	for _, reference := range changed {
		for _, o := range uses[reference] {
			stale[o.Key()] = o
		}
	}
	objects := make([]gateway.Object, 0, len(stale))
	for _, o := range stale {
		objects = append(objects, o)
	}
	if err := s.Gateway.Recompile(ctx, objects...); err != nil && ctx.Err() == nil {
		s.Log().Error("objects whose secrets have changed cannot be compiled", zap.Error(err))
	}
	s.Resolver.Retain(func(reference string) bool { return len(uses[reference]) > 0 })
	s.passed = current
}

// uses says which objects have which references.
func (s *Secrets) uses(t *Table) map[string][]gateway.Object {
	uses := make(map[string][]gateway.Object)
	cache := make(map[string]objectReferences, len(s.cache))
	for o := range t.Referring() {
		known, ok := s.cache[o.Key()]
		if !ok || known.modified != o.Modified || o.Modified == 0 {
			known = objectReferences{o.Modified, secret.References(o.Value)}
		}
		cache[o.Key()] = known
		for _, reference := range known.references {
			uses[reference] = append(uses[reference], o)
		}
	}
	if s.cache = cache; len(cache) == 0 {
		s.cache = nil
	}
	return uses
}

// refresh returns the references that stand for something else now.
func (s *Secrets) refresh(ctx context.Context, t *Table, uses map[string][]gateway.Object) (changed []string) {
	var mu sync.Mutex
	var asking sync.WaitGroup
	slots := make(chan struct{}, parallel)
	managers := managersIn(t)
	for reference := range uses {
		if !s.Resolver.Due(reference, managers) {
			continue
		}
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			news, err := s.Resolver.Refresh(ctx, reference, managers)
			if err != nil && ctx.Err() == nil {
				s.Log().Error("secret cannot be resolved", zap.Error(err))
			}
			if news {
				mu.Lock()
				defer mu.Unlock()
				changed = append(changed, reference)
			}
		})
	}
	asking.Wait()
	return changed
}

func managersIn(t gateway.Table) secret.ManagerOf {
	return func(manager, id string) (json.RawMessage, uint64, bool) {
		o, ok := t.Object(gateway.Secrets, manager+"/"+id)
		if !ok {
			return nil, 0, false
		}
		return o.Value, o.Modified, true
	}
}

// Prefetch asks for the references in a document that is about to be written, so that it is compiled with them. Failures
// are left to the next pass.
func (s *Secrets) Prefetch(ctx context.Context, doc json.RawMessage) {
	if !secret.MayRefer(doc) {
		return
	}
	managers := managersIn(s.Gateway.Table())
	var asking sync.WaitGroup
	for _, reference := range secret.References(doc) {
		asking.Go(func() { _, _ = s.Resolver.Refresh(ctx, reference, managers) })
	}
	asking.Wait()
}
