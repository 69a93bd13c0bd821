// SPDX-License-Identifier: Apache-2.0

package datamask

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/andogate/ando/admin/schema"
)

// step leads from a JSON value to some of its parts.
type step struct {
	// name is that of a member; index that of an element, counted from 0, when the name is empty.
	name  string
	index int
	// all leads to every member or element, deep to whatever is below at any depth before the step is taken.
	all, deep bool
}

// parsePath reads a JSONPath: "$" and a dot in front may be left out, then names with dots between them, ".." for any depth,
// [n], [*], ['name'] and *.
func parsePath(text string) ([]step, error) {
	rest := strings.TrimPrefix(text, "$")
	if rest != "" && rest[0] != '.' && rest[0] != '[' {
		rest = "." + rest
	}
	var steps []step
	for rest != "" {
		var s step
		if strings.HasPrefix(rest, "..") {
			s.deep = true
			rest = rest[1:]
			if strings.HasPrefix(rest, ".[") {
				rest = rest[1:]
			}
		}
		if inner, ok := strings.CutPrefix(rest, "["); ok {
			end := closing(inner)
			if end < 0 {
				return nil, errors.New("a bracket is not closed")
			}
			if err := s.bracket(inner[:end]); err != nil {
				return nil, err
			}
			rest = inner[end+1:]
		} else {
			if rest[0] != '.' {
				return nil, errors.New("a dot is missing after a bracket")
			}
			rest = rest[1:]
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			s.name, rest = rest[:end], rest[end:]
			if s.name == "*" {
				s.name, s.all = "", true
			} else if s.name == "" {
				return nil, errors.New("a name is missing")
			}
		}
		steps = append(steps, s)
	}
	if len(steps) == 0 {
		return nil, errors.New("it leads nowhere")
	}
	return steps, nil
}

// closing returns where the bracket closes that text stands in: a quoted name may have one in it.
func closing(text string) int {
	if text != "" && (text[0] == '\'' || text[0] == '"') {
		end := strings.Index(text[1:], text[:1]+"]")
		if end < 0 {
			return -1
		}
		return end + 2
	}
	return strings.IndexByte(text, ']')
}

func (s *step) bracket(text string) error {
	if text == "*" {
		s.all = true
		return nil
	}
	if n := len(text); n > 2 && (text[0] == '\'' || text[0] == '"') && text[n-1] == text[0] {
		s.name = text[1 : n-1]
		return nil
	}
	index, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return errors.New("brackets hold a number, a star or a name in quotes")
	}
	s.index = int(index)
	return nil
}

// maskJSON applies the rules to a body. One that is too long, or no JSON, is left out of the logs: nobody knows where in it
// the secrets are.
func (m *mask) maskJSON(body []byte) (masked []byte, changed bool) {
	if len(body) > m.maxBody {
		return nil, true
	}
	value, err := schema.Decode(body)
	if err != nil {
		return nil, true
	}
	for i := range m.json {
		var hit bool
		value, _, hit = m.json[i].walk(value, m.json[i].path)
		changed = changed || hit
	}
	if !changed {
		return body, false
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return nil, true
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), true
}

// walk takes the steps from node on and changes what they lead to. It returns what stands in node's place; keep is false
// when nothing does.
func (r *rule) walk(node any, steps []step) (changed any, keep, hit bool) {
	if len(steps) == 0 {
		return r.changeValue(node)
	}
	s := steps[0]
	switch parts := node.(type) {
	case map[string]any:
		for name, part := range parts {
			next := steps[1:]
			if !s.all && s.name != name {
				next = nil
			}
			if part, keep, ok := r.part(part, steps, next); keep {
				parts[name], hit = part, hit || ok
			} else {
				hit = true
				delete(parts, name)
			}
		}
		return parts, true, hit
	case []any:
		kept := parts[:0]
		for i, part := range parts {
			next := steps[1:]
			if !s.all && (s.name != "" || s.index != i) {
				next = nil
			}
			part, keep, ok := r.part(part, steps, next)
			if keep {
				kept = append(kept, part)
			}
			hit = hit || ok || !keep
		}
		return kept, true, hit
	}
	return node, true, false
}

// part walks on into one part of a node. next are the steps that are left if the first of steps leads to it, and nil if it
// does not.
func (r *rule) part(part any, steps, next []step) (changed any, keep, hit bool) {
	keep = true
	if steps[0].deep {
		part, keep, hit = r.walk(part, steps)
	}
	if keep && next != nil {
		var ok bool
		part, keep, ok = r.walk(part, next)
		hit = hit || ok
	}
	return part, keep, hit
}

// changeValue changes texts and numbers as texts; whatever else a path leads to can be replaced and removed.
func (r *rule) changeValue(node any) (changed any, keep, hit bool) {
	text := ""
	switch node := node.(type) {
	case string:
		text = node
	case json.Number:
		text = node.String()
	}
	masked, keep := r.change(text)
	if keep && masked == text {
		return node, true, false
	}
	return masked, keep, true
}
