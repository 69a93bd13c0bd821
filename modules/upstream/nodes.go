// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// entry is one node as the config has it.
type entry struct {
	Host     string  `json:"host"`
	Port     integer `json:"port"`
	Weight   integer `json:"weight"`
	Priority integer `json:"priority"`
	// name is the name of which Host is an address; empty is none.
	name string
}

// parseNodes reads both forms of `nodes`, in the order in which they are written: a map from "host:port" to a weight, and
// an array of objects.
func parseNodes(raw json.RawMessage) ([]entry, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if raw[0] != '[' {
		return parseNodeMap(raw)
	}
	var entries []entry
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, fmt.Errorf("upstream: nodes: %w", err)
	}
	for i := range entries {
		e := &entries[i]
		host, port, err := splitHostPort(e.Host)
		switch {
		case err != nil:
			return nil, err
		case port != 0:
			return nil, refuse(fmt.Sprintf("invalid node host %q: the port belongs into port", e.Host))
		case e.Port < 0 || e.Port > 65535:
			return nil, refuse(fmt.Sprintf("invalid port %d", e.Port))
		}
		e.Host = host
	}
	return entries, nil
}

func parseNodeMap(raw json.RawMessage) ([]entry, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("upstream: nodes: %w", err)
	}
	var entries []entry
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("upstream: nodes: %w", err)
		}
		var e entry
		if err := d.Decode(&e.Weight); err != nil {
			return nil, fmt.Errorf("upstream: nodes: %w", err)
		}
		host, port, err := splitHostPort(fmt.Sprint(name))
		if err != nil {
			return nil, err
		}
		e.Host, e.Port = host, integer(port)
		entries = append(entries, e)
	}
	return entries, nil
}

// splitHostPort splits "host:port", "host", "[::1]:port" or an IPv6 address. A missing port is 0.
func splitHostPort(text string) (host string, port int, err error) {
	if addr, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return addr.String(), 0, nil
	}
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return text, 0, nil
	}
	host = text[:i]
	port, err = strconv.Atoi(text[i+1:])
	if err != nil || port < 1 || port > 65535 {
		return "", 0, refuse("invalid port " + text[i+1:])
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if strings.ContainsAny(host, ":[]") {
		if _, err := netip.ParseAddr(host); err != nil || host == text[:i] {
			return "", 0, refuse("IPv6 address must be enclosed with '[' and ']'")
		}
	}
	return host, port, nil
}

var defaultPorts = map[string]int{"http": 80, "https": 443, "grpc": 80, "grpcs": 443}

// setNodes makes the nodes of u. Of two entries with the same address and priority the later one counts, as in APISIX. A
// node that prior has just so is prior's; one with the same address shares its state.
func setNodes(u *gateway.Upstream, entries []entry, prior *gateway.Upstream) {
	type place struct {
		addr     string
		priority int
	}
	states := map[string]*gateway.NodeState{}
	known := map[place]*gateway.Node{}
	if prior != nil {
		for _, node := range prior.Nodes {
			states[node.Addr] = node.State
			known[place{node.Addr, node.Priority}] = node
		}
	}
	at := map[place]int{}
	for _, e := range entries {
		node := newNode(u.Scheme, e)
		if node == nil {
			setFault(u, 503, fmt.Sprintf("node %s has no port, and scheme %s has no default", e.Host, u.Scheme))
			return
		}
		p := place{node.Addr, node.Priority}
		if node.State = states[node.Addr]; node.State == nil {
			node.State = new(gateway.NodeState)
			states[node.Addr] = node.State
		}
		if same := known[p]; same != nil && *same == *node {
			node = same
		}
		if i, twice := at[p]; twice {
			u.Nodes[i] = node
			continue
		}
		at[p] = len(u.Nodes)
		u.Nodes = append(u.Nodes, node)
	}
}

// newNode returns nil when the port is neither given nor known from the scheme.
func newNode(scheme string, e entry) *gateway.Node {
	node := &gateway.Node{Host: e.Host, Name: e.name, Port: int(e.Port), Weight: int(e.Weight), Priority: int(e.Priority)}
	if node.Port == 0 {
		node.Port = defaultPorts[scheme]
	}
	if node.Port == 0 {
		return nil
	}
	node.Addr = net.JoinHostPort(node.Host, strconv.Itoa(node.Port))
	name := node.HostName()
	node.HostHeader = net.JoinHostPort(name, strconv.Itoa(node.Port))
	if node.Port == defaultPorts[scheme] {
		node.HostHeader = name
		if strings.IndexByte(name, ':') >= 0 {
			node.HostHeader = "[" + name + "]"
		}
	}
	return node
}
