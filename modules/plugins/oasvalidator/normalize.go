// SPDX-License-Identifier: Apache-2.0

package oasvalidator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// normalizer makes draft 7 of the schemas of a description: those of OpenAPI 3.0 are draft 4 with changes, those of 3.1 are
// draft 2020-12.
type normalizer struct {
	root map[string]any
	// modern is OpenAPI 3.1.
	modern bool
}

func normalizerFor(root map[string]any) (*normalizer, error) {
	version, _ := root["openapi"].(string)
	switch {
	case strings.HasPrefix(version, "3.0"):
		return &normalizer{root: root}, nil
	case strings.HasPrefix(version, "3.1"):
		return &normalizer{root: root, modern: true}, nil
	case version == "":
		return nil, errors.New("missing the field openapi, the version of the specification")
	}
	return nil, fmt.Errorf("unsupported OpenAPI version %q, 3.0 and 3.1 are supported", version)
}

// document goes through everything but schemas, and hands those on.
func (n *normalizer) document(root map[string]any) error {
	components, _ := root["components"].(map[string]any)
	for kind, value := range components {
		entries, _ := value.(map[string]any)
		for _, entry := range entries {
			var err error
			if kind == "schemas" {
				err = n.schema(entry)
			} else {
				err = n.other(entry)
			}
			if err != nil {
				return err
			}
		}
	}
	for _, member := range []string{"paths", "webhooks"} {
		entries, _ := root[member].(map[string]any)
		for _, entry := range entries {
			if err := n.other(entry); err != nil {
				return err
			}
		}
	}
	return nil
}

// other looks for schemas in an object that is none.
func (n *normalizer) other(value any) error {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			if err := n.other(item); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, member := range value {
			var err error
			switch {
			case name == "schema":
				err = n.schema(member)
			case name == "example" || name == "examples" || strings.HasPrefix(name, "x-"):
			default:
				err = n.other(member)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Where schemas are in schemas.
var (
	single = []string{"items", "additionalItems", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"}
	listed = []string{"allOf", "anyOf", "oneOf", "prefixItems", "items"}
	named  = []string{"properties", "patternProperties", "definitions", "$defs", "dependentSchemas", "dependencies"}
)

func (n *normalizer) schema(value any) error {
	s, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	for _, keyword := range single {
		if err := n.schema(s[keyword]); err != nil {
			return err
		}
	}
	for _, keyword := range listed {
		list, _ := s[keyword].([]any)
		for _, item := range list {
			if err := n.schema(item); err != nil {
				return err
			}
		}
	}
	for _, keyword := range named {
		members, _ := s[keyword].(map[string]any)
		for _, member := range members {
			if err := n.schema(member); err != nil {
				return err
			}
		}
	}
	// Names of schemas other than by where they are: nothing here goes by them.
	for _, keyword := range []string{"$id", "$schema", "$anchor", "$dynamicAnchor", "$comment", "$vocabulary"} {
		delete(s, keyword)
	}
	n.dropReadOnly(s)
	if n.modern {
		return n.modernize(s)
	}
	nullable(s)
	bound(s, "minimum", "exclusiveMinimum")
	bound(s, "maximum", "exclusiveMaximum")
	return nil
}

// nullable says as draft 7 does that null is allowed too (OpenAPI 3.0.3 section 4.7.24). It means nothing without a type.
func nullable(s map[string]any) {
	typ, isText := s["type"].(string)
	if s["nullable"] == true && isText {
		s["type"] = []any{typ, "null"}
		if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, any(nil)) {
			s["enum"] = append(slices.Clip(enum), nil)
		}
	}
	delete(s, "nullable")
}

// bound makes a number of an exclusive bound: in draft 4 it is a flag of the bound.
func bound(s map[string]any, limit, exclusive string) {
	flag, ok := s[exclusive].(bool)
	if !ok {
		return
	}
	delete(s, exclusive)
	if value, ok := s[limit]; ok && flag {
		s[exclusive] = value
		delete(s, limit)
	}
}

// modernize says with the keywords of draft 7 what those of draft 2020-12 mean.
func (n *normalizer) modernize(s map[string]any) error {
	for _, keyword := range []string{"unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "minContains", "maxContains"} {
		if _, ok := s[keyword]; ok {
			return fmt.Errorf("unsupported OpenAPI 3.1 keyword: %s", keyword)
		}
	}
	if prefix, ok := s["prefixItems"]; ok {
		if rest, ok := s["items"]; ok {
			s["additionalItems"] = rest
		}
		s["items"] = prefix
		delete(s, "prefixItems")
	}
	for _, keyword := range []string{"dependentRequired", "dependentSchemas"} {
		on, _ := s[keyword].(map[string]any)
		for property, what := range on {
			n.depend(s, property, what)
		}
		// What is at such a place can be referred to no more; nobody does.
		delete(s, keyword)
	}
	reference, ok := s["$ref"]
	if !ok || len(s) == 1 {
		return nil
	}
	// Draft 7 knows nothing beside a reference.
	delete(s, "$ref")
	all, _ := s["allOf"].([]any)
	s["allOf"] = append(slices.Clip(all), map[string]any{"$ref": reference})
	return nil
}

func (n *normalizer) depend(s map[string]any, property string, what any) {
	on, _ := s["dependencies"].(map[string]any)
	if on == nil {
		on = map[string]any{}
		s["dependencies"] = on
	}
	required, isList := what.([]any)
	switch before := on[property].(type) {
	case nil:
		on[property] = what
	case []any:
		if isList {
			on[property] = append(slices.Clip(before), required...)
		} else {
			on[property] = map[string]any{"allOf": []any{map[string]any{"required": before}, what}}
		}
	}
}

// dropReadOnly takes properties that only responses have from those that are required.
func (n *normalizer) dropReadOnly(s map[string]any) {
	properties, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	if len(properties) == 0 || len(required) == 0 {
		return
	}
	kept := slices.DeleteFunc(slices.Clone(required), func(name any) bool {
		text, _ := name.(string)
		return readOnly(n.root, properties[text])
	})
	switch {
	case len(kept) == len(required):
	case len(kept) == 0:
		delete(s, "required")
	default:
		s["required"] = kept
	}
}

// readOnly reports whether a property is for responses alone.
func readOnly(root, property any) bool { return readOnlyWithin(root, property, maxReferences) }

func readOnlyWithin(root, value any, steps int) bool {
	s, _ := value.(map[string]any)
	if s["readOnly"] == true {
		return true
	}
	if steps == 0 {
		return false
	}
	if reference, ok := s["$ref"].(string); ok {
		_, target := lookup(root, reference)
		return readOnlyWithin(root, target, steps-1)
	}
	all, _ := s["allOf"].([]any)
	return len(all) == 1 && readOnlyWithin(root, all[0], steps-1)
}
