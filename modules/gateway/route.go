// SPDX-License-Identifier: Apache-2.0

package gateway

import "time"

// Route is a route with its service and plugin config merged in, ready to run. It is immutable and shared by every
// table in which nothing it was made from has changed.
type Route struct {
	ID, Name               string
	ServiceID, ServiceName string
	// Chain holds the merged plugins; nil is none.
	Chain *Chain
	// Upstream is the one declared inline in the route or its service; UpstreamID names a shared one, looked up in the
	// exchange's table. At most one is set; neither means that only plugins can answer.
	Upstream   *Upstream
	UpstreamID string
	// Onward says that what answers is no node but the next handler of a Caddy site: StepForward comes without an
	// upstream, and the request keeps the fields that concern the client's connection.
	Onward bool
	// Timeout overrides the upstream's where it is not zero.
	Timeout Timeout
	// Websocket lets Upgrade pass to the node.
	Websocket bool
	// Fault is the status that answers every request of a route which cannot be served as configured, such as 503 for a
	// missing plugin config. 0 is none.
	Fault int
	// FaultReason says why, for the log.
	FaultReason string
	// Labels are the route's own, or its service's.
	Labels map[string]string
}

// Timeout bounds the phases of one attempt to reach a node. Zero fields are unset. Send and Read bound the time between
// two successful operations, not the whole transfer, as nginx's proxy_send_timeout and proxy_read_timeout do.
type Timeout struct{ Connect, Send, Read time.Duration }

// Consumer is a compiled consumer. It is immutable.
type Consumer struct {
	Name, GroupID string
	Labels        map[string]string
	// Plugins are what the group and the consumer add to a route, the consumer's over the group's. Credentials are not
	// among them.
	Plugins []Entry
	// Fault is 503 when the consumer's group is missing, otherwise 0.
	Fault int
	// Object is the stored consumer.
	Object Object
}

// Credential is what an auth plugin looks up by the key a client presents.
type Credential struct {
	// ID is the credential's short id; empty when the credential is part of the consumer itself.
	ID       string
	Consumer *Consumer
	// Config is what Plugin.NewCredential returned.
	Config any
}
