// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// walk checks one value against a schema and fills in the defaults on its way. It belongs to one call.
//
// Every check returns the value with defaults. What it returns shares with its argument all that did not change; the
// argument itself is never written to.
type walk struct {
	// changes counts replaced values: a parent copies itself when the count has grown over a child.
	changes int
	// quiet is above 0 where only success counts, so that no text need be made.
	quiet int
	depth int
	// filling is for those who decode the value afterwards: it leaves lookalikes out.
	filling bool
	// literal takes a reference to a secret for the text that it is.
	literal bool
}

// maxWalkDepth is far above what a decoded value can need; it stops a schema that refers to itself without descending.
const maxWalkDepth = 64 * maxDepth

var errMismatch = errors.New("does not match")

func (w *walk) fail(format string, args ...any) error {
	if w.quiet > 0 {
		return errMismatch
	}
	return fmt.Errorf(format, args...)
}

// within puts a failure of a part into the words of the whole.
func (w *walk) within(err error, format string, args ...any) error {
	if w.quiet > 0 {
		return err
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// try checks without making texts. The value it returns is v itself unless v matches.
func (w *walk) try(n *node, v any) (any, bool) {
	w.quiet++
	out, err := w.check(n, v)
	w.quiet--
	if err != nil {
		return v, false
	}
	return out, true
}

func (w *walk) check(n *node, v any) (any, error) {
	if n.always != nil {
		if *n.always {
			return v, nil
		}
		return v, w.fail("expect false always")
	}
	if w.depth++; w.depth > maxWalkDepth {
		return v, errors.New("schema refers to itself without end")
	}
	defer func() { w.depth-- }()
	if n.ref != nil {
		return w.check(n.ref, v)
	}
	if s, ok := v.(string); ok && !w.literal && isReference(s) && (n.types == 0 || n.types&typeString != 0) {
		return v, nil
	}
	if n.types != 0 && !n.types.allow(v) {
		return v, w.fail("wrong type: expected %s, got %s", n.typeNames, luaType(v))
	}
	v, err := w.own(n, v)
	if err != nil {
		return v, err
	}
	return w.combined(n, v)
}

// own checks what the schema says about v itself and its parts.
func (w *walk) own(n *node, v any) (any, error) {
	switch value := v.(type) {
	case map[string]any:
		if len(value) == 0 {
			return w.empty(n, v)
		}
		return w.object(n, value)
	case []any:
		if len(value) == 0 {
			return w.empty(n, v)
		}
		return w.array(n, value)
	case string:
		return v, w.text(n, value)
	default:
		if number, ok := numberOf(v); ok {
			return v, w.number(n, number)
		}
	}
	return v, nil
}

// empty checks an empty object or array: it is both.
func (w *walk) empty(n *node, v any) (any, error) {
	out, err := w.object(n, nil)
	if err != nil {
		return v, err
	}
	if _, err := w.array(n, nil); err != nil {
		return v, err
	}
	_, isArray := v.([]any)
	switch {
	case len(out) > 0:
		return out, nil
	case isArray && n.types == typeObject:
		w.changes++
		return map[string]any{}, nil
	case !isArray && n.types == typeArray:
		w.changes++
		return []any{}, nil
	}
	return v, nil
}

// object checks an object, which is nil for an empty one.
func (w *walk) object(n *node, object map[string]any) (map[string]any, error) {
	owned := false
	set := func(name string, v any) {
		if !owned {
			object, owned = maps.Clone(object), true
			if object == nil {
				object = map[string]any{}
			}
		}
		object[name] = v
	}
	for i := range n.properties {
		p := &n.properties[i]
		v, ok := object[p.name]
		switch {
		case ok:
			before := w.changes
			out, err := w.check(p.node, v)
			if w.changes != before {
				set(p.name, out)
			}
			if err != nil {
				return object, w.within(err, "property %s validation failed", quote(p.name))
			}
			if p.dependency == nil {
				continue
			}
			filled, err := w.depend(p.dependency, object)
			if err != nil {
				return object, err
			}
			object, owned = filled, false
		case p.required:
			return object, w.fail("property %s is required", quote(p.name))
		case p.hasDefault:
			w.changes++
			set(p.name, p.fallback)
		}
	}
	for _, name := range n.required {
		if _, ok := object[name]; !ok {
			return object, w.fail("property %s is required", quote(name))
		}
	}
	for i := range n.dependencies {
		d := &n.dependencies[i]
		if _, ok := object[d.name]; !ok {
			continue
		}
		filled, err := w.depend(d, object)
		if err != nil {
			return object, err
		}
		object, owned = filled, false
	}
	if err := w.others(n, object, set); err != nil {
		return object, err
	}
	if n.minProps != nil && len(object) < *n.minProps {
		return object, w.fail("expect object to have at least %d properties", *n.minProps)
	}
	if n.maxProps != nil && len(object) > *n.maxProps {
		return object, w.fail("expect object to have at most %d properties", *n.maxProps)
	}
	if w.filling {
		object = w.withoutLookalikes(n, object)
	}
	return object, nil
}

// withoutLookalikes leaves out members that no part of the schema speaks of and whose names differ from a property's in
// case alone: encoding/json would take them for the property, and nobody has checked them.
func (w *walk) withoutLookalikes(n *node, object map[string]any) map[string]any {
	if n.additional != nil {
		return object
	}
	copied := false
	for name := range object {
		if !n.isLookalike(name) {
			continue
		}
		if !copied {
			object, copied = maps.Clone(object), true
			w.changes++
		}
		delete(object, name)
	}
	return object
}

func (n *node) isLookalike(name string) bool {
	if _, named := n.named[name]; named {
		return false
	}
	if slices.ContainsFunc(n.patterns, func(p pattern) bool { return p.regexp.MatchString(name) }) {
		return false
	}
	return slices.ContainsFunc(n.properties, func(p property) bool { return strings.EqualFold(p.name, name) })
}

// depend checks the dependency of a property that is there.
func (w *walk) depend(d *dependency, object map[string]any) (map[string]any, error) {
	for _, name := range d.required {
		if _, ok := object[name]; !ok {
			return object, w.fail("property %s is required when %s is set", quote(name), quote(d.name))
		}
	}
	if d.node == nil {
		return object, nil
	}
	out, err := w.check(d.node, object)
	if err != nil {
		return object, w.within(err, "failed to validate dependent schema for %s", quote(d.name))
	}
	return out.(map[string]any), nil
}

// others checks patternProperties, additionalProperties and propertyNames. Of several failures that of the first name
// in the alphabet counts, so that a value has one text.
func (w *walk) others(n *node, object map[string]any, set func(string, any)) error {
	if len(n.patterns) == 0 && !n.closed && n.additional == nil && n.names == nil {
		return nil
	}
	var failed error
	failedName := ""
	// A property that is set here was there before, so the loop sees each name once whether or not set copies.
	for name, v := range object {
		before := w.changes
		out, err := w.other(n, name, v)
		if w.changes != before {
			set(name, out)
		}
		if err != nil && (failed == nil || name < failedName) {
			failed, failedName = err, name
		}
		if failed != nil && w.quiet > 0 {
			return failed
		}
	}
	return failed
}

func (w *walk) other(n *node, name string, v any) (any, error) {
	if n.names != nil {
		if _, err := w.check(n.names, name); err != nil {
			return v, w.within(err, "failed to validate property name %s", name)
		}
	}
	_, matched := n.named[name]
	for _, p := range n.patterns {
		if !p.regexp.MatchString(name) {
			continue
		}
		matched = true
		out, err := w.check(p.node, v)
		if err != nil {
			return v, w.within(err, "failed to validate %s (matching %s)", name, quote(p.regexp.String()))
		}
		v = out
	}
	switch {
	case matched:
		return v, nil
	case n.closed:
		return v, w.fail("additional properties forbidden, found %s", name)
	case n.additional != nil:
		out, err := w.check(n.additional, v)
		if err != nil {
			return v, w.within(err, "failed to validate additional property %s", name)
		}
		return out, nil
	}
	return v, nil
}

// array checks an array, which is nil for an empty one.
func (w *walk) array(n *node, array []any) (any, error) {
	if n.minItems != nil && len(array) < *n.minItems {
		return array, w.fail("expect array to have at least %d items", *n.minItems)
	}
	if n.maxItems != nil && len(array) > *n.maxItems {
		return array, w.fail("expect array to have at most %d items", *n.maxItems)
	}
	if n.noExtra && len(array) > len(n.tuple) {
		return array, w.fail("found unexpected extra items in array")
	}
	owned := false
	for i, v := range array {
		item, words := n.items, "failed to validate item %d"
		if i < len(n.tuple) {
			item = n.tuple[i]
		} else if n.tuple != nil {
			item, words = n.extra, "failed to validate additional item %d"
		}
		if item == nil {
			break
		}
		before := w.changes
		out, err := w.check(item, v)
		if err != nil {
			return array, w.within(err, words, i+1)
		}
		if w.changes != before {
			if !owned {
				array, owned = slices.Clone(array), true
			}
			array[i] = out
		}
	}
	if n.unique {
		if first, second, found := duplicate(array); found {
			return array, w.fail("expected unique items but items %d and %d are equal", first+1, second+1)
		}
	}
	if n.contains != nil && !slices.ContainsFunc(array, func(v any) bool { _, ok := w.try(n.contains, v); return ok }) {
		return array, w.fail("failed to check contains")
	}
	return array, nil
}

func (w *walk) text(n *node, s string) error {
	if n.minLength != nil || n.maxLength != nil {
		length := utf8.RuneCountInString(s)
		if n.minLength != nil && length < *n.minLength {
			return w.fail("string too short, expected at least %d, got %d", *n.minLength, length)
		}
		if n.maxLength != nil && length > *n.maxLength {
			return w.fail("string too long, expected at most %d, got %d", *n.maxLength, length)
		}
	}
	if n.pattern != nil && !n.pattern.MatchString(s) {
		return w.fail("failed to match pattern %s with %s", quote(n.pattern.String()), quote(s))
	}
	return nil
}

func (w *walk) number(n *node, f float64) error {
	switch {
	case n.minimum != nil && f < *n.minimum:
		return w.fail("expected %s to be at least %s", luaNumber(f), luaNumber(*n.minimum))
	case n.above != nil && f <= *n.above:
		return w.fail("expected %s to be greater than %s", luaNumber(f), luaNumber(*n.above))
	case n.maximum != nil && f > *n.maximum:
		return w.fail("expected %s to be at most %s", luaNumber(f), luaNumber(*n.maximum))
	case n.below != nil && f >= *n.below:
		return w.fail("expected %s to be smaller than %s", luaNumber(f), luaNumber(*n.below))
	case n.multipleOf != nil && !isMultiple(f, *n.multipleOf):
		return w.fail("expected %s to be a multiple of %s", luaNumber(f), luaNumber(*n.multipleOf))
	}
	return nil
}

// combined checks what other schemas say about v, once its own defaults are in.
func (w *walk) combined(n *node, v any) (any, error) {
	same := func(allowed any) bool { return equal(v, allowed) }
	if n.enum != nil && !slices.ContainsFunc(n.enum, same) || n.consts != nil && !same(n.consts[0]) {
		return v, w.fail("matches none of the enum values")
	}
	for i, sub := range n.allOf {
		out, err := w.check(sub, v)
		if err != nil {
			return v, w.within(err, "allOf %d failed", i+1)
		}
		v = out
	}
	v, err := w.alternatives(n, v)
	if err != nil {
		return v, err
	}
	if n.not != nil {
		if _, ok := w.try(n.not, v); ok {
			return v, w.fail("value wasn't supposed to match schema")
		}
	}
	if s, ok := v.(string); ok && n.format != nil && n.format.Validate(s) != nil {
		return v, w.fail("expect valid %s format but got: %s", n.format.Name, s)
	}
	return w.conditional(n, v)
}

func (w *walk) alternatives(n *node, v any) (any, error) {
	if n.anyOf != nil {
		matched := false
		for _, sub := range n.anyOf {
			if v, matched = w.try(sub, v); matched {
				break
			}
		}
		if !matched {
			return v, w.fail("object matches none of the required%s", n.alternatives)
		}
	}
	if n.oneOf == nil {
		return v, nil
	}
	matched, filled := 0, v
	for i, sub := range n.oneOf {
		out, ok := w.try(sub, v)
		switch {
		case !ok:
		case matched > 0:
			return v, w.fail("value should match only one schema, but matches both schemas %d and %d", matched, i+1)
		default:
			matched, filled = i+1, out
		}
	}
	if matched == 0 {
		return v, w.fail("value should match only one schema, but matches none")
	}
	return filled, nil
}

func (w *walk) conditional(n *node, v any) (any, error) {
	if n.cond == nil {
		return v, nil
	}
	branch, clause := n.then, "then"
	if _, ok := w.try(n.cond, v); !ok {
		branch, clause = n.otherwise, "else"
	}
	if branch == nil {
		return v, nil
	}
	out, ok := w.try(branch, v)
	if !ok {
		return v, w.fail("%s clause did not match", clause)
	}
	return out, nil
}

// isReference reports whether s stands for a secret kept elsewhere.
func isReference(s string) bool {
	if len(s) < len("$env://") || s[0] != '$' {
		return false
	}
	return strings.HasPrefix(s, "$secret://") || strings.EqualFold(s[:len("$env://")], "$env://")
}

// allow reports whether v is of one of the types.
func (t types) allow(v any) bool {
	switch v := v.(type) {
	case nil:
		return t&typeNull != 0
	case bool:
		return t&typeBoolean != 0
	case string:
		return t&typeString != 0
	case map[string]any:
		return t&typeObject != 0 || t&typeArray != 0 && len(v) == 0
	case []any:
		return t&typeArray != 0 || t&typeObject != 0 && len(v) == 0
	}
	f, ok := numberOf(v)
	return ok && (t&typeNumber != 0 || t&typeInteger != 0 && isInteger(f))
}
