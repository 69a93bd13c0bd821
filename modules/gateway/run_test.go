// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"slices"
	"strings"
	"testing"
)

func TestHookOrder(t *testing.T) {
	var tr trail
	low, high := entry(&probe{name: "global low", trail: &tr}, "g1", 1), entry(&probe{name: "global high", trail: &tr}, "g2", 2)
	// The same priority leaves the name to decide.
	second := entry(&probe{name: "route second", trail: &tr}, "b", 1)
	first := entry(&probe{name: "route first", trail: &tr}, "a", 1)
	raised := entry(&probe{name: "raised", trail: &tr}, "z", 5)
	raised.Plugin.Priority = 0
	table := &fakeTable{
		globals: NewChain([]Entry{low, high}),
		route:   &Route{Chain: NewChain([]Entry{second, first, raised}), Upstream: fakeUpstream(1)},
	}
	drive(t, newExchange(table), &tr, "")
	var want []string
	for _, hook := range []string{"rewrite", "access", "before_proxy", "header", "body", "log"} {
		if hook == "access" || hook == "rewrite" {
			// Both stages come whole before the next.
			for _, name := range []string{"global high", "global low"} {
				want = append(want, hook+" "+name)
			}
		} else {
			want = append(want, hook+" global high", hook+" global low")
		}
		want = append(want, hook+" raised", hook+" route first", hook+" route second")
		if hook == "access" {
			want = append(want, "wire: forward")
		}
	}
	wantTrail(t, tr, want...)
	wantNames := []string{"z", "a", "b"}
	if got := table.route.Chain.Names(); !slices.Equal(got, wantNames) {
		t.Errorf("names: got %q, want %q", got, wantNames)
	}
}

// attach returns a hook that attaches a consumer.
func attach(c *Consumer) func(*Exchange) Verdict {
	return func(x *Exchange) Verdict {
		x.AttachConsumer(c, "")
		return Continue
	}
}

func TestConsumerPlugins(t *testing.T) {
	var tr trail
	consumer := &Consumer{Name: "jack"}
	auth := entry(&probe{name: "auth", trail: &tr, does: map[string]func(*Exchange) Verdict{"rewrite": attach(consumer)}}, "auth", 10)
	old := entry(&probe{name: "old", trail: &tr}, "replaced", 20)
	fresh := entry(&probe{name: "new", trail: &tr}, "replaced", 20)
	fresh.Plugin = old.Plugin
	gone := entry(&probe{name: "gone", trail: &tr}, "gone", 15)
	added := entry(&probe{name: "added", trail: &tr}, "added", 30)
	also := entry(&probe{name: "also added", trail: &tr}, "also", 40)
	consumer.Plugins = []Entry{fresh, added, also, {Plugin: gone.Plugin}}
	table := &fakeTable{route: &Route{Chain: NewChain([]Entry{old, auth, gone}), Upstream: fakeUpstream(1)}}
	x := newExchange(table)
	drive(t, x, &tr, "")
	wantTrail(t, tr,
		"rewrite old", "rewrite gone", "rewrite auth", "rewrite also added", "rewrite added",
		"access also added", "access added", "access new", "access auth", "wire: forward",
		"before_proxy also added", "before_proxy added", "before_proxy new", "before_proxy auth",
		"header also added", "header added", "header new", "header auth",
		"body also added", "body added", "body new", "body auth",
		"log also added", "log added", "log new", "log auth",
	)
	if x.chain.Has(gone.Plugin) {
		t.Error("a plugin that the consumer disables is still in the chain")
	}
	x.Reset()
	fill(x)
	x.Begin(table, nil, nil)
	derived := table.route.Chain.forConsumer(consumer)
	tr = nil
	drive(t, x, &tr, "")
	if x.chain != derived {
		t.Error("the chain for the consumer was compiled twice")
	}
}

func TestConsumerWithoutRoutePlugins(t *testing.T) {
	var tr trail
	consumer := &Consumer{Name: "jack", Plugins: []Entry{entry(accessOnly{&probe{name: "own", trail: &tr}}, "own", 1)}}
	auth := entry(rewriteOnly{&probe{name: "auth", trail: &tr, does: map[string]func(*Exchange) Verdict{"rewrite": attach(consumer)}}}, "auth", 1)
	table := &fakeTable{globals: NewChain([]Entry{auth}), route: &Route{Upstream: fakeUpstream(1)}}
	drive(t, newExchange(table), &tr, "")
	wantTrail(t, tr, "rewrite auth", "access own", "wire: forward")

	tr = nil
	table.route = nil
	consumer.Fault = 503
	x := newExchange(table)
	drive(t, x, &tr, "")
	wantTrail(t, tr, "rewrite auth", "wire: reply")
	if x.Response.Status != 404 {
		t.Errorf("no route: got status %d, want 404", x.Response.Status)
	}

	tr = nil
	table.route = &Route{Upstream: fakeUpstream(1)}
	x = newExchange(table)
	drive(t, x, &tr, "")
	wantTrail(t, tr, "rewrite auth", "wire: reply")
	if x.Response.Status != 503 {
		t.Errorf("a consumer at fault: got status %d, want 503", x.Response.Status)
	}
}

func TestDerivedChainsAreBounded(t *testing.T) {
	chain := NewChain([]Entry{entry(&probe{}, "a", 1)})
	plugins := []Entry{entry(&probe{}, "b", 1)}
	for range maxDerivedChains + 10 {
		chain.forConsumer(&Consumer{Plugins: plugins})
	}
	n := 0
	chain.derived.chains.Range(func(any, any) bool { n++; return true })
	if n > maxDerivedChains {
		t.Errorf("%d derived chains are kept, want at most %d", n, maxDerivedChains)
	}
}

func TestFilterDecidesOnce(t *testing.T) {
	var tr trail
	asked := 0
	verdict := false
	e := entry(&probe{name: "a", trail: &tr}, "a", 1)
	e.Filter = func(*Exchange) bool { asked++; return verdict }
	table := &fakeTable{route: &Route{Chain: NewChain([]Entry{e}), Upstream: fakeUpstream(1)}}
	drive(t, newExchange(table), &tr, "")
	wantTrail(t, tr, "wire: forward")
	verdict, tr = true, nil
	drive(t, newExchange(table), &tr, "")
	wantTrail(t, tr, "rewrite a", "access a", "wire: forward", "before_proxy a", "header a", "body a", "log a")
	if asked != 2 {
		t.Errorf("the filter was evaluated %d times in two exchanges, want 2", asked)
	}
}

// TestFilterOfReplacedConfig: what the route's condition said is nothing to the consumer's.
func TestFilterOfReplacedConfig(t *testing.T) {
	var tr trail
	consumer := &Consumer{Name: "jack"}
	old := entry(&probe{name: "old", trail: &tr}, "p", 1)
	old.Filter = func(*Exchange) bool { return false }
	fresh := entry(accessOnly{&probe{name: "new", trail: &tr}}, "p", 1)
	fresh.Plugin = old.Plugin
	fresh.Filter = func(x *Exchange) bool { return x.Consumer != nil }
	consumer.Plugins = []Entry{fresh}
	auth := entry(rewriteOnly{&probe{name: "auth", trail: &tr, does: map[string]func(*Exchange) Verdict{"rewrite": attach(consumer)}}}, "auth", 0)
	table := &fakeTable{route: &Route{Chain: NewChain([]Entry{old, auth}), Upstream: fakeUpstream(1)}}
	drive(t, newExchange(table), &tr, "")
	wantTrail(t, tr, "rewrite auth", "access new", "wire: forward")
}

func TestFilterReadsBody(t *testing.T) {
	var tr trail
	sees := func(x *Exchange) bool {
		body, ok := x.BodyBuffered()
		return ok && string(body) == "yes"
	}
	early := entry(rewriteOnly{&probe{name: "early", trail: &tr}}, "early", 2)
	early.Filter, early.FilterReadsBody = sees, 10
	table := &fakeTable{route: &Route{Chain: NewChain([]Entry{early}), Upstream: fakeUpstream(1)}}
	drive(t, newExchange(table), &tr, "yes")
	wantTrail(t, tr, "wire: body", "rewrite early", "wire: forward")

	tr = nil
	drive(t, newExchange(table), &tr, "much longer than that")
	wantTrail(t, tr, "wire: body", "wire: forward")

	tr = nil
	late := entry(headerOnly{&probe{name: "late", trail: &tr}}, "late", 1)
	late.Filter, late.FilterReadsBody = sees, 10
	table.route = &Route{Chain: NewChain([]Entry{late}), Upstream: fakeUpstream(1)}
	drive(t, newExchange(table), &tr, "yes")
	wantTrail(t, tr, "wire: body", "wire: forward", "header late")
}

func TestPreferRoute(t *testing.T) {
	var tr trail
	global := entry(&probe{name: "global", trail: &tr}, "p", 1)
	global.Plugin.PreferRoute = true
	own := entry(accessOnly{&probe{name: "own", trail: &tr}}, "p", 1)
	own.Plugin = global.Plugin
	table := &fakeTable{
		globals: NewChain([]Entry{global}), route: &Route{Chain: NewChain([]Entry{own}), Upstream: fakeUpstream(1)},
	}
	drive(t, newExchange(table), &tr, "")
	wantTrail(t, tr, "access own", "wire: forward")
	tr = nil
	table.route.Chain = nil
	drive(t, newExchange(table), &tr, "")
	if len(tr) != 7 {
		t.Errorf("on a route without the plugin: got %q, want all hooks of the global one", tr)
	}
}

func TestExit(t *testing.T) {
	var tr trail
	exit := func(status int, body []byte) map[string]func(*Exchange) Verdict {
		return map[string]func(*Exchange) Verdict{"access": func(x *Exchange) Verdict { return x.Exit(status, body) }}
	}
	for _, c := range []struct {
		name                    string
		status                  int
		body, override          []byte
		isJSON                  bool
		wantStatus              int
		wantBody, wantMediaType string
	}{
		{"body", 403, []byte("no"), nil, false, 403, "no", "text/plain; charset=utf-8"},
		{"status page", 418, nil, nil, false, 418, "<center><h1>418 I'm a teapot</h1></center>", "text/html; charset=utf-8"},
		{"empty", 204, nil, nil, false, 204, "", ""},
		{"error_response", 403, []byte("no"), []byte("never"), false, 403, "never", "text/plain; charset=utf-8"},
		{"error_response as JSON", 403, []byte("no"), []byte("{}"), true, 403, "{}\n", "text/plain; charset=utf-8"},
		{"error_response for a status page", 503, nil, []byte("never"), false, 503, "never", "text/plain; charset=utf-8"},
		{"error_response below 400", 302, []byte("there"), []byte("never"), false, 302, "there", "text/plain; charset=utf-8"},
		{"no status", 0, []byte("lost"), nil, false, 500, "<center><h1>500 Internal Server Error</h1></center>", "text/html; charset=utf-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr = nil
			e := entry(&probe{name: "exits", trail: &tr, does: exit(c.status, c.body)}, "a", 2)
			e.ErrorResponse, e.ErrorIsJSON = c.override, c.isJSON
			after := entry(&probe{name: "after", trail: &tr}, "b", 1)
			table := &fakeTable{
				globals: NewChain([]Entry{entry(&probe{name: "global", trail: &tr}, "g", 1)}),
				route:   &Route{Chain: NewChain([]Entry{e, after}), Upstream: fakeUpstream(1)},
			}
			x := newExchange(table)
			sent := drive(t, x, &tr, "")
			wantTrail(t, tr,
				"rewrite global", "rewrite exits", "rewrite after", "access global", "access exits", "wire: reply",
				"header global", "header exits", "header after", "body global", "body exits", "body after",
				"log global", "log exits", "log after",
			)
			if x.Response.Status != c.wantStatus || !strings.Contains(sent, c.wantBody) || c.wantBody == "" && sent != "" {
				t.Errorf("got %d %q, want %d %q", x.Response.Status, sent, c.wantStatus, c.wantBody)
			}
			if got := x.Response.Header.Get("Content-Type"); got != c.wantMediaType {
				t.Errorf("got Content-Type %q, want %q", got, c.wantMediaType)
			}
			if x.Response.FromNode || x.Response.Header.Get("Server") != "APISIX/"+CompatibleVersion {
				t.Error("the response is not the gateway's own")
			}
		})
	}
}

func TestNoRouteAndFaults(t *testing.T) {
	var tr trail
	globals := NewChain([]Entry{entry(&probe{name: "global", trail: &tr}, "g", 1)})
	for _, c := range []struct {
		name   string
		route  *Route
		status int
		body   string
		run    bool
	}{
		{"no route", nil, 404, `{"error_msg":"404 Route Not Found"}` + "\n", true},
		{"fault", &Route{Fault: 503, FaultReason: "x", Chain: globals}, 503, "503 Service Unavailable", false},
		{"no upstream", &Route{}, 503, "503 Service Unavailable", true},
		{"missing upstream", &Route{UpstreamID: "7"}, 502, "502 Bad Gateway", true},
		{"upstream at fault", &Route{Upstream: &Upstream{Fault: 500}}, 500, "500", true},
		{"no nodes", &Route{Upstream: &Upstream{}}, 503, "503", true},
		{"nobody to pick", &Route{Upstream: fakeUpstream(0)}, 502, "502", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr = nil
			x := newExchange(&fakeTable{globals: globals, route: c.route})
			sent := drive(t, x, &tr, "")
			if x.Response.Status != c.status || !strings.Contains(sent, c.body) {
				t.Errorf("got %d %q, want %d %q", x.Response.Status, sent, c.status, c.body)
			}
			if ran := slices.Contains(tr, "access global"); ran != c.run {
				t.Errorf("the global rules ran: %v, want %v", ran, c.run)
			}
			if !slices.Contains(tr, "log global") {
				t.Error("the global rules have not logged it")
			}
		})
	}
}
