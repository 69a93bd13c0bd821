// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// checkUpstream checks the rules for an upstream that satisfies its schema, in APISIX's order.
func checkUpstream(upstream map[string]any) error {
	if err := checkNodes(upstream["nodes"]); err != nil {
		return err
	}
	if host, _ := upstream["upstream_host"].(string); upstream["pass_host"] == "rewrite" && host == "" {
		return refuse("`upstream_host` can't be empty when `pass_host` is `rewrite`")
	}
	if tls, ok := upstream["tls"].(map[string]any); ok && tls["client_cert"] != nil {
		if err := checkPair(tls["client_cert"], tls["client_key"]); err != nil {
			return refuse("%s", err)
		}
	}
	if upstream["type"] == "chash" {
		return checkHashKey(upstream)
	}
	return nil
}

// checkNodes checks the addresses of nodes in either form.
func checkNodes(nodes any) error {
	switch nodes := nodes.(type) {
	case map[string]any:
		for _, addr := range slices.Sorted(maps.Keys(nodes)) {
			if err := checkAddr(addr); err != nil {
				return err
			}
		}
	case []any:
		for _, n := range nodes {
			node, _ := n.(map[string]any)
			host, _ := node["host"].(string)
			if err := checkNodeHost(host); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkAddr checks "host", "host:port" and "[v6]:port".
func checkAddr(addr string) error {
	if err := checkNodeHost(addr); err != nil {
		return err
	}
	colon := strings.LastIndexByte(addr, ':')
	if colon < 0 || colon < strings.LastIndexByte(addr, ']') {
		return nil
	}
	text := addr[colon+1:]
	if port, err := strconv.Atoi(text); err != nil || port < 1 || port > 65535 {
		return refuse("invalid port %s", text)
	}
	return checkNodeHost(addr[:colon])
}

func checkNodeHost(host string) error {
	if !strings.Contains(host, ":") {
		return nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return refuse("IPv6 address must be enclosed with '[' and ']'")
	}
	return nil
}

// checkHashKey checks what chash hashes.
func checkHashKey(upstream map[string]any) error {
	hashOn, _ := upstream["hash_on"].(string)
	if hashOn == "consumer" {
		return nil
	}
	key, ok := upstream["key"]
	if !ok {
		return refuse("missing key")
	}
	name := ""
	switch hashOn {
	case "", "vars":
		name = "upstream_hash_vars_schema"
	case "header", "cookie":
		name = "upstream_hash_header_schema"
	default:
		return nil
	}
	schema, _ := ByName(name)
	return checkSchema(schema, key)
}
