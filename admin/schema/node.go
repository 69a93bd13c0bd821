// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/json"
	"maps"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// node is one subschema in the form that a walk wants: sorted, with numbers as APISIX has them (doubles), and with the
// parts of its texts at hand. Nil and zero stand for an absent keyword.
type node struct {
	always *bool
	ref    *node

	types     types
	typeNames string // as the text has them

	properties   []property // sorted by name
	named        map[string]struct{}
	required     []string // those that are no property
	dependencies []dependency
	patterns     []pattern
	additional   *node
	closed       bool
	names        *node
	minProps     *int
	maxProps     *int

	items      *node
	tuple      []*node
	extra      *node
	noExtra    bool
	contains   *node
	unique     bool
	minItems   *int
	maxItems   *int
	minLength  *int
	maxLength  *int
	pattern    jsonschema.Regexp
	format     *jsonschema.Format
	minimum    *float64
	maximum    *float64
	above      *float64
	below      *float64
	multipleOf *float64

	enum   []any
	consts []any

	allOf, anyOf, oneOf   []*node
	alternatives          string // the required lists of anyOf, as the text has them
	not                   *node
	cond, then, otherwise *node
}

type property struct {
	name       string
	node       *node
	required   bool
	dependency *dependency
	// fallback is the default; hasDefault is false for null too, which APISIX does not fill in.
	fallback   any
	hasDefault bool
}

type dependency struct {
	name     string
	required []string
	node     *node
}

type pattern struct {
	regexp jsonschema.Regexp
	node   *node
}

// types is a set of JSON types.
type types uint8

const (
	typeNull types = 1 << iota
	typeBoolean
	typeNumber
	typeInteger
	typeString
	typeArray
	typeObject
)

var typesByName = map[string]types{
	"null": typeNull, "boolean": typeBoolean, "number": typeNumber, "integer": typeInteger,
	"string": typeString, "array": typeArray, "object": typeObject,
}

// nodes makes nodes of compiled schemas, each once: schemas may refer to themselves.
type nodes struct {
	doc  any
	made map[*jsonschema.Schema]*node
}

func newNodes(doc any) *nodes { return &nodes{doc, map[*jsonschema.Schema]*node{}} }

// compileNodes makes the node of a schema and of all that it refers to. doc is the document that the schema is in.
func compileNodes(doc any, s *jsonschema.Schema) *node {
	ns := newNodes(doc)
	root := ns.node(s)
	ns.fillDefaults()
	return root
}

// fillDefaults completes the defaults of all nodes. One pass may give a default new members with defaults of their own. A
// schema that refers to itself can go on so for ever.
func (ns *nodes) fillDefaults() {
	for range maxNestedDefaults {
		changed := false
		for _, n := range ns.made {
			changed = n.fillDefaults() || changed
		}
		if !changed {
			break
		}
	}
}

const maxNestedDefaults = 8

// fillDefaults fills in the defaults of defaults: one that is an empty object gets those of its properties, as it
// would if it came from a client. It reports whether there were any.
func (n *node) fillDefaults() bool {
	w := &walk{}
	for i := range n.properties {
		if p := &n.properties[i]; p.hasDefault {
			p.fallback, _ = w.try(p.node, p.fallback)
		}
	}
	return w.changes > 0
}

func (ns *nodes) node(s *jsonschema.Schema) *node {
	if s == nil {
		return nil
	}
	if n := ns.made[s]; n != nil {
		return n
	}
	n := &node{}
	ns.made[s] = n
	n.always, n.ref = s.Bool, ns.node(s.Ref)
	ns.typesOf(n, s)
	ns.objectOf(n, s)
	ns.arrayOf(n, s)
	n.minLength, n.maxLength, n.pattern, n.format = s.MinLength, s.MaxLength, s.Pattern, s.Format
	n.minimum, n.maximum, n.multipleOf = float(s.Minimum), float(s.Maximum), float(s.MultipleOf)
	n.above, n.below = float(s.ExclusiveMinimum), float(s.ExclusiveMaximum)
	if s.Enum != nil {
		n.enum = s.Enum.Values
	}
	if s.Const != nil {
		n.consts = []any{*s.Const}
	}
	n.allOf, n.anyOf, n.oneOf, n.not = ns.list(s.AllOf), ns.list(s.AnyOf), ns.list(s.OneOf), ns.node(s.Not)
	n.cond, n.then, n.otherwise = ns.node(s.If), ns.node(s.Then), ns.node(s.Else)
	n.alternatives = alternativesOf(s.AnyOf)
	return n
}

func (ns *nodes) list(schemas []*jsonschema.Schema) []*node {
	var list []*node
	for _, s := range schemas {
		list = append(list, ns.node(s))
	}
	return list
}

// typesOf takes the types from the document: the library does not keep their order, which the text shows.
func (ns *nodes) typesOf(n *node, s *jsonschema.Schema) {
	object, _ := ns.at(s.Location).(map[string]any)
	switch t := object["type"].(type) {
	case string:
		n.types, n.typeNames = typesByName[t], t
	case []any:
		var names []string
		for _, name := range t {
			name, _ := name.(string)
			n.types |= typesByName[name]
			names = append(names, name)
		}
		n.typeNames = "one of " + strings.Join(names, ", ")
	}
}

// at returns the part of the document at a location that the library made: a URL with a JSON pointer in its fragment.
func (ns *nodes) at(location string) any {
	_, fragment, _ := strings.Cut(location, "#")
	pointer, _ := url.PathUnescape(fragment)
	value := ns.doc
	for _, token := range strings.Split(pointer, "/")[1:] {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		switch v := value.(type) {
		case map[string]any:
			value = v[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i >= len(v) {
				return nil
			}
			value = v[i]
		}
	}
	return value
}

func (ns *nodes) objectOf(n *node, s *jsonschema.Schema) {
	n.named = make(map[string]struct{}, len(s.Properties))
	dependencies := map[string]*dependency{}
	for _, name := range slices.Sorted(maps.Keys(s.Dependencies)) {
		d := &dependency{name: name}
		switch on := s.Dependencies[name].(type) {
		case []string:
			d.required = on
		case *jsonschema.Schema:
			d.node = ns.node(on)
		}
		dependencies[name] = d
		if s.Properties[name] == nil {
			n.dependencies = append(n.dependencies, *d)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		child := s.Properties[name]
		p := property{
			name: name, node: ns.node(child), required: slices.Contains(s.Required, name), dependency: dependencies[name],
		}
		if child.Default != nil && *child.Default != nil {
			p.fallback, p.hasDefault = *child.Default, true
		}
		n.properties = append(n.properties, p)
		n.named[name] = struct{}{}
	}
	for _, name := range s.Required {
		if s.Properties[name] == nil {
			n.required = append(n.required, name)
		}
	}
	for regexp, child := range s.PatternProperties {
		n.patterns = append(n.patterns, pattern{regexp, ns.node(child)})
	}
	slices.SortFunc(n.patterns, func(a, b pattern) int { return strings.Compare(a.regexp.String(), b.regexp.String()) })
	switch additional := s.AdditionalProperties.(type) {
	case bool:
		n.closed = !additional
	case *jsonschema.Schema:
		n.additional = ns.node(additional)
	}
	n.names, n.minProps, n.maxProps = ns.node(s.PropertyNames), s.MinProperties, s.MaxProperties
}

func (ns *nodes) arrayOf(n *node, s *jsonschema.Schema) {
	switch items := s.Items.(type) {
	case *jsonschema.Schema:
		n.items = ns.node(items)
	case []*jsonschema.Schema:
		n.tuple = ns.list(items)
	}
	switch extra := s.AdditionalItems.(type) {
	case bool:
		n.noExtra = !extra
	case *jsonschema.Schema:
		n.extra = ns.node(extra)
	}
	n.contains, n.unique, n.minItems, n.maxItems = ns.node(s.Contains), s.UniqueItems, s.MinItems, s.MaxItems
}

// alternativesOf gives what follows "object matches none of the required" when the alternatives are lists of required
// properties.
func alternativesOf(anyOf []*jsonschema.Schema) string {
	var lists []string
	for _, s := range anyOf {
		if len(s.Required) > 0 {
			list, _ := json.Marshal(s.Required)
			lists = append(lists, string(list))
		}
	}
	if lists == nil {
		return ""
	}
	return ": " + strings.Join(lists, " or ")
}

func float(r *big.Rat) *float64 {
	if r == nil {
		return nil
	}
	f, _ := r.Float64()
	return &f
}
