// SPDX-License-Identifier: Apache-2.0

package gateway

// Party is who failed.
type Party uint8

const (
	// Nobody failed.
	Nobody Party = iota
	// ByClient: it sent something bad, asked for what it may not have, was too slow, or left.
	ByClient
	// ByGateway: the gateway could not do what it is configured to do.
	ByGateway
	// ByUpstream: nodes could not be reached, broke off, were too slow, or answered with a server error.
	ByUpstream
)

var parties = [...]string{"", "client", "gateway", "upstream"}

// String returns the word for logs: client, gateway or upstream.
func (p Party) String() string { return parties[p] }

// Phase is how far an exchange had come when it failed, as a word for logs.
type Phase string

// In the order in which an exchange goes through them.
const (
	// PhaseHead and PhaseBody: the request is read.
	PhaseHead Phase = "request_head"
	PhaseBody Phase = "request_body"
	// PhaseMatch: a route is looked for. PhasePlugin: hooks run. PhaseBalance: upstream and node are chosen.
	PhaseMatch   Phase = "match"
	PhasePlugin  Phase = "plugin"
	PhaseBalance Phase = "balance"
	// PhaseConnect: a connection to the node is made. PhaseSend: the request is sent. PhaseWait: its answer is awaited.
	PhaseConnect Phase = "connect"
	PhaseSend    Phase = "send"
	PhaseWait    Phase = "wait"
	// PhaseAnswer: the node answered with a 5xx. PhaseReceive: it did not send its response to the end.
	PhaseAnswer  Phase = "answer"
	PhaseReceive Phase = "receive"
	// PhaseFilter: the response body passes the filters. PhaseReply: the response is sent to the client.
	PhaseFilter Phase = "filter"
	PhaseReply  Phase = "reply"
)

// Blame says who kept the client from getting what it asked for. The zero value says that nobody did.
type Blame struct {
	By    Party
	Phase Phase
	// Reason is more exact: the name of the plugin that ended the request, or a few words. It is not made of what the
	// client sent.
	Reason string
}

// Blame records who failed, in the place of what was recorded before: a failed attempt is forgiven when a later one
// succeeds. Wires call it for what only they see, and before [Exchange.Reject].
func (x *Exchange) Blame(by Party, phase Phase, reason string) { x.blame = Blame{by, phase, reason} }

// Blamed returns what is recorded.
func (x *Exchange) Blamed() Blame { return x.blame }

// blameStatus records who stands behind a status that the gateway itself has chosen.
func (x *Exchange) blameStatus(status int, phase Phase, reason string) {
	switch {
	case status >= 500:
		x.Blame(ByGateway, phase, reason)
	case status >= 400:
		x.Blame(ByClient, phase, reason)
	}
}

var failures = [...]string{"", "no connection", "timeout", "connection broke or answer is not HTTP"}

// String returns a few words for logs.
func (f Failure) String() string { return failures[f] }

// blameFailure records how an attempt failed.
func (x *Exchange) blameFailure(failure Failure) {
	phase := x.Forward.Phase
	if phase == "" {
		phase = PhaseWait
	}
	if failure == FailedConnect {
		phase = PhaseConnect
	}
	x.Blame(ByUpstream, phase, failure.String())
}
