// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// SystemRefresh is how often a name is resolved again by the system's resolver, which does not tell how long an answer is
// good.
const SystemRefresh = 10 * time.Second

// hostsFile is where names come first.
const hostsFile = "/etc/hosts"

// newResolver reads how names of nodes are resolved: {"servers": [...], "valid": seconds, "timeout": seconds}, which are
// APISIX's dns_resolver, dns_resolver_valid and resolver_timeout. Without servers it is the system's resolver, asked again
// every `valid`, by default SystemRefresh. With servers the hosts file still comes first, and answers are good for their
// TTL, or for `valid`.
func newResolver(settings json.RawMessage) (Source, error) {
	s := struct {
		Servers texts   `json:"servers"`
		Valid   seconds `json:"valid"`
		Timeout seconds `json:"timeout"`
	}{Timeout: 5}
	if err := read(settings, &s); err != nil {
		return nil, err
	}
	c, err := newClient(s.Servers, resolvConf, s.Timeout.duration(), s.Valid.duration())
	if err != nil {
		return nil, err
	}
	if len(s.Servers) > 0 {
		return resolver{c}, nil
	}
	every := SystemRefresh
	if s.Valid > 0 {
		every = s.Valid.duration()
	}
	return system{every: every, timeout: s.Timeout.duration()}, nil
}

// resolver resolves names with given servers.
type resolver struct{ client *client }

func (r resolver) Watch(ctx context.Context, q Query, report func([]Node)) error {
	return poll(ctx, report, func(ctx context.Context) ([]Node, time.Duration, error) {
		if addrs := inHosts(hostsFile, q.Name); len(addrs) > 0 {
			return nodesAt(addrs, Node{}), max(r.client.valid, SystemRefresh), nil
		}
		addrs, good, err := r.client.addresses(ctx, q.Name)
		return nodesAt(addrs, Node{}), good, err
	})
}

// inHosts returns the addresses that a hosts file has for a name: the IPv4 ones, or else the IPv6 ones.
func inHosts(path, name string) []netip.Addr {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	var addrs []netip.Addr
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, host := range fields[1:] {
			if strings.EqualFold(host, name) {
				addrs = append(addrs, addr.Unmap().WithZone(""))
			}
		}
	}
	return preferred(addrs)
}

// preferred returns the IPv4 addresses, or all when there are none.
func preferred(addrs []netip.Addr) []netip.Addr {
	var four []netip.Addr
	for _, addr := range addrs {
		if addr.Is4() {
			four = append(four, addr)
		}
	}
	if len(four) > 0 {
		return four
	}
	return addrs
}

// system resolves names as other programs of this machine do.
type system struct{ every, timeout time.Duration }

func (s system) Watch(ctx context.Context, q Query, report func([]Node)) error {
	return poll(ctx, report, func(ctx context.Context) ([]Node, time.Duration, error) {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", q.Name)
		if err != nil {
			return nil, 0, err
		}
		for i := range addrs {
			addrs[i] = addrs[i].Unmap()
		}
		return nodesAt(preferred(addrs), Node{}), s.every, nil
	})
}
