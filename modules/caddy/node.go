// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Node is a node of an upstream, as APISIX spells it.
type Node struct {
	Host     string `json:"host"`
	Port     int    `json:"port,omitempty"`
	Weight   int    `json:"weight"`
	Priority int    `json:"priority,omitempty"`
}

// ParseNode reads HOST or HOST:PORT. Without a port it is the one of the upstream's scheme.
func ParseNode(address string) (Node, error) {
	node := Node{Host: address, Weight: 1}
	if i := strings.LastIndexByte(address, ':'); i >= 0 && !strings.HasSuffix(address, "]") {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return Node{}, fmt.Errorf("node %q: an address like 10.0.0.5:8080 is expected", address)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Node{}, fmt.Errorf("node %q: the port is a number from 1 to 65535, not %q", address, port)
		}
		node.Port = int(n)
		if node.Host = host; strings.Contains(host, ":") {
			node.Host = "[" + host + "]"
		}
	}
	if node.Host == "" || strings.ContainsAny(node.Host, "/ ") {
		return Node{}, fmt.Errorf("node %q: an address like 10.0.0.5:8080 is expected", address)
	}
	return node, nil
}

// Option reads weight=N or priority=N.
func (n *Node) Option(text string) error {
	name, value, _ := strings.Cut(text, "=")
	number, err := strconv.Atoi(value)
	switch {
	case name == "weight" && err == nil && number >= 0:
		n.Weight = number
	case name == "priority" && err == nil:
		n.Priority = number
	default:
		return fmt.Errorf("node %s: weight=N or priority=N is expected, not %q", n.Host, text)
	}
	return nil
}
