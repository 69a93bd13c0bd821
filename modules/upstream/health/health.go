// SPDX-License-Identifier: Apache-2.0

// Package health checks nodes: it probes them, counts how requests to them end, and tells balancers whom to leave out.
//
// A [Checker] belongs to one version of one object; what it has found out lives in the nodes' states and in a record that
// the versions share. A [Pool] probes for the checkers that are in use.
package health

import (
	"sync/atomic"

	"github.com/andogate/ando/modules/gateway"
)

// Status is what is held of a node. Healthy and MostlyHealthy ones are picked.
type Status uint8

// The numbers are the encoding in gateway.NodeState.Health: bit 0 is what balancers look at.
const (
	// Healthy: nothing bad is known.
	Healthy Status = 0
	// Unhealthy: a limit of failures was reached.
	Unhealthy Status = 1
	// MostlyHealthy: healthy, and failures have been seen.
	MostlyHealthy Status = 2
	// MostlyUnhealthy: unhealthy, and successes have been seen.
	MostlyUnhealthy Status = 3
)

var statusNames = [...]string{"healthy", "unhealthy", "mostly_healthy", "mostly_unhealthy"}

// String returns APISIX's word.
func (s Status) String() string { return statusNames[s] }

// Up reports whether a node of that status is picked.
func (s Status) Up() bool { return s&1 == 0 }

// Counters are the successes or failures that count towards the next change.
type Counters struct {
	Success        uint8 `json:"success"`
	HTTPFailure    uint8 `json:"http_failure"`
	TCPFailure     uint8 `json:"tcp_failure"`
	TimeoutFailure uint8 `json:"timeout_failure"`
}

// event is one thing that counts: what it is, and how many make a change. Limit 0 is never.
type event struct {
	kind  kind
	limit uint8
}

// kind is the place of a counter.
type kind uint8

const (
	success kind = iota
	httpFailure
	tcpFailure
	timeoutFailure
)

// The state of a node in gateway.NodeState.Health: the status in the lowest byte, then a byte for each counter.
const (
	statusMask   = 0xff
	counterShift = 8
	successMask  = 0xff << counterShift
	failureMask  = 0xff_ff_ff << (2 * counterShift)
)

func statusOf(word uint64) Status { return Status(word & statusMask) }

func countersOf(word uint64) Counters {
	return Counters{uint8(word >> 8), uint8(word >> 16), uint8(word >> 24), uint8(word >> 32)}
}

// settled reports whether an event says nothing new: successes of the healthy and failures of the unhealthy are not
// counted. It is what requests mostly end with.
func settled(word uint64, k kind) bool {
	if k == success {
		return statusOf(word) == Healthy
	}
	return statusOf(word) == Unhealthy
}

// count counts an event, as lua-resty-healthcheck does: a success clears the failures and a failure the successes, the
// limit decides, and the first one against a settled status makes it a mostly. What has been counted stays after a
// change, for people to see.
func count(state *atomic.Uint64, e event) (before, after Status) {
	for {
		old := state.Load()
		before = statusOf(old)
		if e.limit == 0 || settled(old, e.kind) {
			return before, before
		}
		word := old &^ statusMask
		if e.kind == success {
			word &= successMask
		} else {
			word &= failureMask
		}
		shift := counterShift * (1 + uint(e.kind))
		n := uint8(word >> shift)
		if n < 0xff {
			n++
			word += 1 << shift
		}
		after = before
		switch {
		case n >= e.limit && e.kind == success:
			after = Healthy
		case n >= e.limit:
			after = Unhealthy
		case before == Healthy:
			after = MostlyHealthy
		case before == Unhealthy:
			after = MostlyUnhealthy
		}
		if state.CompareAndSwap(old, word|uint64(after)) {
			return before, after
		}
	}
}

var _ gateway.HealthObserver = (*Checker)(nil)
