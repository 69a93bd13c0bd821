// SPDX-License-Identifier: Apache-2.0

package refererrestriction

import (
	"slices"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// hostSet is a set of hosts and of what hosts end with. It is immutable; letters match in either case.
type hostSet struct {
	exact, suffixes map[string]struct{}
	// lengths are those of the suffixes.
	lengths []int
}

// newHostSet makes a set of names and of suffixes, which begin with "*"; a mere "*" is all hosts.
func newHostSet(list []string) *hostSet {
	s := &hostSet{exact: make(map[string]struct{}), suffixes: make(map[string]struct{})}
	for _, host := range list {
		host = strings.ToLower(host)
		suffix, isSuffix := strings.CutPrefix(host, "*")
		if !isSuffix {
			s.exact[host] = struct{}{}
			continue
		}
		s.suffixes[suffix] = struct{}{}
		if !slices.Contains(s.lengths, len(suffix)) {
			s.lengths = append(s.lengths, len(suffix))
		}
	}
	return s
}

// maxHost is how long a host can be (RFC 1035 section 2.3.4, with room); nothing longer is in a set but that of all.
const maxHost = 512

func (s *hostSet) has(host string) bool {
	var room [maxHost]byte
	lower := room[:0]
	if len(host) <= maxHost {
		for i := range len(host) {
			c := host[i]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			lower = append(lower, c)
		}
	}
	if _, ok := s.exact[string(lower)]; ok {
		return true
	}
	for _, n := range s.lengths {
		if n <= len(lower) {
			if _, ok := s.suffixes[string(lower[len(lower)-n:])]; ok {
				return true
			}
		}
	}
	return false
}

// hostOf returns the host in a URL, without port and user; IPv6 keeps its brackets. The scheme may be missing. ok is false
// for what is no URL of the web with a host.
func hostOf(url string) (host string, ok bool) {
	for _, scheme := range [...]string{"http:", "https:"} {
		if len(url) >= len(scheme) && gateway.EqualFold(url[:len(scheme)], scheme) {
			url = url[len(scheme):]
			break
		}
	}
	authority, ok := strings.CutPrefix(url, "//")
	if !ok {
		return "", false
	}
	if i := strings.IndexAny(authority, "/?#\\"); i >= 0 {
		authority = authority[:i]
	}
	authority = authority[strings.LastIndexByte(authority, '@')+1:]
	if strings.HasPrefix(authority, "[") {
		end := strings.IndexByte(authority, ']')
		return authority[:end+1], end > 0
	}
	host, _, _ = strings.Cut(authority, ":")
	host = strings.TrimSuffix(host, ".")
	return host, host != ""
}
