// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"net/netip"

	"go.uber.org/zap"
)

// StreamTable is implemented by tables with stream routes.
type StreamTable interface {
	Table
	// Stream returns the route of a connection, or nil. local is where it came in, client who opened it. serverName is what
	// the client's TLS handshake calls the server, in any case, and empty when there is none: routes for the name come
	// before those for any. Stream allocates nothing when the name is in lower case.
	Stream(local, client netip.AddrPort, serverName string) *Route
	// StreamsByName reports whether a route that is for some server names only may be the connection's.
	StreamsByName(local, client netip.AddrPort) bool
}

// Prereader is implemented by the wires of streams, whose clients' first bytes can be looked at before a node is chosen.
type Prereader interface {
	// Preread waits until the client has sent n bytes and returns all that have come, at least those. They are still
	// forwarded. The slice is the wire's and good until the next call. The error says that as many will not come.
	Preread(n int) ([]byte, error)
}

// ErrNoPreread says that the exchange is not a stream whose first bytes can be looked at.
var ErrNoPreread = errors.New("the first bytes of the stream cannot be looked at")

// Preread is [Prereader.Preread] of the exchange's wire, for hooks of Blocking stream plugins.
func (x *Exchange) Preread(n int) ([]byte, error) {
	if wire, ok := x.wire.(Prereader); ok {
		return wire.Preread(n)
	}
	return nil, ErrNoPreread
}

// Admit decides, for an exchange that is a connection and no request, whether it may go to a node: its wire has called Begin
// and set x.Route. It runs the Rewrite and Access hooks of the route's chain, which may wait, and chooses the upstream. After true
// the wire goes on with Pick; after false it closes the connection. It calls Finish in any case:
//
//	g.Begin(x, wire)                      // x.Request has the addresses, and nothing of HTTP
//	x.Route = table.Stream(...)
//	if x.Admit() {
//		for node := x.Pick(); node != nil; {
//			...                           // x.BeginResponse(200) when connected, x.Failed(...) when not
//		}
//	}
//	x.Finish()
func (x *Exchange) Admit() (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			x.panicked(p)
			ok = false
		}
	}()
	switch {
	case x.Route == nil:
		x.Blame(ByClient, PhaseMatch, "no route")
		return false
	case x.Route.Fault != 0:
		x.log().Warn("stream route cannot be served", zap.String("route", x.Route.ID), zap.String("reason", x.Route.FaultReason))
		x.blameStatus(x.Route.Fault, PhaseMatch, x.Route.FaultReason)
		return false
	}
	x.chain = x.Route.Chain
	x.prepareStates(routeStates, x.chain)
	if _, stop := x.rewrite(routeStates, x.chain.rewriteHooks(), true); stop {
		return false
	}
	x.pc = 0
	if _, stop := x.access(routeStates, x.chain.accessHooks(), true); stop {
		return false
	}
	_, stop := x.chooseUpstream()
	return !stop
}

// Release finishes the exchange of a connection that has its node, when no Log hook waits for the end: a connection lasts, and
// an exchange is large. It returns the node, which the connection counts for until the caller says otherwise with
// Node.State.InFlight; nil says that the exchange goes on.
func (x *Exchange) Release() *Node {
	if x.chain != nil && len(x.chain.loggers) > 0 {
		return nil
	}
	node := x.Forward.Node
	x.Forward.Node = nil
	x.Finish()
	return node
}
