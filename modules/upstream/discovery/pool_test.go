// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// scripted is a source that reports what it is sent, and fails when that is an error.
type scripted struct{ begun, answers chan any }

func newScripted() *scripted { return &scripted{make(chan any), make(chan any)} }

func (s *scripted) Watch(ctx context.Context, q Query, report func([]Node)) error {
	select {
	case s.begun <- q:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		select {
		case answer := <-s.answers:
			if err, failed := answer.(error); failed {
				return err
			}
			report(answer.([]Node))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func settingsOf(text string, s Source) *Settings {
	return &Settings{sources: map[string]source{"dns": {s, text}}}
}

// wait fails the test when nothing comes.
func wait[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		t.Fatal("nothing came within a minute")
	}
	return v
}

func send(t *testing.T, s *scripted, answer any) {
	t.Helper()
	select {
	case s.answers <- answer:
	case <-time.After(time.Minute):
		t.Fatal("nobody watches")
	}
}

func newTestPool(t *testing.T) *Pool {
	t.Helper()
	p := NewPool(nil)
	p.minRetry, p.maxRetry = time.Millisecond, time.Millisecond
	t.Cleanup(p.Close)
	return p
}

// until waits until the pool says so about a query.
func until(t *testing.T, p *Pool, q Query, good func(nodes []Node, err error) bool) []Node {
	t.Helper()
	for {
		nodes, _, err := p.Lookup(q)
		if good(nodes, err) {
			return nodes
		}
		wait(t, p.Changed())
	}
}

func untilHosts(t *testing.T, p *Pool, q Query, hosts ...string) []Node {
	t.Helper()
	return until(t, p, q, func(nodes []Node, err error) bool {
		got := make([]string, len(nodes))
		for i, n := range nodes {
			got[i] = n.Host
		}
		return err == nil && slices.Equal(got, hosts)
	})
}

func TestPoolKeepsWhatIsKnown(t *testing.T) {
	p, s, q := newTestPool(t), newScripted(), Query{Type: "dns", Name: "a"}
	defer p.Use(settingsOf("", s))()
	if _, _, err := p.Lookup(q); !errors.Is(err, ErrUnknown) {
		t.Errorf("before anything is known: %v", err)
	}
	p.Retain(map[Query]bool{q: true})
	wait(t, s.begun)
	send(t, s, errors.New("registry is down"))
	until(t, p, q, func(_ []Node, err error) bool { return err != nil && !errors.Is(err, ErrUnknown) })
	wait(t, s.begun)
	send(t, s, []Node{{Host: "10.0.0.2", Weight: 1}, {Host: "10.0.0.1", Weight: 1}, {Host: "10.0.0.1", Weight: 1}, {Host: "a b"}})
	untilHosts(t, p, q, "10.0.0.1", "10.0.0.2")
	_, version, _ := p.Lookup(q)

	send(t, s, errors.New("registry is down"))
	wait(t, s.begun)
	send(t, s, []Node{{Host: "10.0.0.1", Weight: 1}, {Host: "10.0.0.2", Weight: 1}})
	send(t, s, errors.New("registry is down"))
	wait(t, s.begun)
	if nodes, now, err := p.Lookup(q); len(nodes) != 2 || now != version || err != nil {
		t.Errorf("a failure, or the same nodes, changed something: %v, version %d after %d, %v", nodes, now, version, err)
	}

	// That there are none is an answer.
	send(t, s, []Node{})
	untilHosts(t, p, q)
}

func TestPoolChangesSettings(t *testing.T) {
	p, one, two, q := newTestPool(t), newScripted(), newScripted(), Query{Type: "dns", Name: "a"}
	defer p.Use(settingsOf("one", one))()
	p.Retain(map[Query]bool{q: true})
	wait(t, one.begun)
	send(t, one, []Node{{Host: "10.0.0.1"}})
	untilHosts(t, p, q, "10.0.0.1")

	same := p.Use(settingsOf("one", two))
	send(t, one, []Node{{Host: "10.0.0.2"}})
	untilHosts(t, p, q, "10.0.0.2")
	same()

	release := p.Use(settingsOf("two", two))
	wait(t, two.begun)
	untilHosts(t, p, q, "10.0.0.2")
	send(t, two, []Node{{Host: "10.0.0.3"}})
	untilHosts(t, p, q, "10.0.0.3")
	// A config that is given up leaves those before it.
	release()
	wait(t, one.begun)
	send(t, one, []Node{{Host: "10.0.0.4"}})
	untilHosts(t, p, q, "10.0.0.4")
}

func TestPoolForgetsWhatNobodyUses(t *testing.T) {
	p, s, q := newTestPool(t), newScripted(), Query{Type: "dns", Name: "a"}
	defer p.Use(settingsOf("", s))()
	p.Retain(map[Query]bool{q: true})
	wait(t, s.begun)
	send(t, s, []Node{{Host: "10.0.0.1"}})
	untilHosts(t, p, q, "10.0.0.1")
	p.Retain(nil)
	if _, _, err := p.Lookup(q); !errors.Is(err, ErrUnknown) {
		t.Errorf("after nobody uses it: %v", err)
	}
}

func TestPrefetch(t *testing.T) {
	p, s, q := newTestPool(t), newScripted(), Query{Type: "dns", Name: "a"}
	defer p.Use(settingsOf("", s))()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Prefetch(context.Background(), q, Query{Type: "consul", Name: "not configured"})
	}()
	wait(t, s.begun)
	send(t, s, []Node{{Host: "10.0.0.1"}})
	wait(t, done)
	// It is kept for the write that is about to use it.
	p.Retain(nil)
	if nodes, _, err := p.Lookup(q); len(nodes) != 1 || err != nil {
		t.Errorf("got %v, %v", nodes, err)
	}
}

func TestParse(t *testing.T) {
	s, err := Parse([]byte(`{"consul":{"servers":"http://127.0.0.1:8500","timeout":{"wait":1}},"resolver":{"servers":["127.0.0.1"],"valid":3}}`))
	if err != nil {
		t.Fatal(err)
	}
	p := newTestPool(t)
	defer p.Use(s)()
	for kind, want := range map[string]string{
		"consul": "not known yet", "dns": "not known yet", Names: "not known yet",
		"zookeeper": `discovery_type "zookeeper" is not one of consul`,
	} {
		if _, _, err := p.Lookup(Query{Type: kind, Name: "a"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, text := range []string{
		`[]`, `{"zookeeper":{}}`, `{"consul":{}}`, `{"consul":{"servers":["127.0.0.1:8500"]}}`, `{"consul":{"servers":["http://a"],"wait":3}}`,
		`{"consul":{"servers":["http://a"],"weight":0}}`, `{"dns":{"order":["MX"]}}`, `{"dns":{"order":["CNAME"]}}`, `{"resolver":{"servers":["a:b:c"]}}`,
		`{"resolver":{"timeout":0}}`,
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	p := NewPool(nil)
	defer p.Close()
	s, err := Parse(nil)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Use(s)()
	for b.Loop() {
		_, _, _ = p.Lookup(Query{Type: "dns", Name: "a"})
	}
}
