// SPDX-License-Identifier: Apache-2.0

package table

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"

	"github.com/andogate/ando/modules/gateway"
)

// rule is a compiled route with what decides whether it matches. It is immutable.
type rule struct {
	route gateway.Route
	// uris are the path patterns, hosts the host patterns in lower case; no hosts is any host.
	uris, hosts []string
	methods     methodSet
	// off is `status: 0`.
	off        bool
	body       bodyUse
	priority   int
	created    uint64
	conditions *conditions
	// service and config are what was merged in; nil is none.
	service  *service
	config   *pluginSet
	configID string
	// script is what runs in the place of plugins; nil is none.
	script *script
	// broken is what matches when a filter function fails; nil where there is none.
	broken *rule
}

// conditions are the predicates other than method, host and path. Rules with the same ones share them.
type conditions struct {
	remote           *addrSet
	vars, expression gateway.Predicate
	// filter is the filter function. Its error fails the request.
	filter func(x *gateway.Exchange) (bool, error)
}

// candidate is a rule under one of its path patterns.
type candidate struct {
	rule  *rule
	text  string
	shape *shape
	// index is the pattern's place among the rule's.
	index   uint16
	methods methodSet
	// filters says that there is more to check than the method.
	filters bool
}

// compareCandidates orders the candidates of one key (data-plane.md section 2.3).
func compareCandidates(a, b candidate) int {
	return cmp.Or(
		cmp.Compare(b.rule.priority, a.rule.priority),
		cmp.Compare(len(b.text), len(a.text)),
		cmp.Compare(a.rule.created, b.rule.created),
		strings.Compare(a.rule.route.ID, b.rule.route.ID),
		cmp.Compare(a.index, b.index),
	)
}

// test checks the candidate's conditions in the documented order. key is the length of the literal text in front of the
// pattern's first parameter or star, which the path is known to begin with. byHost says that hosts are conditions; when
// one holds it is returned.
func (c *candidate) test(x *gateway.Exchange, method methodSet, key int, byHost bool) (host string, _ gateway.Outcome) {
	if c.methods != 0 && c.methods&method == 0 {
		return "", gateway.FailedMethod
	}
	if !c.filters {
		return "", gateway.Matched
	}
	conditions := c.rule.conditions
	if conditions != nil && conditions.remote != nil {
		x.Volatile = true
		if !conditions.remote.contains(x.Request.Client.Addr()) {
			return "", gateway.FailedRemoteAddr
		}
	}
	if byHost && len(c.rule.hosts) > 0 {
		var ok bool
		if host, ok = matchHost(x, c.rule.hosts); !ok {
			return "", gateway.FailedHost
		}
	}
	if conditions != nil && conditions.vars != nil {
		x.Volatile = true
		if !conditions.vars(x) {
			return "", gateway.FailedVars
		}
	}
	if conditions != nil && conditions.expression != nil {
		x.Volatile = true
		if !conditions.expression(x) {
			return "", gateway.FailedExpression
		}
	}
	if conditions != nil && conditions.filter != nil {
		x.Volatile = true
		if ok, err := conditions.filter(x); err != nil {
			return "", gateway.Broken
		} else if !ok {
			return "", gateway.FailedFilter
		}
	}
	if c.shape != nil && !c.shape.match(x, x.Request.Path, key) {
		return "", gateway.FailedPath
	}
	return host, gateway.Matched
}

// matchHost finds the first of the patterns that the request's host satisfies. A pattern with a port, or any colon,
// looks at the Host field as it was sent.
func matchHost(x *gateway.Exchange, patterns []string) (string, bool) {
	for _, pattern := range patterns {
		if strings.IndexByte(pattern, ':') >= 0 {
			x.Volatile = true
			if matchRawHost(x.Request.RawHost, pattern) {
				return pattern, true
			}
			continue
		}
		host := x.Request.Host
		if host == pattern || pattern[0] == '*' && strings.HasSuffix(host, pattern[1:]) {
			return pattern, true
		}
	}
	return "", false
}

func matchRawHost(host, pattern string) bool {
	if pattern[0] != '*' {
		return gateway.EqualFold(host, pattern)
	}
	suffix := pattern[1:]
	return len(host) >= len(suffix) && gateway.EqualFold(host[len(host)-len(suffix):], suffix)
}

// methodSet has a bit for each method that a route can name.
type methodSet uint16

// otherMethod stands for names that no request's method equals.
const otherMethod methodSet = 1 << 15

func methodOf(name string) methodSet {
	switch name {
	case "GET":
		return 1 << 0
	case "POST":
		return 1 << 1
	case "PUT":
		return 1 << 2
	case "DELETE":
		return 1 << 3
	case "PATCH":
		return 1 << 4
	case "HEAD":
		return 1 << 5
	case "OPTIONS":
		return 1 << 6
	case "CONNECT":
		return 1 << 7
	case "TRACE":
		return 1 << 8
	case "PURGE":
		return 1 << 9
	}
	return 0
}

// methodsOf returns the set of names; 0, that of no names, stands for every method.
func methodsOf(names []string) methodSet {
	var set methodSet
	for _, name := range names {
		set |= cmp.Or(methodOf(name), otherMethod)
	}
	return set
}

// addrSet is an immutable set of addresses. Few prefixes are fastest in a row.
type addrSet struct {
	few  []netip.Prefix
	many *bart.Lite
}

const fewPrefixes = 8

func newAddrSet(prefixes []netip.Prefix) *addrSet {
	if len(prefixes) <= fewPrefixes {
		return &addrSet{few: prefixes}
	}
	set := &addrSet{many: new(bart.Lite)}
	for _, prefix := range prefixes {
		set.many.Insert(prefix)
	}
	return set
}

func (s *addrSet) contains(addr netip.Addr) bool {
	addr = addr.Unmap()
	if s.many != nil {
		return s.many.Contains(addr)
	}
	return slices.ContainsFunc(s.few, func(p netip.Prefix) bool { return p.Contains(addr) })
}
