// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"slices"
	"testing"
)

// TestPanics: whatever a hook does, the client gets a response that does not look like success, every logger hears of it,
// and the node is let go.
func TestPanics(t *testing.T) {
	for _, where := range []string{"rewrite", "access", "before_proxy", "header", "body", "log"} {
		t.Run(where, func(t *testing.T) {
			var tr trail
			bad := entry(&probe{name: "bad", trail: &tr, does: map[string]func(*Exchange) Verdict{
				where: func(*Exchange) Verdict { panic("bad hook") },
			}}, "bad", 2)
			good := entry(&probe{name: "good", trail: &tr}, "good", 1)
			upstream := fakeUpstream(2)
			x := newExchange(&fakeTable{route: &Route{Chain: NewChain([]Entry{bad, good}), Upstream: upstream}})
			x.Response.Header.Add("X-Secret", "set before the panic")
			sent := drive(t, x, &tr, "")
			if !slices.Contains(tr, "log good") {
				t.Error("the other logger did not run")
			}
			if n := inFlight(upstream); n != 0 {
				t.Errorf("%d attempts are still under way", n)
			}
			switch where {
			case "log":
				if x.Response.Status != 200 || sent != "node" {
					t.Errorf("got %d %q, want the node's", x.Response.Status, sent)
				}
			case "body":
				if sent != "" || !x.Broken() {
					t.Errorf("got %q, broken %v: want nothing, and the connection cut", sent, x.Broken())
				}
			default:
				if x.Response.Status != 500 || x.Response.FromNode || x.Broken() {
					t.Errorf("got status %d, from the node %v, broken %v: want a 500 of the gateway's own",
						x.Response.Status, x.Response.FromNode, x.Broken())
				}
			}
			if where == "header" && (x.Response.Header.Get("X-Node") != "" || x.Response.Header.Get("Server") == "") {
				t.Errorf("the head is %v, want the gateway's alone", x.Response.Header)
			}
			if where == "before_proxy" && len(upstream.Balancer.(*inOrder).seen) > 0 {
				t.Error("the node is blamed for an attempt that never began")
			}
		})
	}
}

func TestPanicInMatch(t *testing.T) {
	var tr trail
	table := &fakeTable{
		globals: NewChain([]Entry{entry(&probe{name: "global", trail: &tr}, "g", 1)}),
		onMatch: func(*Exchange) { panic("bad table") },
	}
	x := newExchange(table)
	drive(t, x, &tr, "")
	wantTrail(t, tr, "wire: reply", "header global", "body global", "log global")
	if x.Response.Status != 500 {
		t.Errorf("got status %d, want 500", x.Response.Status)
	}
}

func TestClientGone(t *testing.T) {
	var tr trail
	upstream := fakeUpstream(1)
	logger := entry(&probe{name: "a", trail: &tr}, "a", 1)
	x := newExchange(&fakeTable{route: &Route{Chain: NewChain([]Entry{logger}), Upstream: upstream}})
	if x.Next(false) != StepForward || x.Pick() == nil {
		t.Fatal("not forwarded")
	}
	x.Finish()
	if x.Response.Status != 499 || x.Forward.Attempts[0].Status != 0 || inFlight(upstream) != 0 {
		t.Errorf("got status %d, attempt %+v, %d in flight; want 499, no status, none",
			x.Response.Status, x.Forward.Attempts[0], inFlight(upstream))
	}
	if seen := upstream.Balancer.(*inOrder).seen; len(seen) > 0 {
		t.Errorf("the balancer heard of %v, though nobody knows how the node would have done", seen)
	}
	if !slices.Contains(tr, "log a") {
		t.Error("the logger did not run")
	}
}
