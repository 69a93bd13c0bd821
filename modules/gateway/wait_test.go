// SPDX-License-Identifier: Apache-2.0

package gateway

import "testing"

// waiting is a hook that has to wait for the requests with the argument "wait", and answers 418 to those with "refuse".
type waiting struct{ calls *[]bool }

func (w waiting) decide(x *Exchange) Verdict {
	again := *x.State() != nil
	*w.calls = append(*w.calls, again)
	if _, n := x.Request.Arg("wait"); n > 0 && !again {
		*x.State() = true
		return Wait
	}
	if _, n := x.Request.Arg("refuse"); n > 0 {
		return x.Exit(418, nil)
	}
	return Continue
}

type waitingRewriter struct{ waiting }

func (w waitingRewriter) Rewrite(x *Exchange) Verdict { return w.decide(x) }

type waitingAccessor struct{ waiting }

func (w waitingAccessor) Access(x *Exchange) Verdict { return w.decide(x) }

// TestWait: a hook that says Wait is called once more, and only where it may wait; what it says then counts.
func TestWait(t *testing.T) {
	for name, instance := range map[string]func(waiting) any{
		"rewrite": func(w waiting) any { return waitingRewriter{w} },
		"access":  func(w waiting) any { return waitingAccessor{w} },
	} {
		for _, c := range []struct {
			query    string
			mayBlock bool
			steps    []Step
			calls    int
		}{
			{"", false, []Step{StepForward}, 1},
			{"refuse", false, []Step{StepReply}, 1},
			{"wait", false, []Step{StepBlock, StepForward}, 2},
			{"wait&refuse", false, []Step{StepBlock, StepReply}, 2},
			{"wait", true, []Step{StepForward}, 2},
			{"wait&refuse", true, []Step{StepReply}, 2},
		} {
			var calls []bool
			chain := NewChain([]Entry{entry(instance(waiting{&calls}), "w", 1)})
			x := new(Exchange)
			x.Request.Method, x.Request.Query = "GET", c.query
			x.Begin(&fakeTable{route: &Route{Chain: chain, Upstream: fakeUpstream(1)}}, nil, nil)
			mayBlock := c.mayBlock
			for i, want := range c.steps {
				if got := x.Next(mayBlock); got != want {
					t.Errorf("%s %q: step %d: got %v, want %v", name, c.query, i, got, want)
				}
				mayBlock = true
			}
			if len(calls) != c.calls || calls[len(calls)-1] != (c.calls == 2) {
				t.Errorf("%s %q: called %v, want %d times, the last time with its state", name, c.query, calls, c.calls)
			}
		}
	}
}
