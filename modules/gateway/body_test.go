// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestSteps: a hook that waits or needs the body stops the exchange in front of it, and goes on there without running
// anything twice.
func TestSteps(t *testing.T) {
	var tr trail
	blocking := func(name string, priority int) Entry {
		e := entry(&probe{name: name, trail: &tr}, name, priority)
		e.Plugin.Blocking = true
		return e
	}
	reader := entry(&bodyProbe{probe{name: "reader", trail: &tr}, 10}, "reader", 1)
	table := &fakeTable{
		readsBody: 1,
		globals:   NewChain([]Entry{blocking("waits", 1)}),
		route:     &Route{Chain: NewChain([]Entry{reader, blocking("waits too", 2)}), Upstream: fakeUpstream(1)},
	}
	drive(t, newExchange(table), &tr, "x")
	wantTrail(t, tr,
		"wire: body", "wire: block", "rewrite waits", "rewrite waits too", "rewrite reader",
		"access waits", "access waits too", "access reader", "wire: forward",
		"before_proxy waits", "before_proxy waits too", "before_proxy reader",
		"header waits", "header waits too", "header reader", "body waits", "body waits too", "body reader",
		"log waits", "log waits too", "log reader",
	)
	// Body before Access, since the config has both hooks; the goroutine that may wait brings the exchange back for it.
	tr = nil
	drive(t, newExchange(table), &tr, "longer")
	if want := (trail{"wire: body", "wire: block"}); !slices.Equal(tr[:2], want) {
		t.Errorf("got %q, want %q first", tr, want)
	}
	if n := slices.Index(tr, "wire: body"); n != 0 || !slices.Equal(tr[slices.Index(tr, "access waits too"):][:3], trail{"access waits too", "wire: body", "access reader"}) {
		t.Errorf("got %q, want the body again, for more of it, before the reader's access", tr)
	}
}

func TestBodyBeforeRewrite(t *testing.T) {
	var tr trail
	type both interface {
		Rewriter
		BodyReader
	}
	p := &bodyProbe{probe{name: "a", trail: &tr}, 10}
	p.does = map[string]func(*Exchange) Verdict{"rewrite": func(x *Exchange) Verdict {
		if body, err := x.Body(); string(body) != "hello" || err != nil {
			t.Errorf("got body %q and error %v", body, err)
		}
		return Continue
	}}
	table := &fakeTable{route: &Route{Chain: NewChain([]Entry{entry(struct{ both }{p}, "a", 1)}), Upstream: fakeUpstream(1)}}
	drive(t, newExchange(table), &tr, "hello")
	wantTrail(t, tr, "wire: body", "rewrite a", "wire: forward")
}

// decider is a bodyProbe that needs the body when the path says so.
type decider struct{ *bodyProbe }

func (d decider) NeedsBody(x *Exchange) bool { return x.Request.Path == "/reads" }

// TestBodyNotNeeded: no body is read for a hook that has seen from the head that it will not look at it.
func TestBodyNotNeeded(t *testing.T) {
	for path, want := range map[string]trail{
		"/reads": {"wire: body", "access a", "wire: forward"},
		"/not":   {"access a", "wire: forward"},
	} {
		var tr trail
		p := decider{&bodyProbe{probe{name: "a", trail: &tr}, 10}}
		type both interface {
			Accessor
			BodyReader
			BodyDecider
		}
		table := &fakeTable{route: &Route{Chain: NewChain([]Entry{entry(struct{ both }{p}, "a", 1)}), Upstream: fakeUpstream(1)}}
		x := newExchange(table)
		x.Request.Path = path
		drive(t, x, &tr, "hello")
		if !slices.Equal(tr, want) {
			t.Errorf("%s: got %q, want %q", path, tr, want)
		}
	}
}

// TestBodyLimits: each reader sees a body up to its own limit, whatever others have asked for before it.
func TestBodyLimits(t *testing.T) {
	body := strings.Repeat("x", 100)
	for _, c := range []struct {
		first, second         int64
		firstSees, secondSees bool
		reads                 int
	}{
		{50, 200, false, true, 2},
		{200, 50, true, false, 1},
		{50, 60, false, false, 2},
		{60, 50, false, false, 1},
		{100, 100, true, true, 1},
		{0, 100, false, true, 1},
	} {
		var tr trail
		sees := func(want bool) map[string]func(*Exchange) Verdict {
			return map[string]func(*Exchange) Verdict{"access": func(x *Exchange) Verdict {
				got, err := x.Body()
				if want && (string(got) != body || err != nil) || !want && (got != nil || !errors.Is(err, ErrBodyTooLarge)) {
					t.Errorf("%+v: got %d bytes and error %v, want the body: %v", c, len(got), err, want)
				}
				return Continue
			}}
		}
		first := &bodyProbe{probe{name: "first", trail: &tr, does: sees(c.firstSees)}, c.first}
		if c.first == 0 {
			first.does = nil
		}
		second := &bodyProbe{probe{name: "second", trail: &tr, does: sees(c.secondSees)}, c.second}
		table := &fakeTable{route: &Route{
			Chain: NewChain([]Entry{entry(first, "a", 2), entry(second, "b", 1)}), Upstream: fakeUpstream(1),
		}}
		drive(t, newExchange(table), &tr, body)
		reads := 0
		for _, step := range tr {
			if step == "wire: body" {
				reads++
			}
		}
		if reads != c.reads {
			t.Errorf("%+v: the body was asked for %d times", c, reads)
		}
	}
}

// TestBodyOfBlockingHook: a hook that may wait reads the body when it wants it, once.
func TestBodyOfBlockingHook(t *testing.T) {
	var tr trail
	read := func(x *Exchange) Verdict {
		for range 2 {
			if body, err := x.Body(); string(body) != "hello" || err != nil {
				t.Errorf("got body %q and error %v", body, err)
			}
		}
		return Continue
	}
	e := entry(accessOnly{&probe{name: "a", trail: &tr, does: map[string]func(*Exchange) Verdict{"access": read}}}, "a", 1)
	e.Plugin.Blocking = true
	wire := &fakeWire{body: "hello"}
	x := new(Exchange)
	fill(x)
	x.Begin(&fakeTable{route: &Route{Chain: NewChain([]Entry{e}), Upstream: fakeUpstream(1)}}, nil, wire)
	if _, known := x.BodyBuffered(); known {
		t.Error("a body is known before it was read")
	}
	if x.Next(false) != StepBlock || x.Next(true) != StepForward {
		t.Fatal("not forwarded")
	}
	x.Finish()
	if !slices.Equal(wire.reads, []int64{defaultBodyLimit}) {
		t.Errorf("the wire was asked with limits %v, want one of %d", wire.reads, defaultBodyLimit)
	}
}

func TestReplaceBody(t *testing.T) {
	x := newExchange(&fakeTable{})
	x.ReplaceBody([]byte("new"))
	if body, err := x.Body(); string(body) != "new" || err != nil || !x.Forward.BodyReplaced || string(x.Forward.Body) != "new" {
		t.Errorf("got %q (%v), forwarded %q, %v", body, err, x.Forward.Body, x.Forward.BodyReplaced)
	}
}

// TestState: a plugin has one place per exchange in a global rule and another in the route, and finds there what it left.
func TestState(t *testing.T) {
	plugin := &Plugin{Name: "counts"}
	var got []any
	count := func(tag string) map[string]func(*Exchange) Verdict {
		return map[string]func(*Exchange) Verdict{
			"rewrite": func(x *Exchange) Verdict {
				if *x.State() != nil {
					t.Errorf("%s: the place holds %v at the beginning", tag, *x.State())
				}
				*x.State() = tag
				return Continue
			},
			"log": func(x *Exchange) Verdict { got = append(got, *x.State()); return Continue },
		}
	}
	var tr trail
	other := entry(&probe{name: "other", trail: &tr, does: count("other")}, "other", 9)
	table := &fakeTable{
		globals: NewChain([]Entry{{Plugin: plugin, Instance: &probe{name: "g", trail: &tr, does: count("global")}}}),
		route: &Route{
			Chain:    NewChain([]Entry{other, {Plugin: plugin, Instance: &probe{name: "r", trail: &tr, does: count("route")}}}),
			Upstream: fakeUpstream(1),
		},
	}
	x := newExchange(table)
	for range 2 {
		got = nil
		drive(t, x, &tr, "")
		if want := []any{"global", "other", "route"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		x.Reset()
		fill(x)
		x.Begin(table, nil, nil)
	}
}

// TestStateOfReplacedConfig: a plugin that a consumer reconfigures half way goes on with what it has.
func TestStateOfReplacedConfig(t *testing.T) {
	var tr trail
	consumer := &Consumer{Name: "jack"}
	old := entry(&probe{name: "old", trail: &tr, does: map[string]func(*Exchange) Verdict{
		"rewrite": func(x *Exchange) Verdict { *x.State() = "left by the old"; return Continue },
	}}, "p", 9)
	var got any
	fresh := entry(&probe{name: "new", trail: &tr, does: map[string]func(*Exchange) Verdict{
		"log": func(x *Exchange) Verdict { got = *x.State(); return Continue },
	}}, "p", -9)
	fresh.Plugin = old.Plugin
	consumer.Plugins = []Entry{fresh}
	auth := entry(&probe{name: "auth", trail: &tr, does: map[string]func(*Exchange) Verdict{"rewrite": attach(consumer)}}, "auth", 1)
	drive(t, newExchange(&fakeTable{route: &Route{Chain: NewChain([]Entry{old, auth}), Upstream: fakeUpstream(1)}}), &tr, "")
	if got != "left by the old" {
		t.Errorf("got %v", got)
	}
}
