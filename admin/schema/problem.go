// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// Problem is one thing wrong with a value.
type Problem struct {
	// Pointer is a JSON pointer to the part that is wrong, or to where a part is missing.
	Pointer string `json:"pointer"`
	// Message is APISIX's text for it, without the words for where it is.
	Message string `json:"message"`
	// Value is what is there, when it is no object and no array.
	Value any `json:"value,omitempty"`
	// Allowed lists the values, or the types, of which it has to be one.
	Allowed []any `json:"allowed,omitempty"`
	// Nearest is the name, or the value, that was perhaps meant.
	Nearest string `json:"nearest,omitempty"`
}

// maxProblems bounds what is told about one value.
const maxProblems = 100

// Problems returns everything wrong with a value, in the order of the document's members by name; none for a value that
// Validate accepts. What only follows from something else is left out. at is the pointer to the value.
func (s *Schema) Problems(at string, value any) []Problem {
	c := new(collector)
	c.collect(s.root, value, at)
	return c.found
}

// Problems returns everything wrong with an object that the schema of its kind tells, however many other things there
// are. The value is what [Decode] gives.
func Problems(kind gateway.Kind, value any) []Problem {
	schema := ForKind(kind)
	if kind == gateway.Secrets {
		manager, _, _ := strings.Cut(IDText(value), "/")
		schema, _ = ForSecret(manager)
	}
	if schema == nil {
		return nil
	}
	return schema.Problems("", value)
}

// collector goes on where a walk stops. A walk decides what fails; the collector finds the parts that are to blame.
type collector struct {
	walk  walk
	depth int
	found []Problem
}

func (c *collector) add(p Problem) {
	same := func(q Problem) bool { return p.Pointer == q.Pointer && p.Message == q.Message }
	if len(c.found) < maxProblems && !slices.ContainsFunc(c.found, same) {
		c.found = append(c.found, p)
	}
}

// collect adds what is wrong with v. When nothing in its parts is, it is v itself.
func (c *collector) collect(n *node, v any, at string) {
	err := c.check(n, v)
	if err == nil || len(c.found) >= maxProblems {
		return
	}
	if c.depth++; c.depth > maxDepth {
		c.add(Problem{Pointer: at, Message: err.Error()})
		return
	}
	defer func() { c.depth-- }()
	for n.ref != nil {
		n = n.ref
	}
	before := len(c.found)
	if n.types == 0 || n.types.allow(v) {
		c.parts(n, v, at)
	}
	if len(c.found) == before {
		c.add(n.problem(err, v, at))
	}
}

func (c *collector) check(n *node, v any) error {
	_, err := c.walk.check(n, v)
	return err
}

// parts looks for the blame in the members and items of v, and in the schemas that all have to match it.
func (c *collector) parts(n *node, v any, at string) {
	switch value := v.(type) {
	case map[string]any:
		c.members(n, value, at)
		v = n.withDefaults(value)
	case []any:
		for i, item := range value {
			rules := n.items
			if n.tuple != nil {
				if rules = n.extra; i < len(n.tuple) {
					rules = n.tuple[i]
				}
			}
			if rules != nil {
				c.collect(rules, item, at+"/"+strconv.Itoa(i))
			}
		}
	}
	for _, sub := range n.allOf {
		c.collect(sub, v, at)
	}
	if n.cond == nil {
		return
	}
	branch := n.then
	if c.check(n.cond, v) != nil {
		branch = n.otherwise
	}
	if branch != nil {
		c.collect(branch, v, at)
	}
}

func (c *collector) members(n *node, object map[string]any, at string) {
	missing := func(name string) {
		if _, ok := object[name]; !ok {
			c.add(Problem{Pointer: at + "/" + pointer(name), Message: "property " + quote(name) + " is required"})
		}
	}
	for i := range n.properties {
		p := &n.properties[i]
		if v, ok := object[p.name]; ok {
			c.collect(p.node, v, at+"/"+pointer(p.name))
		} else if p.required {
			missing(p.name)
		}
	}
	for _, name := range n.required {
		missing(name)
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		v, inner := object[name], at+"/"+pointer(name)
		_, known := n.named[name]
		for _, p := range n.patterns {
			if p.regexp.MatchString(name) {
				known = true
				c.collect(p.node, v, inner)
			}
		}
		switch {
		case known:
		case n.closed:
			c.add(Problem{
				Pointer: inner, Message: "additional properties forbidden, found " + name, Value: plain(v),
				Nearest: Nearest(name, maps.Keys(n.named)),
			})
		case n.additional != nil:
			c.collect(n.additional, v, inner)
		}
	}
}

// withDefaults returns an object as the combinators of a walk see it.
func (n *node) withDefaults(object map[string]any) map[string]any {
	copied := false
	for i := range n.properties {
		p := &n.properties[i]
		if _, ok := object[p.name]; ok || !p.hasDefault {
			continue
		}
		if !copied {
			object, copied = maps.Clone(object), true
		}
		object[p.name] = p.fallback
	}
	return object
}

// problem puts a failure of v itself into words.
func (n *node) problem(err error, v any, at string) Problem {
	p := Problem{Pointer: at, Message: err.Error(), Value: plain(v)}
	allowed := n.enum
	if n.consts != nil {
		allowed = n.consts
	}
	switch {
	case n.types != 0 && !n.types.allow(v):
		for name := range strings.SplitSeq(strings.TrimPrefix(n.typeNames, "one of "), ", ") {
			p.Allowed = append(p.Allowed, name)
		}
	case allowed != nil && !slices.ContainsFunc(allowed, func(a any) bool { return equal(a, v) }):
		p.Allowed = allowed
		if text, ok := v.(string); ok {
			p.Nearest = Nearest(text, func(yield func(string) bool) {
				for _, a := range allowed {
					if a, ok := a.(string); ok && !yield(a) {
						return
					}
				}
			})
		}
	}
	return p
}

// maxShown bounds the text of a value that is shown, in bytes.
const maxShown = 256

// plain returns a value that can be shown as it is, or nil.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any, []any:
		return nil
	case string:
		if len(v) > maxShown {
			return strings.ToValidUTF8(v[:maxShown], "") + "..."
		}
	case json.Number:
		if len(v) > maxShown {
			return nil
		}
	}
	return v
}

// pointer escapes a name for a JSON pointer.
func pointer(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}
