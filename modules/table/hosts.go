// SPDX-License-Identifier: Apache-2.0

package table

import (
	"iter"
	"slices"

	"github.com/andogate/ando/modules/gateway"
)

// hostIndex has the hosts that routes name. It is immutable.
type hostIndex struct {
	names *tree[string]
	// routes counts the routes of each.
	routes hashMap[int]
}

// counted returns the index with the hosts of one route more, or less.
func (i hostIndex) counted(hosts []string, by int) hostIndex {
	for at, host := range hosts {
		if slices.Contains(hosts[:at], host) {
			continue
		}
		n := by
		if known := i.routes.get(host); known != nil {
			n += *known
		}
		switch {
		case n == 0:
			i.names, i.routes = i.names.without(host), i.routes.without(host)
			continue
		case n == by:
			i.names = i.names.with(host, &host)
		}
		i.routes = i.routes.with(host, n)
	}
	return i
}

// Hosts implements gateway.HostTable.
func (t *Table) Hosts() iter.Seq[string] {
	return func(yield func(string) bool) {
		t.hosts.names.each(func(host *string) bool { return yield(*host) })
	}
}

// ServesHost implements gateway.HostTable.
func (t *Table) ServesHost(host string, wildcards bool) bool {
	host = serverName(host)
	if t.hosts.routes.get(host) != nil {
		return true
	}
	if !wildcards {
		return false
	}
	for i := range len(host) + 1 {
		if t.hosts.routes.get("*"+host[i:]) != nil {
			return true
		}
	}
	return false
}

var _ gateway.HostTable = (*Table)(nil)
