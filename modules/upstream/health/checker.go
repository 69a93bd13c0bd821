// SPDX-License-Identifier: Apache-2.0

package health

import (
	"crypto/tls"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// Checker is the health checks of one version of one upstream object. It is immutable; versions share a record.
type Checker struct {
	config *Config
	record *record
	// tls is for https probes; host and path are what http probes ask for.
	tls     *tls.Config
	request []byte
	// hostless says that each node has a Host of its own, which request lacks.
	hostless bool
	// asked has the method, which decides what a response looks like.
	asked *http.Request
}

// record is what is known of an object's nodes. It outlives versions.
type record struct {
	// pool is where the object is probed; nil before it is served and after.
	pool atomic.Pointer[Pool]

	// The rest is guarded by pool.mu.
	key     string
	version *Checker
	// balancer is told of changes.
	balancer gateway.Balancer
	targets  []*target
	// probing counts probes under way, and waiting lists the targets that are due and above the concurrency.
	probing int
	waiting []*target
}

// target is one address of one object. It is guarded by the pool's mu.
type target struct {
	record *record
	node   *gateway.Node
	// next is when the probe after this one begins; place is where the target is in the pool's queue, or -1.
	next  time.Time
	place int
	// gone says that the object has the address no more.
	gone    bool
	probing bool
	flight  flight
	// reason is how the last failure that counted looked; since is when the status last turned.
	reason string
	since  time.Time
	probed time.Time
	// kept is the connection for the next probe; nil is none, and while there is a probe it has it.
	kept *kept
}

// New returns the checker of an object's new version. u is complete but for Health. prior is the version before, or
// nil.
func New(config *Config, u *gateway.Upstream, prior gateway.HealthObserver) *Checker {
	c := &Checker{config: config}
	if before, ok := prior.(*Checker); ok {
		c.record = before.record
	} else {
		c.record = new(record)
	}
	a := &config.Active
	host := a.Host
	if host == "" && u.PassHost == "rewrite" {
		host = u.UpstreamHost
	}
	switch a.Type {
	case "https":
		c.tls = &tls.Config{
			ServerName: host, InsecureSkipVerify: a.SkipVerify, ClientSessionCache: tls.NewLRUClientSessionCache(len(u.Nodes)),
		}
		if u.ClientCertificate != nil {
			c.tls.Certificates = []tls.Certificate{*u.ClientCertificate}
		}
		fallthrough
	case "http":
		c.request, c.hostless, c.asked = newRequest(a, host), host == "", &http.Request{Method: a.Method}
	}
	return c
}

// newRequest writes a probe's request. Without a host the end is left out, from the Host field on.
func newRequest(a *Active, host string) []byte {
	text := a.Method + " " + a.Path + " HTTP/1.1\r\n"
	for _, field := range a.Fields {
		text += field + "\r\n"
	}
	if a.Body != "" {
		text += "Content-Length: " + strconv.Itoa(len(a.Body)) + "\r\n"
	}
	if host != "" {
		text += "Host: " + host + "\r\n\r\n" + a.Body
	}
	return []byte(text)
}

// Report implements gateway.HealthObserver: the passive checks.
func (c *Checker) Report(node *gateway.Node, status int, failure gateway.Failure) {
	e, j := event{}, &c.config.Passive.judge
	switch failure {
	case gateway.NoFailure:
		e = j.status(status)
	case gateway.FailedTimeout:
		e = event{timeoutFailure, j.timeouts}
	default:
		e = event{tcpFailure, j.tcpFailures}
	}
	pool := c.record.pool.Load()
	if e.limit == 0 || pool == nil || settled(node.State.Health.Load(), e.kind) {
		return
	}
	c.record.count(pool, node, e, func() string { return "request: " + passiveReason(status, failure) })
}

func passiveReason(status int, failure gateway.Failure) string {
	switch failure {
	case gateway.NoFailure:
		return "status " + strconv.Itoa(status)
	case gateway.FailedConnect:
		return "no connection"
	case gateway.FailedTimeout:
		return "timeout"
	}
	return "the connection broke"
}

// count counts an event and does what follows from it. reason says what happened.
func (r *record) count(pool *Pool, node *gateway.Node, e event, reason func() string) {
	before, after := count(&node.State.Health, e)
	if e.kind == success && before.Up() == after.Up() {
		return
	}
	why := reason()
	pool.mu.Lock()
	defer pool.mu.Unlock()
	if r.pool.Load() != pool {
		// The object has gone meanwhile, and nothing is held of its nodes.
		node.State.Health.Store(0)
		return
	}
	t := r.find(node.Addr)
	if t == nil {
		return
	}
	if e.kind != success {
		t.reason = why
	}
	if before.Up() == after.Up() {
		return
	}
	t.since = time.Now()
	if b, ok := r.balancer.(gateway.HealthBalancer); ok {
		b.Refresh()
	}
	pool.turned(t, after, why)
}

func (r *record) find(addr string) *target {
	for _, t := range r.targets {
		if t.node.Addr == addr {
			return t
		}
	}
	return nil
}

// interval is the time between probes of a node as it is.
func (t *target) interval() time.Duration {
	a := &t.record.version.config.Active
	if t.node.State.Unhealthy() {
		return a.UnhealthyInterval
	}
	return a.HealthyInterval
}

// turned follows a change: it is logged, and the next probe comes when the new interval says.
func (p *Pool) turned(t *target, now Status, why string) {
	fields := []zap.Field{zap.String("upstream", t.record.key), zap.String("node", t.node.Addr), zap.String("reason", why)}
	if now.Up() {
		p.log().Info("node is healthy again", fields...)
	} else {
		p.log().Warn("node is unhealthy", fields...)
	}
	if t.place < 0 {
		return
	}
	if next := t.since.Add(t.interval()); next.Before(t.next) {
		t.next = next
		p.queue.fix(t)
		p.rouse()
	}
}
