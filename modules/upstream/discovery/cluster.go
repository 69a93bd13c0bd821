// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// cluster is one Kubernetes cluster. All who watch a service of it share a run. It is safe for concurrent use.
type cluster struct {
	settings *kubeSettings
	path     string
	query    url.Values
	counts   func(namespace string) bool

	mu      sync.Mutex
	current *run
	// retry is how long the next failure is waited out, and resume when a run may ask.
	retry  time.Duration
	resume time.Time
}

func newCluster(s *kubeSettings) (*cluster, error) {
	if s.Service.Schema == "" {
		s.Service.Schema = "https"
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	c := &cluster{settings: s}
	var err error
	c.path, c.query, c.counts, err = s.selector()
	return c, err
}

// watch is Watch for one service and port.
func (c *cluster) watch(ctx context.Context, service, port string, report func([]Node)) error {
	r := c.join()
	defer c.leave(r)
	changed := r.endpoints.follow(service)
	defer r.endpoints.unfollow(service, changed)
	for {
		select {
		case <-changed:
			report(r.endpoints.nodes(service, port, c.settings.Weight))
		case <-r.done:
			return &pacedError{r.err}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run is one list of a cluster's objects and the watch of what becomes of them, until that fails or nobody is left whom it
// concerns.
type run struct {
	endpoints *endpoints
	stop      context.CancelFunc
	// users is guarded by the cluster's mu.
	users int
	// done is closed when err is why the run has ended.
	done chan struct{}
	err  error
}

func (c *cluster) join() *run {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == nil {
		ctx, stop := context.WithCancel(context.Background())
		c.current = &run{endpoints: newEndpoints(c.settings.Slices), stop: stop, done: make(chan struct{})}
		go c.serve(ctx, c.current, time.Until(c.resume))
	}
	c.current.users++
	return c.current
}

func (c *cluster) leave(r *run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.users--; r.users == 0 {
		r.stop()
		if c.current == r {
			c.current = nil
		}
	}
}

// serve lists and watches after a while.
func (c *cluster) serve(ctx context.Context, r *run, after time.Duration) {
	defer close(r.done)
	defer r.stop()
	r.err = pause(ctx, max(0, after))
	if r.err == nil {
		r.err = c.listAndWatch(ctx, r)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current == r {
		c.current = nil
	}
	if ctx.Err() == nil {
		first := c.settings.Retry.duration()
		c.retry = min(max(2*c.retry, first), max(first, c.settings.RetryMax.duration()))
		c.resume = time.Now().Add(c.retry/2 + rand.N(c.retry/2+1))
	}
}

// listed notes that the server answers.
func (c *cluster) listed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.retry = 0
}

// errGone says that the server has no more what is asked for: all has to be listed anew.
var errGone = errors.New("the version is too old")

// shortest is how long a watch at least takes, or is made to: who is cut off at once does not ask at once.
const shortest = time.Second

func (c *cluster) listAndWatch(ctx context.Context, r *run) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	w, err := c.settings.connect()
	if err != nil {
		return err
	}
	defer w.http.CloseIdleConnections()
	for {
		version, err := c.list(ctx, w, r.endpoints)
		if err != nil {
			return err
		}
		c.listed()
		for !errors.Is(err, errGone) {
			began := time.Now()
			version, err = c.follow(ctx, w, version, r.endpoints)
			if err != nil && !errors.Is(err, errGone) {
				return err
			}
			if err := pause(ctx, shortest-time.Since(began)); err != nil {
				return err
			}
		}
	}
}

// pageSize is how many objects are asked for at once.
const pageSize = 500

// list takes over all objects, and returns the version they are of.
func (c *cluster) list(ctx context.Context, w *web, into *endpoints) (version string, err error) {
	for limit := pageSize; ; limit = 0 {
		var objects []kubeObject
		if objects, version, err = c.pages(ctx, w, limit); err == nil {
			into.replace(objects)
			return version, nil
		}
		// Pages of a list are all of one version, which may be forgotten before the last.
		if expired := new(statusError); limit == 0 || !errors.As(err, &expired) || expired.status != http.StatusGone {
			return "", err
		}
	}
}

func (c *cluster) pages(ctx context.Context, w *web, limit int) (objects []kubeObject, version string, err error) {
	query := c.ask()
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	for {
		var page struct {
			Metadata struct {
				Version  string `json:"resourceVersion"`
				Continue string `json:"continue"`
			} `json:"metadata"`
			Items []kubeObject `json:"items"`
		}
		if _, err := w.get(ctx, request{path: c.path, query: query}, &page); err != nil {
			return nil, "", err
		}
		for i := range page.Items {
			if c.counts(page.Items[i].Metadata.Namespace) {
				objects = append(objects, page.Items[i])
			}
		}
		if page.Metadata.Continue == "" {
			return objects, page.Metadata.Version, nil
		}
		query.Set("continue", page.Metadata.Continue)
	}
}

func (c *cluster) ask() url.Values {
	query := make(url.Values, len(c.query)+4)
	for name, values := range c.query {
		query[name] = values
	}
	return query
}

// follow takes over what changes after a version, until the server ends the watch, and returns the version after it.
func (c *cluster) follow(ctx context.Context, w *web, version string, into *endpoints) (string, error) {
	lasts := c.settings.WatchTimeout.duration()
	if jitter := c.settings.WatchJitter.duration(); jitter > 0 {
		lasts += rand.N(jitter)
	}
	query := c.ask()
	query.Set("watch", "true")
	query.Set("allowWatchBookmarks", "true")
	query.Set("timeoutSeconds", strconv.Itoa(max(1, int(lasts/time.Second))))
	query.Set("resourceVersion", version)
	ctx, cancel := context.WithTimeout(ctx, lasts+kubeAnswer)
	defer cancel()
	answer, err := w.open(ctx, w.servers[0], request{path: c.path, query: query})
	if gone := new(statusError); errors.As(err, &gone) && gone.status == http.StatusGone {
		return "", errGone
	}
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	for events := json.NewDecoder(answer.Body); ; {
		var e struct {
			Type   string     `json:"type"`
			Object kubeObject `json:"object"`
		}
		if err := events.Decode(&e); errors.Is(err, io.EOF) {
			return version, nil
		} else if err != nil {
			return "", fmt.Errorf("%s: watch: %w", w.servers[0].Host, err)
		}
		o := &e.Object
		switch e.Type {
		case "ADDED", "MODIFIED", "DELETED":
			if c.counts(o.Metadata.Namespace) {
				into.change(o, e.Type == "DELETED")
			}
		case "BOOKMARK":
		case "ERROR":
			if o.Code == http.StatusGone {
				return "", errGone
			}
			return "", fmt.Errorf("%s: watch: %d %s", w.servers[0].Host, o.Code, o.Message)
		default:
			continue
		}
		version = o.Metadata.Version
	}
}
