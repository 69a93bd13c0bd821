// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakeTable has one answer to every request, and counts how often it was asked.
type fakeTable struct {
	route       *Route
	globals     *Chain
	credentials map[string]*Credential
	readsBody   int64
	onMatch     func(x *Exchange)
	matches     int
}

func (t *fakeTable) Match(x *Exchange, _ Trace) *Route {
	t.matches++
	if t.onMatch != nil {
		t.onMatch(x)
	}
	return t.route
}
func (t *fakeTable) ReadsBody(*Exchange) int64                     { return t.readsBody }
func (t *fakeTable) Globals() *Chain                               { return t.globals }
func (t *fakeTable) Credential(_, key string) *Credential          { return t.credentials[key] }
func (t *fakeTable) Consumer(string) *Consumer                     { return nil }
func (t *fakeTable) Upstream(string) *Upstream                     { return nil }
func (t *fakeTable) Metadata(string) any                           { return nil }
func (t *fakeTable) Object(Kind, string) (o Object, ok bool)       { return o, false }
func (t *fakeTable) Objects(Kind) iter.Seq[Object]                 { return func(func(Object) bool) {} }
func (t *fakeTable) Revision() uint64                              { return 0 }
func (t *fakeTable) With([]Change) (Table, error)                  { return t, nil }
func (u *inOrder) Observe(node *Node, _ time.Duration, status int) { u.seen = append(u.seen, status) }

// inOrder is a balancer that picks the first node that was not tried.
type inOrder struct {
	nodes []*Node
	seen  []int
}

func (u *inOrder) Pick(x *Exchange) *Node {
	for _, n := range u.nodes {
		if !x.Tried(n) {
			return n
		}
	}
	return nil
}

func fakeUpstream(nodes int) *Upstream {
	balancer := new(inOrder)
	for range nodes {
		balancer.nodes = append(balancer.nodes, &Node{Addr: "node:1", HostHeader: "node", State: new(NodeState)})
	}
	return &Upstream{Nodes: balancer.nodes, Balancer: balancer, Scheme: "http", Retries: nodes - 1}
}

func inFlight(u *Upstream) (n int64) {
	for _, node := range u.Nodes {
		n += node.State.InFlight.Load()
	}
	return n
}

// trail is what happened to an exchange, in order.
type trail []string

func (t *trail) add(words ...string) { *t = append(*t, strings.Join(words, " ")) }

// probe is a plugin that leaves a trail from every hook. does changes what the hook of that name does.
type probe struct {
	name  string
	trail *trail
	does  map[string]func(x *Exchange) Verdict
}

func (p *probe) hook(x *Exchange, name string) Verdict {
	p.trail.add(name, p.name)
	if do := p.does[name]; do != nil {
		return do(x)
	}
	return Continue
}

func (p *probe) Rewrite(x *Exchange) Verdict { return p.hook(x, "rewrite") }
func (p *probe) Access(x *Exchange) Verdict  { return p.hook(x, "access") }
func (p *probe) BeforeProxy(x *Exchange)     { p.hook(x, "before_proxy") }
func (p *probe) FilterHeader(x *Exchange)    { p.hook(x, "header") }
func (p *probe) Log(x *Exchange)             { p.hook(x, "log") }
func (p *probe) FilterBody(x *Exchange, chunk []byte, _ bool) []byte {
	p.hook(x, "body")
	return chunk
}

// bodyProbe is a probe that needs the request body.
type bodyProbe struct {
	probe
	limit int64
}

func (p *bodyProbe) ReadsBody() int64 { return p.limit }

// only hides the hooks of an instance but these.
type (
	rewriteOnly struct{ Rewriter }
	accessOnly  struct{ Accessor }
	headerOnly  struct{ HeaderFilter }
)

func entry(instance any, name string, priority int) Entry {
	return Entry{Plugin: &Plugin{Name: name, Priority: priority}, Instance: instance, Priority: priority}
}

// fakeWire is a wire whose request body is at hand, and that counts the reads.
type fakeWire struct {
	body  string
	reads []int64
}

func (w *fakeWire) Context() context.Context { return context.Background() }

func (w *fakeWire) ReadBody(limit int64) ([]byte, error) {
	w.reads = append(w.reads, limit)
	if int64(len(w.body)) > limit {
		return nil, ErrBodyTooLarge
	}
	return []byte(w.body), nil
}

// drive takes a begun exchange to its end as a wire does, with a node that answers 200 and "node", and leaves what the
// wire was asked for in the trail. sent is the body that the client got.
func drive(t testing.TB, x *Exchange, tr *trail, body string) (sent string) {
	t.Helper()
	defer x.Finish()
	wire := &fakeWire{body: body}
	mayBlock := false
	for {
		step := x.Next(mayBlock)
		mayBlock = false
		switch step {
		case StepBody:
			tr.add("wire: body")
			x.SetBody(wire.ReadBody(x.BodyLimit()))
		case StepBlock:
			tr.add("wire: block")
			mayBlock = true
		case StepForward:
			tr.add("wire: forward")
			if x.Pick() != nil {
				x.BeginResponse(200)
				x.Response.Header.Add("X-Node", "yes")
			}
			return respond(x, "node")
		case StepReply:
			tr.add("wire: reply")
			return respond(x, "")
		}
	}
}

func respond(x *Exchange, node string) string {
	x.FilterHeader()
	body := []byte(node)
	if !x.Response.FromNode {
		body = x.Response.Body
	}
	if x.FiltersBody() {
		body = x.FilterBody(body, true)
	}
	return string(body)
}

func newExchange(table Table) *Exchange {
	x := new(Exchange)
	fill(x)
	x.Begin(table, nil, nil)
	return x
}

func fill(x *Exchange) {
	x.Request.Method, x.Request.Scheme = "GET", "http"
	x.Request.SetHost("h")
	if err := x.Request.SetTarget("/a"); err != nil {
		panic(err)
	}
}

func wantTrail(t *testing.T, got trail, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
