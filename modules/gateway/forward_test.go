// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"slices"
	"testing"
	"time"
)

func forwarding(t *testing.T, upstream *Upstream) *Exchange {
	t.Helper()
	x := newExchange(&fakeTable{route: &Route{Upstream: upstream}})
	if x.Next(false) != StepForward {
		t.Fatal("not forwarded")
	}
	return x
}

func TestRetries(t *testing.T) {
	upstream := fakeUpstream(3)
	upstream.Retries = 1
	x := forwarding(t, upstream)
	first := x.Pick()
	if !x.Failed(FailedConnect, true) {
		t.Fatal("the first failure is final, want another attempt")
	}
	second := x.Pick()
	if first == second || inFlight(upstream) != 1 {
		t.Errorf("the same node twice, or %d attempts under way", inFlight(upstream))
	}
	x.BeginResponse(503)
	x.FilterHeader()
	if got := x.Response.Header.Get("X-APISIX-Upstream-Status"); got != "502, 503" {
		t.Errorf("X-APISIX-Upstream-Status: got %q, want both", got)
	}
	x.Finish()
	if seen := upstream.Balancer.(*inOrder).seen; !slices.Equal(seen, []int{0, 503}) || inFlight(upstream) != 0 {
		t.Errorf("the balancer heard of %v, %d attempts under way", seen, inFlight(upstream))
	}
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		name       string
		failures   []Failure
		repeatable bool
		nodes      int
		status     int
	}{
		{"connect", []Failure{FailedConnect}, true, 1, 502},
		{"timeout", []Failure{FailedTimeout}, true, 1, 504},
		{"not repeatable", []Failure{FailedTimeout}, false, 3, 504},
		{"all", []Failure{FailedConnect, FailedTimeout}, true, 2, 504},
		{"last counts", []Failure{FailedTimeout, FailedBroken}, true, 2, 502},
	} {
		t.Run(c.name, func(t *testing.T) {
			upstream := fakeUpstream(c.nodes)
			x := forwarding(t, upstream)
			for i, failure := range c.failures {
				if x.Pick() == nil {
					t.Fatal("no node")
				}
				if again := x.Failed(failure, c.repeatable); again != (i < len(c.failures)-1) {
					t.Fatalf("failure %d: another attempt %v", i+1, again)
				}
			}
			x.FilterHeader()
			x.Finish()
			if x.Response.Status != c.status || x.Response.FromNode || inFlight(upstream) != 0 {
				t.Errorf("got status %d, %d attempts under way; want %d", x.Response.Status, inFlight(upstream), c.status)
			}
		})
	}
}

func TestRetryTimeout(t *testing.T) {
	upstream := fakeUpstream(3)
	upstream.RetryTimeout = time.Nanosecond
	x := forwarding(t, upstream)
	x.Pick()
	if x.Failed(FailedTimeout, true) {
		t.Error("another attempt after retry_timeout")
	}
	if x.Response.Status != 502 {
		t.Errorf("got status %d, want 502", x.Response.Status)
	}
	x.Finish()
}

func TestNodesRunOut(t *testing.T) {
	upstream := fakeUpstream(1)
	upstream.Retries = 5
	x := forwarding(t, upstream)
	x.Pick()
	if !x.Failed(FailedTimeout, true) || x.Pick() != nil || x.Response.Status != 504 {
		t.Errorf("got status %d, want the last attempt's 504", x.Response.Status)
	}
	x.Finish()
}

func TestForwardChoices(t *testing.T) {
	upstream := fakeUpstream(1)
	upstream.Timeout = Timeout{Connect: time.Second, Read: 2 * time.Second}
	x := newExchange(&fakeTable{route: &Route{Upstream: upstream, Timeout: Timeout{Read: 3 * time.Second}}})
	x.Request.Query = "q=1"
	x.Next(false)
	x.Pick()
	defer x.Finish()
	if got, want := x.Timeout(), (Timeout{time.Second, time.Minute, 3 * time.Second}); got != want {
		t.Errorf("timeout: got %v, want %v", got, want)
	}
	got := []string{x.ForwardMethod(), x.ForwardTarget(), x.ForwardScheme(), x.ForwardHost()}
	if want := []string{"GET", "/a?q=1", "http", "h"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	upstream.PassHost = "node"
	if got := x.ForwardHost(); got != "node" {
		t.Errorf("pass_host node: got %q", got)
	}
	upstream.PassHost, upstream.UpstreamHost = "rewrite", "inner"
	if got := x.ForwardHost(); got != "inner" {
		t.Errorf("pass_host rewrite: got %q", got)
	}
	x.Forward.Method, x.Forward.Target, x.Forward.Scheme, x.Forward.Host = "PUT", "/b", "https", "other"
	got = []string{x.ForwardMethod(), x.ForwardTarget(), x.ForwardScheme(), x.ForwardHost()}
	if want := []string{"PUT", "/b", "https", "other"}; !slices.Equal(got, want) {
		t.Errorf("a plugin's choice: got %q, want %q", got, want)
	}
}
