// SPDX-License-Identifier: Apache-2.0

package table

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/andogate/ando/modules/gateway"
)

// streamRule is a compiled stream route with what decides whether it matches. It is immutable.
type streamRule struct {
	route gateway.Route
	// sni is a server name, in lower case and maybe with an asterisk in front; empty is any, and none.
	sni string
	// port is where the connection came in; 0 is anywhere.
	port uint16
	// local and client are what the two addresses have to be in; the zero prefix is anything.
	local, client netip.Prefix
	// off says that the route is a superior's subordinate: no connection is its own.
	off bool
}

// admits reports whether a connection to the rule's port may be its.
func (r *streamRule) admits(local, client netip.Addr) bool {
	return (!r.local.IsValid() || r.local.Contains(local)) && (!r.client.IsValid() || r.client.Contains(client))
}

// streamDocument is what only stream routes have.
type streamDocument struct {
	SNI      string          `json:"sni"`
	Port     json.Number     `json:"server_port"`
	Local    string          `json:"server_addr"`
	Client   string          `json:"remote_addr"`
	Protocol *streamProtocol `json:"protocol"`
}

type streamProtocol struct {
	Name     string          `json:"name"`
	Superior json.RawMessage `json:"superior_id"`
	Conf     json.RawMessage `json:"conf"`
	Logger   json.RawMessage `json:"logger"`
}

// read sets what the document says. A rule that cannot be read would take connections that are others'.
func (r *streamRule) read(value json.RawMessage) error {
	var d streamDocument
	if err := json.Unmarshal(value, &d); err != nil {
		return fmt.Errorf("invalid configuration: %w", err)
	}
	r.sni = serverName(d.SNI)
	if d.Port != "" {
		port, err := d.Port.Float64()
		if err != nil || port < 1 || port > 65535 || port != float64(uint16(port)) {
			return fmt.Errorf("invalid server_port: %s", d.Port)
		}
		r.port = uint16(port)
	}
	var err error
	if r.local, err = optionalPrefix("server_addr", d.Local); err != nil {
		return err
	}
	if r.client, err = optionalPrefix("remote_addr", d.Client); err != nil {
		return err
	}
	r.off = d.Protocol != nil && present(d.Protocol.Superior)
	return nil
}

func optionalPrefix(name, text string) (prefix netip.Prefix, err error) {
	if text == "" {
		return prefix, nil
	}
	if prefix, err = parsePrefix(text); err != nil {
		return prefix, fmt.Errorf("invalid %s: %s", name, text)
	}
	return prefix, nil
}

// protocols are those of APISIX that a stream may be said to speak. Streams of them are proxied as any other.
var protocols = map[string]bool{"redis": true, "dubbo": true}

// checkProtocol refuses what would have to be done with single commands of a protocol.
func checkProtocol(value json.RawMessage) error {
	var d streamDocument
	if err := json.Unmarshal(value, &d); err != nil {
		return fmt.Errorf("invalid configuration: %w", err)
	}
	switch p := d.Protocol; {
	case p == nil:
	case !protocols[p.Name]:
		return fmt.Errorf("unknown protocol [%s]", p.Name)
	case present(p.Conf):
		return errors.New("'protocol.conf' is not supported yet: streams are proxied as they are")
	case present(p.Logger):
		return errors.New("'protocol.logger' is not supported yet: streams are proxied as they are")
	}
	return nil
}

// compileStream compiles a stream route. One that cannot be served matches, and its connections are closed; one that cannot
// be read matches nothing.
func (b *builder) compileStream(e, old *entry) error {
	b.streamsChanged = true
	d, err := readDocument(e.Value)
	if err != nil {
		return err
	}
	r := new(streamRule)
	if err := r.read(e.Value); err != nil {
		return err
	}
	r.route.ID = e.ID
	was := versionOf(e, d, old)
	var inline *gateway.Upstream
	if before, ok := priorOf[*streamRule](old); ok {
		was.entry, inline = before.route.Chain.Entry, before.route.Upstream
	}
	own, perr := b.compilePlugins(e, d, was)
	var uerr error
	r.route.Upstream, r.route.UpstreamID, uerr = b.compileTarget(e, d, was, inline)
	err = first(read("name", d.Name, &r.route.Name), read("labels", d.Labels, &r.route.Labels), uerr, perr, checkProtocol(e.Value))
	if id := readID(d.ServiceID); id != "" {
		own = b.joinService(e, r, id, own)
	}
	if err != nil {
		r.fault(503, err.Error())
	}
	if r.route.Fault == 0 {
		r.route.Chain = gateway.NewChain(own.entries)
	}
	e.compiled = r
	return err
}

func (r *streamRule) fault(status int, reason string) {
	r.route.Fault, r.route.FaultReason = status, reason
}

// joinService merges a service into a stream route and returns the plugins of both. The route is compiled again when the
// service changes.
func (b *builder) joinService(e *entry, r *streamRule, id string, own pluginSet) pluginSet {
	r.route.ServiceID = id
	b.t.serviceStreams = b.t.serviceStreams.with(idPair(id, e.ID), &e.ID)
	from := b.t.objects[kindServices].get(id)
	s, _ := compiled[*service](b.t, kindServices, id)
	switch {
	case s == nil:
		r.fault(404, "service "+id+" does not exist")
		return own
	case s.err != nil:
		r.fault(503, "service "+id+": "+s.err.Error())
		return own
	}
	if r.route.Upstream == nil && r.route.UpstreamID == "" {
		r.route.Upstream, r.route.UpstreamID = s.upstream, s.upstreamID
	}
	r.route.ServiceName, r.route.Timeout = s.name, s.timeout
	if r.route.Labels == nil {
		r.route.Labels = s.labels
	}
	set, err := b.streamPluginsOf(from)
	if err != nil {
		r.fault(503, "service "+id+": "+err.Error())
		return own
	}
	return own.merge(&set)
}

// streamPluginsOf compiles those plugins of a service that are also plugins of stream routes. The others are for its
// requests, but for those that let nobody in whom they do not know: a stream has nothing to be known by.
func (b *builder) streamPluginsOf(service *entry) (set pluginSet, err error) {
	d, err := readDocument(service.Value)
	if err != nil {
		return set, err
	}
	plugins, err := readPlugins(d.Plugins)
	if err != nil {
		return set, err
	}
	for name := range plugins {
		if p := b.t.compiler.Plugins[name]; p != nil && p.Auth && !disabled(plugins[name]) {
			return set, fmt.Errorf("plugin %s lets nobody in on a stream", name)
		}
	}
	known := b.streamReader.plugins()
	maps.DeleteFunc(plugins, func(name string, _ json.RawMessage) bool { return known[name] == nil })
	return b.streamReader.compile(service.Key(), plugins, nil)
}

// disabled reports whether a plugin's config switches it off.
func disabled(config json.RawMessage) bool {
	var c struct {
		Meta struct {
			Disable bool `json:"disable"`
		} `json:"_meta"`
	}
	return json.Unmarshal(config, &c) == nil && c.Meta.Disable
}

// retireStream takes a rule out of what refers to it.
func (b *builder) retireStream(r *streamRule) {
	b.streamsChanged = true
	if id := r.route.ServiceID; id != "" {
		b.t.serviceStreams = b.t.serviceStreams.without(idPair(id, r.route.ID))
	}
}
