// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// jsonPath is a compiled path into JSON: names with dots between them, [n] for an element counted from 0, [*] or * for
// all of them. A path with [*] finds a list; so does one with [n] in APISIX, which value.sole stands for.
type jsonPath struct {
	steps         []pathStep
	indexed, many bool
}

// pathStep is a name, or an index when the name is empty. The index anyIndex stands for all.
type pathStep struct {
	name  string
	index int
}

const anyIndex = -1

func parsePath(text string) (*jsonPath, error) {
	path := new(jsonPath)
	for rest := text; ; {
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			end = len(rest)
		}
		switch name := rest[:end]; name {
		case "":
			return nil, errors.New("a name is missing")
		case "*":
			path.add(pathStep{index: anyIndex})
		default:
			path.add(pathStep{name: name})
		}
		rest = rest[end:]
		for strings.HasPrefix(rest, "[") {
			inner, after, closed := strings.Cut(rest[1:], "]")
			if !closed {
				return nil, errors.New("a bracket is not closed")
			}
			step, err := parseBracket(inner)
			if err != nil {
				return nil, err
			}
			path.add(step)
			path.indexed = true
			rest = after
		}
		if rest == "" {
			return path, nil
		}
		if rest[0] != '.' {
			return nil, errors.New("a dot is missing after a bracket")
		}
		rest = rest[1:]
	}
}

func (p *jsonPath) add(step pathStep) {
	p.steps = append(p.steps, step)
	p.many = p.many || step.name == "" && step.index == anyIndex
}

// parseBracket reads what stands in brackets: a number, a star, or a name in quotes.
func parseBracket(text string) (pathStep, error) {
	if text == "*" {
		return pathStep{index: anyIndex}, nil
	}
	if n := len(text); n > 2 && (text[0] == '\'' || text[0] == '"') && text[n-1] == text[0] {
		return pathStep{name: text[1 : n-1]}, nil
	}
	index, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return pathStep{}, errors.New("brackets hold a number, a star or a name in quotes")
	}
	return pathStep{index: int(index)}, nil
}

// find returns what the path leads to in decoded JSON.
func (p *jsonPath) find(root any) value {
	if p.many {
		found := collect(nil, root, p.steps)
		if len(found) == 0 {
			return value{}
		}
		return value{kind: isList, list: found}
	}
	for _, step := range p.steps {
		next, ok := step.of(root)
		if !ok {
			return value{}
		}
		root = next
	}
	found := valueOf(root)
	found.sole = p.indexed
	return found
}

// of takes a step that leads to one value at most.
func (s pathStep) of(node any) (any, bool) {
	if s.name != "" {
		object, _ := node.(map[string]any)
		next, ok := object[s.name]
		return next, ok
	}
	list, _ := node.([]any)
	if s.index >= len(list) {
		return nil, false
	}
	return list[s.index], true
}

func collect(found []any, node any, steps []pathStep) []any {
	for i, step := range steps {
		if step.name != "" || step.index != anyIndex {
			next, ok := step.of(node)
			if !ok {
				return found
			}
			node = next
			continue
		}
		switch all := node.(type) {
		case []any:
			for _, item := range all {
				found = collect(found, item, steps[i+1:])
			}
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(all)) {
				found = collect(found, all[name], steps[i+1:])
			}
		}
		return found
	}
	return append(found, node)
}
