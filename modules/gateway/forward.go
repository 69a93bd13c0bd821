// SPDX-License-Identifier: Apache-2.0

package gateway

import "time"

// Forward is what an exchange sends to a node, and how far that has come. Plugins change the first part before the
// request is forwarded; empty fields stand for what the request and the upstream say.
type Forward struct {
	// Upstream overrides the route's.
	Upstream *Upstream
	// Method, Target, Host and Scheme override the request's. Target is a path with its query, in the spelling that is
	// sent.
	Method, Target, Host, Scheme string
	// Body replaces the client's when BodyReplaced is set.
	Body         []byte
	BodyReplaced bool

	// Node is the node of the current attempt.
	Node *Node
	// Attempts lists the attempts so far, the current one included.
	Attempts []Attempt
	// Phase is how far the current attempt has come. The wire sets it before it calls Failed, if it knows.
	Phase Phase

	deadline time.Time
}

// Attempt is one try to get a response from one node.
type Attempt struct {
	Node  *Node
	Began time.Time
	// Took is how long the attempt lasted until its response head or its failure.
	Took time.Duration
	// Status is the node's, or the one that stands for the failure: 502 or 504.
	Status int
	// Failure is NoFailure when the node answered.
	Failure Failure
	done    bool
}

// Failure is how an attempt failed.
type Failure uint8

const (
	NoFailure Failure = iota
	// FailedConnect: no connection. Nothing was sent.
	FailedConnect
	// FailedTimeout: the node was too slow in some phase.
	FailedTimeout
	// FailedBroken: the connection broke, or what came was not HTTP.
	FailedBroken
)

func (f *Forward) reset() {
	attempts := f.Attempts
	clear(attempts)
	*f = Forward{Attempts: attempts[:0]}
}

// Tried reports whether an attempt of this exchange has gone to the node.
func (x *Exchange) Tried(node *Node) bool {
	for i := range x.Forward.Attempts {
		if x.Forward.Attempts[i].Node == node {
			return true
		}
	}
	return false
}

// Pick chooses the node of the next attempt and runs the BeforeProxy hooks. It returns nil, with x.Response set, when
// no node is left or a hook panicked.
func (x *Exchange) Pick() (node *Node) {
	defer func() {
		if p := recover(); p != nil {
			x.panicked(p)
			node = nil
		}
	}()
	f := &x.Forward
	node = f.Upstream.Balancer.Pick(x)
	if node == nil {
		status := 502
		if n := len(f.Attempts); n > 0 {
			status = f.Attempts[n-1].Status
		} else {
			x.Blame(ByGateway, PhaseBalance, "no node to pick")
		}
		x.reply(status, nil)
		return nil
	}
	f.Node, f.Phase = node, ""
	now := time.Now()
	if len(f.Attempts) == 0 && f.Upstream.RetryTimeout > 0 {
		f.deadline = now.Add(f.Upstream.RetryTimeout)
	}
	node.State.InFlight.Add(1)
	f.Attempts = append(f.Attempts, Attempt{Node: node, Began: now})
	x.beforeProxy()
	return node
}

// Failed ends the current attempt. again tells the wire to Pick once more: it does so only when the request can be
// repeated, which repeatable says (nothing was sent, or an idempotent request whose body is still at hand). When again
// is false x.Response holds the 502 or 504 to send.
func (x *Exchange) Failed(failure Failure, repeatable bool) (again bool) {
	status := 502
	if failure == FailedTimeout {
		status = 504
	}
	x.endAttempt(status, failure)
	x.blameFailure(failure)
	f := &x.Forward
	if repeatable && len(f.Attempts) <= f.Upstream.Retries {
		if f.deadline.IsZero() || time.Now().Before(f.deadline) {
			return true
		}
		status = 502
	}
	x.reply(status, nil)
	return false
}

// endAttempt records what became of the current attempt, once. status is 0 when the client went before the node answered.
func (x *Exchange) endAttempt(status int, failure Failure) {
	if len(x.Forward.Attempts) == 0 {
		return
	}
	a := &x.Forward.Attempts[len(x.Forward.Attempts)-1]
	if a.done {
		return
	}
	a.done = true
	a.Took, a.Status, a.Failure = time.Since(a.Began), status, failure
	// When the client went first nobody knows how the node would have done.
	unknown := failure == NoFailure && status == 0
	if failure != NoFailure {
		status = 0
	}
	if observer, ok := x.Forward.Upstream.Balancer.(AttemptObserver); ok && !unknown {
		observer.Observe(a.Node, a.Took, status)
	}
	if health := x.Forward.Upstream.Health; health != nil && !unknown {
		health.Report(a.Node, status, failure)
	}
	if failure != NoFailure {
		a.Node.State.InFlight.Add(-1)
		x.Forward.Node = nil
	}
}

// Timeout returns the bounds of the phases of an attempt: the route's, else the upstream's, else 60 s each.
func (x *Exchange) Timeout() Timeout {
	t := Timeout{60 * time.Second, 60 * time.Second, 60 * time.Second}
	for _, over := range [...]Timeout{x.Forward.Upstream.Timeout, x.Route.Timeout} {
		if over.Connect > 0 {
			t.Connect = over.Connect
		}
		if over.Send > 0 {
			t.Send = over.Send
		}
		if over.Read > 0 {
			t.Read = over.Read
		}
	}
	return t
}

// ForwardMethod, ForwardTarget, ForwardScheme and ForwardHost say what is sent to the current node.
func (x *Exchange) ForwardMethod() string {
	if x.Forward.Method != "" {
		return x.Forward.Method
	}
	return x.Request.Method
}

// ForwardTarget is the request target that is sent: the canonical path and the query, unless a plugin chose another.
func (x *Exchange) ForwardTarget() string {
	if x.Forward.Target != "" {
		return x.Forward.Target
	}
	return x.Request.RequestURI()
}

// ForwardScheme is http, https, grpc or grpcs.
func (x *Exchange) ForwardScheme() string {
	if x.Forward.Scheme != "" {
		return x.Forward.Scheme
	}
	return x.Forward.Upstream.Scheme
}

// ForwardHost is the Host that is sent, and for https the name in the TLS handshake.
func (x *Exchange) ForwardHost() string {
	if x.Forward.Host != "" {
		return x.Forward.Host
	}
	switch x.Forward.Upstream.PassHost {
	case "node":
		return x.Forward.Node.HostHeader
	case "rewrite":
		return x.Forward.Upstream.UpstreamHost
	}
	if x.Request.RawHost == "" {
		return x.Forward.Node.HostHeader
	}
	return x.Request.RawHost
}
