// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/gaissmai/bart"
)

// AddrSet is an immutable set of addresses and networks. Looking an address up takes no time to speak of, however many
// there are, and allocates nothing.
type AddrSet struct {
	// prefixes is searched one by one; table takes its place when there are more than fewPrefixes.
	prefixes []netip.Prefix
	table    *bart.Lite
}

// fewPrefixes is up to how many prefixes a walk is faster than a table.
const fewPrefixes = 8

// NewAddrSet makes a set of addresses and networks: IPv4, IPv6, and either with a prefix length. Host bits beyond the
// prefix do not count. The error names what is neither.
func NewAddrSet(list []string) (*AddrSet, error) {
	items := make([]any, len(list))
	for i, text := range list {
		items[i] = text
	}
	return newAddrSet(items)
}

// newAddrSet makes a set of the right side of ipmatch: one address or network, or a list of them.
func newAddrSet(right any) (*AddrSet, error) {
	list, isList := right.([]any)
	if !isList {
		list = []any{right}
	}
	if right == nil || right == "" || right == false || len(list) == 0 {
		return nil, errors.New("invalid ip address")
	}
	set := &AddrSet{prefixes: make([]netip.Prefix, len(list))}
	for i, item := range list {
		text, ok := item.(string)
		prefix, err := parsePrefix(text)
		if !ok || err != nil {
			if !ok {
				shown, _ := json.Marshal(item)
				text = string(shown)
			}
			return nil, fmt.Errorf("invalid ip address: %s", text)
		}
		set.prefixes[i] = prefix
	}
	if len(list) > fewPrefixes {
		set.table = new(bart.Lite)
		for _, prefix := range set.prefixes {
			set.table.Insert(prefix)
		}
	}
	return set, nil
}

// parsePrefix reads an address or a network; host bits beyond the mask do not count. IPv6 may stand in brackets, and
// IPv4 written as IPv6 is IPv4.
func parsePrefix(text string) (netip.Prefix, error) {
	addrText, bits, isNetwork := strings.Cut(text, "/")
	if inner, ok := strings.CutPrefix(addrText, "["); ok {
		addrText = strings.TrimSuffix(inner, "]")
	}
	if !isNetwork {
		addr, err := netip.ParseAddr(addrText)
		if err != nil {
			return netip.Prefix{}, err
		}
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(addrText + "/" + bits)
	if err != nil {
		return netip.Prefix{}, err
	}
	if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// Contains reports whether the address, or a network that it is in, is in the set. IPv4 written as IPv6 is IPv4; no
// address at all is in no set.
func (s *AddrSet) Contains(addr netip.Addr) bool { return s.contains(addr) }

func (s *AddrSet) contains(addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	addr = addr.Unmap().WithZone("")
	if s.table != nil {
		return s.table.Lookup(addr)
	}
	for _, prefix := range s.prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

func (s *AddrSet) containsText(text string) bool {
	addr, err := netip.ParseAddr(text)
	return err == nil && s.contains(addr)
}
