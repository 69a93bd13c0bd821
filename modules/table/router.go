// SPDX-License-Identifier: Apache-2.0

package table

import (
	"slices"

	"github.com/andogate/ando/modules/gateway"
)

// The routers of `apisix.router.http`.
const (
	HostURI          = "radixtree_host_uri"
	URI              = "radixtree_uri"
	URIWithParameter = "radixtree_uri_with_parameter"
)

// router finds rules. Its parts are immutable: a copy of a router is a snapshot of it, and shares what did not change.
type router struct {
	// byLevel is radixtree_host_uri: hosts first, then paths. Otherwise every path is in paths and hosts are conditions.
	byLevel bool
	// parameters lets ':' open a parameter.
	parameters bool

	// hosts are the exact patterns.
	hosts hashMap[tree[leaf]]
	// wildcards has the part of the patterns behind the star, reversed, as key.
	wildcards *tree[level]
	// paths has the rules without a host.
	paths *tree[leaf]
}

// level is what one wildcard leads to.
type level struct {
	pattern string
	paths   *tree[leaf]
}

// leaf is what one literal key leads to: paths that equal it, and patterns that begin with it.
type leaf struct{ exact, prefix []candidate }

// leafOfOne is a leaf with room for its only candidate beside it, as nearly every leaf is.
type leafOfOne struct {
	leaf
	room [1]candidate
}

func newRouter(name string) router {
	return router{byLevel: name == HostURI || name == "", parameters: name == URIWithParameter}
}

// add inserts a rule.
func (r *router) add(rule *rule) {
	patterns := r.patterns(rule)
	r.change(rule, func(paths *tree[leaf]) *tree[leaf] {
		for i, p := range patterns {
			paths = r.insert(paths, p, rule, i)
		}
		return paths
	})
}

// remove takes out a rule that was added.
func (r *router) remove(rule *rule) {
	patterns := r.patterns(rule)
	r.change(rule, func(paths *tree[leaf]) *tree[leaf] {
		for _, p := range patterns {
			paths = extract(paths, p.key, rule)
		}
		return paths
	})
}

func (r *router) patterns(rule *rule) []pattern {
	patterns := make([]pattern, len(rule.uris))
	for i, uri := range rule.uris {
		patterns[i] = compilePattern(uri, r.parameters)
	}
	return patterns
}

// change applies edit wherever the rule's paths are.
func (r *router) change(rule *rule, edit func(*tree[leaf]) *tree[leaf]) {
	if !r.byLevel || len(rule.hosts) == 0 {
		r.paths = edit(r.paths)
		return
	}
	for i, host := range rule.hosts {
		if slices.Contains(rule.hosts[:i], host) {
			continue
		}
		if host[0] == '*' {
			key := reversed(host[1:])
			var paths *tree[leaf]
			if l := r.wildcards.get(key); l != nil {
				paths = l.paths
			}
			if next := edit(paths); next != nil {
				r.wildcards = r.wildcards.with(key, &level{host, next})
			} else {
				r.wildcards = r.wildcards.without(key)
			}
			continue
		}
		if next := edit(r.hosts.get(host)); next != nil {
			r.hosts = r.hosts.with(host, *next)
		} else {
			r.hosts = r.hosts.without(host)
		}
	}
}

func (r *router) insert(paths *tree[leaf], p pattern, rule *rule, index int) *tree[leaf] {
	c := candidate{rule: rule, text: p.text, shape: p.shape, index: uint16(index), methods: rule.methods}
	c.filters = rule.conditions != nil || p.shape != nil || !r.byLevel && len(rule.hosts) > 0
	old := paths.get(p.key)
	switch {
	case old == nil:
		one := &leafOfOne{room: [1]candidate{c}}
		one.exact = one.room[:1:1]
		if !p.exact {
			one.exact, one.prefix = nil, one.exact
		}
		return paths.with(p.key, &one.leaf)
	case p.exact:
		return paths.with(p.key, &leaf{inserted(old.exact, c), old.prefix})
	}
	return paths.with(p.key, &leaf{old.exact, inserted(old.prefix, c)})
}

func inserted(candidates []candidate, c candidate) []candidate {
	i, _ := slices.BinarySearchFunc(candidates, c, compareCandidates)
	return slices.Insert(slices.Clip(candidates), i, c)
}

func extract(paths *tree[leaf], key string, rule *rule) *tree[leaf] {
	old := paths.get(key)
	if old == nil {
		return paths
	}
	changed := leaf{without(old.exact, rule), without(old.prefix, rule)}
	if len(changed.exact)+len(changed.prefix) == 0 {
		return paths.without(key)
	}
	return paths.with(key, &changed)
}

func without(candidates []candidate, rule *rule) []candidate {
	if !slices.ContainsFunc(candidates, func(c candidate) bool { return c.rule == rule }) {
		return candidates
	}
	var kept []candidate
	for _, c := range candidates {
		if c.rule != rule {
			kept = append(kept, c)
		}
	}
	return kept
}

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// match returns the rule for the request, or nil, and sets what Match promises to.
func (r *router) match(x *gateway.Exchange, trace gateway.Trace) *rule {
	s := search{x: x, trace: trace, method: methodOf(x.Request.Method), byHost: !r.byLevel}
	if !r.byLevel {
		return s.find(r.paths, x.Request.Path, 0)
	}
	host := x.Request.Host
	if pattern, paths := r.hosts.find(host); paths != nil {
		if found := s.findLevel(pattern, paths); found != nil {
			return found
		}
	}
	if r.wildcards != nil {
		if found := s.findWildcard(r.wildcards, host); found != nil {
			return found
		}
	}
	return s.find(r.paths, x.Request.Path, 0)
}

// search is one run of match.
type search struct {
	x      *gateway.Exchange
	trace  gateway.Trace
	method methodSet
	byHost bool
}

func (s *search) findLevel(pattern string, paths *tree[leaf]) *rule {
	found := s.find(paths, s.x.Request.Path, 0)
	if found != nil {
		s.x.MatchedHost = pattern
	}
	return found
}

// findWildcard tries the levels below n, longest suffix first. host is what no label on the way to n stands for.
func (s *search) findWildcard(n *tree[level], host string) *rule {
	label := n.label()
	if len(host) < len(label) {
		return nil
	}
	for i := range label {
		if host[len(host)-1-i] != label[i] {
			return nil
		}
	}
	host = host[:len(host)-len(label)]
	if host != "" {
		if child := n.child(host[len(host)-1]); child != nil {
			if found := s.findWildcard(child, host); found != nil {
				return found
			}
		}
	}
	if n.value == nil {
		return nil
	}
	return s.findLevel(n.value.pattern, n.value.paths)
}

// find walks down the path once, tries the rules for exactly this path, and then those for its prefixes on the way back,
// longest first. path is what no label on the way to n stands for; it begins at byte walked.
func (s *search) find(n *tree[leaf], path string, walked int) *rule {
	// No real table nests so many prefixes; one that does takes another round of the recursion for every so many.
	var passed [8]passedLeaf
	depth := 0
	for n != nil {
		rest, ok := n.cut(path)
		if !ok {
			break
		}
		path = rest
		walked += int(n.size)
		if l := n.value; l != nil {
			if path == "" && len(l.exact) > 0 {
				if found := s.try(l.exact, walked); found != nil {
					return found
				}
			}
			if len(l.prefix) > 0 {
				passed[depth] = passedLeaf{l, walked}
				depth++
			}
		}
		if path == "" {
			break
		}
		n = n.child(path[0])
		if depth == len(passed) {
			if found := s.find(n, path, walked); found != nil {
				return found
			}
			break
		}
	}
	for depth--; depth >= 0; depth-- {
		if found := s.try(passed[depth].leaf.prefix, passed[depth].walked); found != nil {
			return found
		}
	}
	return nil
}

type passedLeaf struct {
	leaf   *leaf
	walked int
}

// try returns the first of the candidates whose conditions hold.
func (s *search) try(candidates []candidate, key int) *rule {
	for i := range candidates {
		c := &candidates[i]
		host, outcome := c.test(s.x, s.method, key, s.byHost)
		if s.trace != nil {
			s.trace.Consider(&c.rule.route, c.text, outcome)
		}
		switch outcome {
		case gateway.Matched:
			s.x.MatchedURI, s.x.MatchedHost = c.text, host
			return c.rule
		case gateway.Broken:
			return c.rule.broken
		}
	}
	return nil
}
