// SPDX-License-Identifier: Apache-2.0

package oasvalidator

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"golang.org/x/net/http/httpguts"

	"github.com/andogate/ando/modules/outbound"
)

// shared holds what equal configs have in common as long as one of them is in use.
type shared[V any] struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]weak.Pointer[V]
}

// get returns what is there for key, or else what build makes.
func (s *shared[V]) get(key []byte, build func() (*V, error)) (*V, error) {
	sum := sha256.Sum256(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.known[sum].Value(); v != nil {
		return v, nil
	}
	v, err := build()
	if err != nil {
		return nil, err
	}
	for old, pointer := range s.known {
		if pointer.Value() == nil {
			delete(s.known, old)
		}
	}
	if s.known == nil {
		s.known = map[[sha256.Size]byte]weak.Pointer[V]{}
	}
	s.known[sum] = weak.Make(v)
	return v, nil
}

var (
	documents shared[document]
	sources   shared[source]
)

// inlineDocument compiles the text of a config.
func inlineDocument(text string) (*document, error) {
	if err := json.Unmarshal([]byte(text), new(any)); err != nil {
		return nil, fmt.Errorf("invalid JSON string provided, err: %w", err)
	}
	return documents.get([]byte(text), func() (*document, error) {
		d, err := compileDocument([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("failed to compile openapi spec, err: %w", err)
		}
		return d, nil
	})
}

const (
	// maxSpec bounds a description that is fetched.
	maxSpec = 16 << 20
	// retryAfter is how long the outcome of a failed fetch holds, so that not every request tries again.
	retryAfter = 10 * time.Second
)

// errUnknown says that a description has not been fetched yet.
var errUnknown = errors.New("the description is not known yet")

// source is a description that is fetched: once for all configs that say so in the same way. One that is too old is used until
// its successor is there. It is safe for concurrent use.
type source struct {
	url    string
	fields map[string]string
	client *http.Client
	// shown is the URL without what might be secret in it.
	shown string

	latest atomic.Pointer[outcome]
	mu     sync.Mutex
	// fetching is closed when the fetch that is under way has ended; nil is none. Guarded by mu.
	fetching chan struct{}
}

// outcome is what became of a fetch. It is immutable. A document may come with the error of a later fetch.
type outcome struct {
	document *document
	err      error
	at       time.Time
}

// due reports whether it is time to fetch again.
func (o *outcome) due(ttl time.Duration) bool {
	age := time.Since(o.at)
	return age >= ttl || o.err != nil && age >= retryAfter
}

func sourceFor(address string, fields map[string]string, verify bool, timeout time.Duration) (*source, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Host == "" {
		return nil, fmt.Errorf("property \"spec_url\" validation failed: %q is not an http or https URL", address)
	}
	for name, value := range fields {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("property \"spec_url_request_headers\" validation failed: no header field can hold %q", name)
		}
	}
	client, err := outbound.Client(outbound.Options{SkipVerify: !verify, Timeout: timeout})
	if err != nil {
		return nil, fmt.Errorf("oas-validator: %w", err)
	}
	key, err := json.Marshal([]any{address, fields, verify, timeout})
	if err != nil {
		return nil, fmt.Errorf("oas-validator: %w", err)
	}
	return sources.get(key, func() (*source, error) {
		shown := url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path}
		return &source{url: address, fields: fields, client: client, shown: shown.String()}, nil
	})
}

// get returns the description without waiting. It has a new one fetched when this one is older than ttl.
func (s *source) get(ttl time.Duration) (*document, error) {
	o := s.latest.Load()
	switch {
	case o == nil:
		return nil, errUnknown
	case !o.due(ttl):
	case o.document == nil:
		return nil, errUnknown
	default:
		s.begin(o)
	}
	if o.document == nil {
		return nil, o.err
	}
	return o.document, nil
}

// await waits until a fetch has ended, and begins it if need be. Who calls it has been told that the description is unknown.
func (s *source) await(ctx context.Context) {
	select {
	case <-s.begin(s.latest.Load()):
	case <-ctx.Done():
	}
}

// begin returns what is closed when the fetch that follows prior has ended.
func (s *source) begin(prior *outcome) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetching != nil {
		return s.fetching
	}
	done := make(chan struct{})
	if s.latest.Load() != prior {
		close(done)
		return done
	}
	s.fetching = done
	go func() {
		o := &outcome{}
		o.document, o.err = s.fetch()
		if o.document == nil && prior != nil {
			o.document = prior.document
		}
		o.at = time.Now()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.latest.Store(o)
		s.fetching = nil
		close(done)
	}()
	return done
}

// fetch belongs to no request: whoever waits for it may go.
func (s *source) fetch() (*document, error) {
	r, err := http.NewRequest(http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	for name, value := range s.fields {
		if http.CanonicalHeaderKey(name) == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
	answer, err := s.client.Do(r)
	if err != nil {
		// What net/http says begins with the URL, and there may be a password in that.
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, fmt.Errorf("failed to fetch spec from URL: %w", err)
	}
	text, err := outbound.ReadAll(answer, maxSpec)
	switch {
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("spec URL returned status %d", answer.StatusCode)
	case err != nil:
		return nil, fmt.Errorf("failed to fetch spec from URL: %w", err)
	}
	d, err := compileDocument(text)
	if err != nil {
		return nil, fmt.Errorf("failed to compile openapi spec fetched from URL: %w", err)
	}
	return d, nil
}
