// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// How long a secret is used before it is asked for again, and how long a manager is left alone after a failure: the
// first time the one, then twice as long each time up to the other.
const (
	RefreshAfter  = 5 * time.Minute
	minRetryAfter = time.Second
	maxRetryAfter = time.Minute
)

// Resolver knows what references stand for. A secret that has been fetched is known until it is no longer asked for: a
// manager that is down later takes nothing away. It is safe for concurrent use; a nil Resolver knows the environment.
type Resolver struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	mu    sync.Mutex
	known map[string]*known
}

// known is what the resolver has of one reference; guarded by the resolver's mu.
type known struct {
	value string
	// fetched says that there is a value.
	fetched bool
	// revision is that of the manager's object when it was asked.
	revision uint64
	// due is when to ask again.
	due   time.Time
	retry time.Duration
}

// Value returns what a reference stands for, as far as that is known. It does not wait.
func (r *Resolver) Value(reference string) (value string, ok bool) {
	parsed, err := ParseReference(reference)
	if err != nil {
		return "", false
	}
	if parsed.Manager == "" {
		return parsed.environment()
	}
	if r == nil {
		return "", false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.known[reference]; k != nil && k.fetched {
		return k.value, true
	}
	return "", false
}

// Substitute returns a JSON document with what its references stand for in their places. unknown lists those that are
// not known; they stay as they are.
func (r *Resolver) Substitute(doc json.RawMessage) (resolved json.RawMessage, unknown []string) {
	resolved = eachReference(doc, func(text string) string {
		value, ok := r.Value(text)
		if !ok {
			unknown = append(unknown, text)
			return text
		}
		return value
	})
	return resolved, unknown
}

// ManagerOf finds the object that describes a secret manager, by its kind and id, with its revision.
type ManagerOf func(manager, id string) (settings json.RawMessage, revision uint64, ok bool)

// Due reports whether Refresh would ask for a reference: it has never been asked for, or long ago, or of a manager with
// other settings. References to the environment are never due.
func (r *Resolver) Due(reference string, managers ManagerOf) bool {
	parsed, err := ParseReference(reference)
	if err != nil || parsed.Manager == "" {
		return false
	}
	_, revision, _ := managers(parsed.Manager, parsed.ID)
	return r.due(reference, revision)
}

// Refresh asks for a reference if it is due. changed says that it stands for something else now. A failure leaves what
// was known, unless there is no such manager any more.
func (r *Resolver) Refresh(ctx context.Context, reference string, managers ManagerOf) (changed bool, err error) {
	parsed, err := ParseReference(reference)
	if err != nil || parsed.Manager == "" {
		return false, err
	}
	settings, revision, ok := managers(parsed.Manager, parsed.ID)
	if !r.due(reference, revision) {
		return false, nil
	}
	if !ok {
		changed = r.forget(reference)
		r.failed(reference, revision)
		return changed, fmt.Errorf("%s: there is no secret manager %s/%s", reference, parsed.Manager, parsed.ID)
	}
	value, err := fetch(ctx, parsed, settings)
	switch {
	case err == nil:
		return r.learn(reference, revision, value), nil
	case !errors.Is(ctx.Err(), context.Canceled):
		r.failed(reference, revision)
	}
	return false, fmt.Errorf("%s: %w", reference, err)
}

func (r *Resolver) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}

func (r *Resolver) entry(reference string) *known {
	if r.known == nil {
		r.known = make(map[string]*known)
	}
	if r.known[reference] == nil {
		r.known[reference] = &known{retry: minRetryAfter}
	}
	return r.known[reference]
}

func (r *Resolver) due(reference string, revision uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.known[reference]
	return k == nil || k.revision != revision || !r.now().Before(k.due)
}

func (r *Resolver) learn(reference string, revision uint64, value string) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.entry(reference)
	changed = !k.fetched || k.value != value
	*k = known{value: value, fetched: true, revision: revision, due: r.now().Add(RefreshAfter), retry: minRetryAfter}
	return changed
}

func (r *Resolver) failed(reference string, revision uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.entry(reference)
	k.revision, k.due = revision, r.now().Add(k.retry)
	k.retry = min(2*k.retry, maxRetryAfter)
}

func (r *Resolver) forget(reference string) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.known[reference]
	delete(r.known, reference)
	return k != nil && k.fetched
}

// Quiet reports that nothing is due that was asked for before, as far as the managers are the same.
func (r *Resolver) Quiet() bool {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range r.known {
		if !now.Before(k.due) {
			return false
		}
	}
	return true
}

// Retain forgets every reference for which used says no.
func (r *Resolver) Retain(used func(reference string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for reference := range r.known {
		if !used(reference) {
			delete(r.known, reference)
		}
	}
}
