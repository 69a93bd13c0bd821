// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
)

// fakeConsul answers as Consul's HTTP API does: blocking queries wait for an index above the client's.
type fakeConsul struct {
	*httptest.Server
	mu sync.Mutex
	// bodies are the answers by path and query without index and wait; missing paths are 404.
	bodies  map[string]string
	index   int
	changed chan struct{}
	down    bool
	// blocked gets a value when a client waits.
	blocked chan string
	failed  chan struct{}
}

func newFakeConsul(t *testing.T) *fakeConsul {
	t.Helper()
	c := &fakeConsul{
		bodies: map[string]string{}, index: 10, changed: make(chan struct{}),
		blocked: make(chan string, 100), failed: make(chan struct{}, 100),
	}
	c.Server = httptest.NewServer(c)
	t.Cleanup(func() {
		c.set(func() { c.down = true })
		c.Close()
	})
	c.Config.Handler = c
	return c
}

// set changes something and answers who waits.
func (c *fakeConsul) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	c.index++
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *fakeConsul) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	after, _ := strconv.Atoi(query.Get("index"))
	if after > 0 && query.Get("wait") != "60000ms" {
		http.Error(w, "wait", http.StatusBadRequest)
		return
	}
	query.Del("index")
	query.Del("wait")
	c.mu.Lock()
	for c.index == after && !c.down {
		changed := c.changed
		c.mu.Unlock()
		c.blocked <- r.URL.Path
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	body, known := c.bodies[r.URL.EscapedPath()+"?"+query.Encode()]
	switch {
	case c.down:
		w.WriteHeader(http.StatusInternalServerError)
		select {
		case c.failed <- struct{}{}:
		default:
		}
	case r.Header.Get("X-Consul-Token") != "secret":
		w.WriteHeader(http.StatusForbidden)
	case !known:
		w.Header().Set("X-Consul-Index", strconv.Itoa(c.index))
		w.WriteHeader(http.StatusNotFound)
	default:
		w.Header().Set("X-Consul-Index", strconv.Itoa(c.index))
		fmt.Fprint(w, body)
	}
}

func TestConsul(t *testing.T) {
	c := newFakeConsul(t)
	const path = "/v1/health/service/web%2Fa?passing=true"
	c.bodies[path] = `[
		{"Node":{"Address":"10.0.0.9"},"Service":{"Address":"10.0.0.1","Port":80,"Weights":{"Passing":1,"Warning":1}}},
		{"Node":{"Address":"10.0.0.2"},"Service":{"Address":"","Port":81,"Weights":{"Passing":10,"Warning":1}}}]`
	q := Query{Type: "consul", Name: "web/a"}
	p := pooled(t, fmt.Sprintf(`{"consul":{"servers":["http://127.0.0.1:1",%q],"token":"secret","weight":3}}`, c.URL), q)
	nodes := untilHosts(t, p, q, "10.0.0.1", "10.0.0.2")
	if nodes[0] != (Node{Host: "10.0.0.1", Port: 80, Weight: 3}) || nodes[1] != (Node{Host: "10.0.0.2", Port: 81, Weight: 10}) {
		t.Errorf("got %v", nodes)
	}
	wait(t, c.blocked)
	c.set(func() {
		c.bodies[path] = `[{"Node":{"Address":"10.0.0.9"},"Service":{"Address":"10.0.0.1","Port":80}}]`
	})
	untilHosts(t, p, q, "10.0.0.1")
	c.set(func() { c.down = true })
	wait(t, c.failed)
	wait(t, c.failed)
	untilHosts(t, p, q, "10.0.0.1")
	c.set(func() { c.down, c.bodies[path] = false, `[]` })
	untilHosts(t, p, q)
	// A server that was set up anew counts from the beginning.
	c.set(func() { c.index, c.bodies[path] = 1, `[{"Node":{"Address":"10.0.0.5"},"Service":{"Port":80}}]` })
	untilHosts(t, p, q, "10.0.0.5")
}

func TestConsulWithoutKeepalive(t *testing.T) {
	c := newFakeConsul(t)
	q := Query{Type: "consul", Name: "web"}
	p := pooled(t, fmt.Sprintf(`{"consul":{"servers":[%q],"token":"secret","keepalive":false,"fetch_interval":0.001,
		"default_service":{"host":"10.0.0.7","port":7}}}`, c.URL), q)
	c.set(func() { c.bodies["/v1/health/service/web?passing=true"] = `[]` })
	if nodes := untilHosts(t, p, q, "10.0.0.7"); nodes[0] != (Node{Host: "10.0.0.7", Port: 7, Weight: 1}) {
		t.Errorf("got %v", nodes)
	}
	c.set(func() {
		c.bodies["/v1/health/service/web?passing=true"] = `[{"Node":{"Address":"10.0.0.1"},"Service":{"Port":80}}]`
	})
	untilHosts(t, p, q, "10.0.0.1")
}
