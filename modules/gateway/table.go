// SPDX-License-Identifier: Apache-2.0

package gateway

import "iter"

// Table is one complete, compiled configuration: the frozen table. It is immutable and safe for concurrent use. An
// exchange works on one table from its first to its last hook.
type Table interface {
	// Match returns the route for x.Request, or nil, and sets x.Params, x.MatchedURI, x.MatchedHost and x.Volatile. It
	// allocates nothing. trace, when not nil, is told of every candidate; the data path passes nil.
	Match(x *Exchange, trace Trace) *Route
	// ReadsBody says that conditions of some route look at the request body (post_arg, graphql). When it is not 0, the
	// body of a request that could carry such values is read up to that many bytes before Match.
	ReadsBody(x *Exchange) int64

	// Globals returns the chain of all global rules; nil is none.
	Globals() *Chain
	// Credential finds what NewCredential of the named plugin compiled for key; nil is unknown.
	Credential(plugin, key string) *Credential
	// Consumer finds a consumer by name; nil is unknown.
	Consumer(name string) *Consumer
	// Upstream finds a shared upstream by id; nil is unknown.
	Upstream(id string) *Upstream
	// Metadata returns what NewMetadata of the named plugin compiled; nil is none.
	Metadata(plugin string) any

	// Object and Objects read what the table was compiled from; Objects yields a kind's in key order.
	Object(kind Kind, id string) (Object, bool)
	Objects(kind Kind) iter.Seq[Object]
	// Revision is that of the newest change in the table.
	Revision() uint64

	// With returns a table with the changes applied, sharing whatever did not change. The error is a [Refusal] when a
	// changed object cannot be compiled, and the receiver is as it was in any case.
	With(changes []Change) (Table, error)
}

// Compiler makes tables. It carries what decides how objects are compiled: the router, the plugins, defaults.
type Compiler interface {
	// Compile makes a table of stored objects. It never fails: an object that cannot be compiled answers 503 where it
	// matches, or is left out where not even that is possible, and is reported in faults.
	Compile(rev uint64, objects []Object) (table Table, faults []error)
}

// Recompiler is implemented by compilers that can take over from the table served so far: nodes, balancers and plugin
// instances of objects that did not change go on, with what they have counted, when a new generation compiles everything.
type Recompiler interface {
	// Recompile is Compile after prior, which any Compiler may have made.
	Recompile(prior Table, rev uint64, objects []Object) (table Table, faults []error)
}

// HostTable is implemented by tables that know the hosts of their routes.
type HostTable interface {
	Table
	// Hosts yields the hosts that routes name, their own or their service's, each once: in lower case, some with a leading
	// asterisk. Routes that are switched off do not count.
	Hosts() iter.Seq[string]
	// ServesHost reports whether a route names the host; with wildcards also by a pattern.
	ServesHost(host string, wildcards bool) bool
}

// CheckedTable is implemented by tables that know which of their upstreams have Health.
type CheckedTable interface {
	Table
	// Checked yields them, each once, in the order of their keys.
	Checked() iter.Seq[*Upstream]
	// ChecksAsIn reports that Checked yields the very same for the other table. It may say no when it does.
	ChecksAsIn(other Table) bool
}

// Trace is told, in order, which candidates Match looked at.
type Trace interface {
	// Consider says what became of one candidate. pattern is the path pattern it stands for.
	Consider(route *Route, pattern string, outcome Outcome)
}

// Outcome is why a candidate was not, or was, the route.
type Outcome uint8

// In the order in which they are checked.
const (
	Matched Outcome = iota
	FailedMethod
	FailedRemoteAddr
	FailedHost
	FailedVars
	FailedExpression
	FailedFilter
	FailedPath
	// Broken: the condition itself failed, and with it the request.
	Broken
)

var outcomeNames = [...]string{"matched", "method", "remote_addr", "host", "vars", "expression", "filter_func", "path", "error"}

// String returns the word that `why` prints: "matched", or the condition that failed.
func (o Outcome) String() string { return outcomeNames[o] }

// Refusal is an error in what a user asked for, with the text to show.
type Refusal struct {
	// Status is the HTTP status of the refusal; 0 is 400.
	Status int
	// Message is APISIX's text where it has one.
	Message string
}

func (r *Refusal) Error() string { return r.Message }

// Param is one path parameter: for a pattern "/u/:id" Name is "id". An unnamed tail is ":ext".
type Param struct{ Name, Value string }
