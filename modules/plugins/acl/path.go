// SPDX-License-Identifier: Apache-2.0

package acl

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// path is the part of JSONPath (RFC 9535) that leads to one value: .name, ['name'], [0], * for any, and .. for anywhere
// below. The leading $ may be left out.
type path []step

// step is a name, an index when the name is empty, or anything.
type step struct {
	name     string
	index    int
	any      bool
	anywhere bool
}

var errPath = errors.New("not a JSONPath of names, indexes, * and ..")

func parsePath(text string) (p path, err error) {
	rest, rooted := strings.CutPrefix(text, "$")
	if !rooted {
		rest = "." + text
	}
	for rest != "" {
		var s step
		if after, ok := strings.CutPrefix(rest, ".."); ok {
			s.anywhere = true
			rest = after
			if !strings.HasPrefix(rest, "[") {
				rest = "." + rest
			}
		}
		switch {
		case strings.HasPrefix(rest, "["):
			inner, after, closed := strings.Cut(rest[1:], "]")
			if !closed || !s.bracket(inner) {
				return nil, errPath
			}
			rest = after
		case strings.HasPrefix(rest, "."):
			end := strings.IndexAny(rest[1:], ".[") + 1
			if end == 0 {
				end = len(rest)
			}
			s.name = rest[1:end]
			s.any = s.name == "*"
			rest = rest[end:]
			if s.name == "" {
				return nil, errPath
			}
		default:
			return nil, errPath
		}
		p = append(p, s)
	}
	if len(p) == 0 {
		return nil, errPath
	}
	return p, nil
}

func (s *step) bracket(inner string) bool {
	if n := len(inner); n > 2 && (inner[0] == '\'' || inner[0] == '"') && inner[n-1] == inner[0] {
		s.name = inner[1 : n-1]
		return true
	}
	if s.any = inner == "*"; s.any {
		return true
	}
	index, err := strconv.ParseUint(inner, 10, 31)
	s.index = int(index)
	return err == nil
}

// first returns the first value that the path leads to; the members of an object are looked at by name.
func (p path) first(root any) (any, bool) {
	if len(p) == 0 {
		return root, true
	}
	for _, child := range p[0].children(root) {
		if found, ok := p[1:].first(child); ok {
			return found, true
		}
	}
	if p[0].anywhere {
		for _, child := range children(root) {
			if found, ok := p.first(child); ok {
				return found, true
			}
		}
	}
	return nil, false
}

func (s step) children(node any) []any {
	if s.any {
		return children(node)
	}
	switch node := node.(type) {
	case map[string]any:
		if value, ok := node[s.name]; ok && s.name != "" {
			return []any{value}
		}
	case []any:
		if s.name == "" && s.index < len(node) {
			return node[s.index : s.index+1]
		}
	}
	return nil
}

func children(node any) (all []any) {
	switch node := node.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(node)) {
			all = append(all, node[name])
		}
	case []any:
		return node
	}
	return all
}
