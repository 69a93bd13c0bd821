// SPDX-License-Identifier: Apache-2.0

package openidconnect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// provider is what is known of one OpenID provider. Configs that reach it in the same way share it, so that a config that
// is compiled again knows what the one before did; it goes with the last of them.
type provider struct {
	calls     caller
	discovery string
	metadata  remote[metadata]
	keys      remote[keySet]
}

// metadata is the part of a discovery document (OpenID Connect Discovery 1.0 section 3) that is used. It is immutable.
type metadata struct {
	Issuer           string   `json:"issuer"`
	Authorization    string   `json:"authorization_endpoint"`
	Token            string   `json:"token_endpoint"`
	Userinfo         string   `json:"userinfo_endpoint"`
	JWKS             string   `json:"jwks_uri"`
	Introspection    string   `json:"introspection_endpoint"`
	Revocation       string   `json:"revocation_endpoint"`
	EndSession       string   `json:"end_session_endpoint"`
	PAR              string   `json:"pushed_authorization_request_endpoint"`
	IDTokenAlgs      []string `json:"id_token_signing_alg_values_supported"`
	TokenAuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs    []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	DPoPAlgs         []string `json:"dpop_signing_alg_values_supported"`
}

type providerKey struct {
	calls     caller
	discovery string
}

var providers = struct {
	sync.Mutex
	known map[providerKey]weak.Pointer[provider]
}{known: make(map[providerKey]weak.Pointer[provider])}

// providerOf returns the provider whose discovery document is at an address.
func providerOf(calls caller, discovery string) *provider {
	key := providerKey{calls, discovery}
	providers.Lock()
	defer providers.Unlock()
	if known := providers.known[key].Value(); known != nil {
		return known
	}
	for old, pointer := range providers.known {
		if pointer.Value() == nil {
			delete(providers.known, old)
		}
	}
	p := &provider{calls: calls, discovery: discovery}
	p.metadata.fetch = p.discover
	p.keys.fetch = p.fetchKeys
	providers.known[key] = weak.Make(p)
	return p
}

// metadataLife is how long a discovery document counts: a day, as in APISIX.
const metadataLife = 24 * time.Hour

// describe returns the provider's metadata. Without a context it does not wait.
func (p *provider) describe(ctx context.Context, now time.Time) (*metadata, error) {
	m, err := p.metadata.get(ctx, now, metadataLife)
	if err != nil && !errors.Is(err, errWait) {
		return nil, fmt.Errorf("accessing discovery url failed: %w", err)
	}
	return m, err
}

func (p *provider) discover(ctx context.Context) (*metadata, error) {
	text, err := p.calls.get(ctx, p.discovery)
	if err != nil {
		return nil, err
	}
	m := new(metadata)
	if err := json.Unmarshal(text, m); err != nil {
		return nil, errors.New("could not decode JSON from Discovery data")
	}
	if m.Issuer == "" {
		return nil, errors.New("the discovery document names no issuer")
	}
	return m, nil
}

// remote is something that is kept elsewhere, with its last good version. It is fetched by one caller at a time. It is safe
// for concurrent use.
type remote[T any] struct {
	fetch func(context.Context) (*T, error)
	last  atomic.Pointer[version[T]]

	mu sync.Mutex
	// flight is nil when nobody fetches.
	flight *flight[T]
	// spare is how many fetches may still be made out of turn, as of refilled.
	spare    int
	refilled time.Time
}

// version is one that was fetched. It is immutable.
type version[T any] struct {
	value *T
	// since is when it was fetched, retry when it may be tried to have a newer one.
	since, retry time.Time
}

// flight is one fetch that others may wait for.
type flight[T any] struct {
	done  chan struct{}
	value *T
	err   error
}

const (
	// retryAfter is how long a version that is too old is used without asking, after asking has failed.
	retryAfter = 10 * time.Second
	// maxSpare is how many fetches may be made out of turn at once; one more may be made every spareEvery.
	maxSpare   = 4
	spareEvery = 10 * time.Second
)

// get returns a version that is younger than life. When none can be had, an older one will do; when there is one, only one
// caller waits for a newer. Without a context get returns errWait instead of waiting.
func (r *remote[T]) get(ctx context.Context, now time.Time, life time.Duration) (*T, error) {
	last := r.last.Load()
	if last != nil && (now.Before(last.since.Add(life)) || now.Before(last.retry)) {
		return last.value, nil
	}
	if ctx == nil {
		return nil, errWait
	}
	f, leads := r.board()
	if !leads && last != nil {
		return last.value, nil
	}
	if leads {
		go r.fly(f, now)
	}
	return f.wait(ctx, last)
}

// renew fetches a newer version than old, unless that has been done, or has been done too often: then the newest there is
// is returned.
func (r *remote[T]) renew(ctx context.Context, now time.Time, old *T) (*T, error) {
	last := r.last.Load()
	if last != nil && last.value != old {
		return last.value, nil
	}
	if ctx == nil {
		return nil, errWait
	}
	if !r.spend(now) {
		return old, nil
	}
	f, leads := r.board()
	if leads {
		go r.fly(f, now)
	}
	return f.wait(ctx, last)
}

// spend takes a fetch out of turn, if there is one left.
func (r *remote[T]) spend(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refilled.IsZero() {
		r.spare, r.refilled = maxSpare, now
	}
	if n := int(now.Sub(r.refilled) / spareEvery); n > 0 {
		r.spare, r.refilled = min(maxSpare, r.spare+n), now
	}
	if r.spare == 0 {
		return false
	}
	r.spare--
	return true
}

// board returns the fetch under way, and whether it is the caller's to begin.
func (r *remote[T]) board() (f *flight[T], leads bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flight != nil {
		return r.flight, false
	}
	r.flight = &flight[T]{done: make(chan struct{})}
	return r.flight, true
}

// fly fetches for everybody who waits: not with the context of one of them, who may leave. The call has its own timeout.
func (r *remote[T]) fly(f *flight[T], now time.Time) {
	f.value, f.err = r.fetch(context.Background())
	last := r.last.Load()
	switch {
	case f.err == nil:
		r.last.Store(&version[T]{value: f.value, since: now})
	case last != nil:
		r.last.Store(&version[T]{value: last.value, since: last.since, retry: now.Add(retryAfter)})
	}
	r.mu.Lock()
	r.flight = nil
	r.mu.Unlock()
	close(f.done)
}

// wait returns what was fetched or, when that failed, the last version, if there is one.
func (f *flight[T]) wait(ctx context.Context, last *version[T]) (*T, error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.err != nil && last != nil {
		return last.value, nil
	}
	return f.value, f.err
}

// newest returns the last version, however old; nil is none.
func (r *remote[T]) newest() *T {
	if last := r.last.Load(); last != nil {
		return last.value
	}
	return nil
}
