// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"crypto/tls"
	"sync/atomic"
	"time"
)

// Upstream is a compiled upstream. It is immutable; what changes while it serves lives in its nodes and its balancer,
// which carry over to the next table when they did not change.
type Upstream struct {
	// Key is the key of the object that declares it: an upstream's own, or that of the route or service around it.
	Key, ID, Name string
	// Type is the name of the balancing algorithm: roundrobin, chash, least_conn or ewma.
	Type string
	// HashOn and HashKey are what chash hashes: APISIX's `hash_on` and `key`.
	HashOn, HashKey string
	Nodes           []*Node
	Balancer        Balancer
	// Health hears how attempts end; nil when the upstream asks for no health checks.
	Health HealthObserver
	// Scheme is http, https, grpc or grpcs. To stream routes tls is TLS to the node, and all others are plain.
	Scheme string
	// PassHost is pass, node or rewrite; UpstreamHost is the Host sent for rewrite.
	PassHost, UpstreamHost string
	// Retries is how many attempts may follow the first.
	Retries int
	// RetryTimeout bounds the time in which a further attempt may begin; 0 is no bound.
	RetryTimeout time.Duration
	Timeout      Timeout
	KeepAlive    KeepAlive
	// TLSVerify checks the node's certificate against the system's roots.
	TLSVerify bool
	// ClientCertificate is presented to https and grpcs nodes; nil is none.
	ClientCertificate *tls.Certificate
	Labels            map[string]string
	// Fault is the status that answers when no node can be used as configured, such as 503 for no nodes. 0 is none.
	Fault int
	// FaultReason says why, for the log.
	FaultReason string
}

// KeepAlive bounds the idle connections to the nodes of an upstream.
type KeepAlive struct {
	Size        int
	IdleTimeout time.Duration
	// Requests is how many requests one connection serves.
	Requests int
}

// Node is one server of an upstream. It is immutable but for State, and the same pointer in every table in which it did
// not change.
type Node struct {
	// Host is an address, IPv6 without brackets, or a name that is to be resolved when the node is dialled. Port is never 0:
	// the scheme's default is filled in.
	Host string
	Port int
	// Name is the name of which Host is an address, and empty for a node that is not found by name.
	Name string
	// Addr is Host and Port as they are dialled.
	Addr string
	// HostHeader is the text that pass_host=node sends: the port is left out when it is the scheme's default.
	HostHeader string
	// Weight 0 is never picked, unless the node is the only one. Nodes of a higher Priority are tried first.
	Weight, Priority int
	State            *NodeState
}

// HostName is what the node is called: its Name, or else its Host.
func (n *Node) HostName() string {
	if n.Name != "" {
		return n.Name
	}
	return n.Host
}

// NodeState is what is counted for one address of one upstream. It survives every change that keeps the address.
type NodeState struct {
	// InFlight counts the attempts under way.
	InFlight atomic.Int64
	// Latency is the ewma balancer's running average, in its own encoding. It is here so that it survives changes.
	Latency atomic.Uint64
	// Health is what health checks have found, in the encoding of package health: its lowest bit says that the node is
	// unhealthy. 0 is a node of which nothing bad is known.
	Health atomic.Uint64
}

// Unhealthy reports whether health checks hold the node for unhealthy.
func (s *NodeState) Unhealthy() bool { return s.Health.Load()&1 != 0 }

// Balancer picks nodes. It is safe for concurrent use.
type Balancer interface {
	// Pick returns the node for the exchange's next attempt, or nil when none is left: every node was Tried, and there
	// is more than one.
	Pick(x *Exchange) *Node
}

// HealthBalancer is implemented by balancers that leave out unhealthy nodes.
type HealthBalancer interface {
	Balancer
	// Refresh looks at the nodes' health anew. Whoever changes it calls this afterwards; picks go on meanwhile.
	Refresh()
}

// HealthObserver judges nodes by the attempts that requests make. It is safe for concurrent use and must not wait.
type HealthObserver interface {
	// Report is called once per attempt whose outcome is known. status is the node's, and 0 when failure says how it
	// failed instead.
	Report(node *Node, status int, failure Failure)
}

// AttemptObserver is implemented by balancers that learn from what became of an attempt.
type AttemptObserver interface {
	// Observe is called once per attempt, when its outcome is known. status is the node's, or 0 when it gave none.
	Observe(node *Node, took time.Duration, status int)
}
