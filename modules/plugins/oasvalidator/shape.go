// SPDX-License-Identifier: Apache-2.0

package oasvalidator

import (
	"encoding/json"
	"math"
	"strconv"
)

// shape is what has to be known of a schema to make values of the texts in a request. It is immutable, and may contain itself.
type shape struct {
	types      kind
	items      *shape
	properties map[string]*shape
	// additional is that of other properties; nil is unknown.
	additional *shape
	// readOnly names the properties that only responses have.
	readOnly map[string]bool
}

// kind is a set of JSON types.
type kind uint8

const (
	number kind = 1 << iota
	boolean
	text
	array
	object
)

var kinds = map[string]kind{
	"integer": number, "number": number, "boolean": boolean, "string": text, "array": array, "object": object,
}

// shape returns that of the schema at a pointer.
func (c *compiler) shape(at string) *shape {
	if known := c.shapes[at]; known != nil {
		return known
	}
	s := &shape{}
	c.shapes[at] = s
	_, value := lookup(c.root, "#"+escapePercent(at))
	schema, _ := value.(map[string]any)
	if reference, ok := schema["$ref"].(string); ok {
		if target, value := lookup(c.root, reference); value != nil {
			of := c.shape(target)
			s.merge(of)
			for name := range of.readOnly {
				s.markReadOnly(name)
			}
		}
		return s
	}
	switch types := schema["type"].(type) {
	case string:
		s.types = kinds[types]
	case []any:
		for _, name := range types {
			name, _ := name.(string)
			s.types |= kinds[name]
		}
	}
	if properties, _ := schema["properties"].(map[string]any); properties != nil {
		s.properties = make(map[string]*shape, len(properties))
		for name, property := range properties {
			s.properties[name] = c.shape(join(at, "properties", name))
			if readOnly(c.root, property) {
				s.markReadOnly(name)
			}
		}
	}
	if _, ok := schema["items"].(map[string]any); ok {
		s.items = c.shape(join(at, "items"))
	}
	if _, ok := schema["additionalProperties"].(map[string]any); ok {
		s.additional = c.shape(join(at, "additionalProperties"))
	}
	for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := schema[keyword].([]any)
		for i := range list {
			part := c.shape(join(at, keyword, strconv.Itoa(i)))
			// What a value is comes from its type where it has one.
			types := s.types
			s.merge(part)
			if keyword != "allOf" {
				continue
			}
			if types != 0 {
				s.types = types
			}
			for name := range part.readOnly {
				s.markReadOnly(name)
			}
		}
	}
	return s
}

func (s *shape) markReadOnly(name string) {
	if s.readOnly == nil {
		s.readOnly = map[string]bool{}
	}
	s.readOnly[name] = true
}

// merge adds what another schema says that has a say about the same value. What only one alternative says of readOnly does not
// count.
func (s *shape) merge(other *shape) {
	if s == other {
		return
	}
	s.types |= other.types
	if s.items == nil {
		s.items = other.items
	}
	if s.additional == nil {
		s.additional = other.additional
	}
	for name, property := range other.properties {
		if s.properties == nil {
			s.properties = make(map[string]*shape, len(other.properties))
		}
		if s.properties[name] == nil {
			s.properties[name] = property
		}
	}
}

// has reports whether a value may be of that kind; nil has none.
func (s *shape) has(k kind) bool { return s != nil && s.types&k != 0 }

// item is the shape of the items of an array.
func (s *shape) item() *shape {
	if s == nil {
		return nil
	}
	return s.items
}

// property is the shape of a member of an object.
func (s *shape) property(name string) *shape {
	if s == nil {
		return nil
	}
	if p := s.properties[name]; p != nil {
		return p
	}
	return s.additional
}

// scalar makes a value of a text: what it stands for where a number or a boolean is asked for, and the text otherwise.
func (s *shape) scalar(raw string) any {
	if s.has(number) && isNumber(raw) {
		return json.Number(raw)
	}
	if s.has(boolean) {
		switch raw {
		case "true", "1":
			return true
		case "false", "0":
			return false
		}
	}
	return raw
}

// maxNumber bounds the text of a number.
const maxNumber = 400

// isNumber reports whether a text is a number in JSON (RFC 8259 section 6), and one that a double can hold.
func isNumber(raw string) bool {
	if raw == "" || len(raw) > maxNumber {
		return false
	}
	rest := raw
	if rest[0] == '-' {
		rest = rest[1:]
	}
	whole := digits(rest)
	if whole == 0 || whole > 1 && rest[0] == '0' {
		return false
	}
	if rest = rest[whole:]; rest != "" && rest[0] == '.' {
		n := digits(rest[1:])
		if n == 0 {
			return false
		}
		rest = rest[1+n:]
	}
	if rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		rest = rest[1:]
		if rest != "" && (rest[0] == '+' || rest[0] == '-') {
			rest = rest[1:]
		}
		n := digits(rest)
		if n == 0 {
			return false
		}
		rest = rest[n:]
	}
	if rest != "" {
		return false
	}
	f, err := strconv.ParseFloat(raw, 64)
	return err == nil && !math.IsInf(f, 0)
}

// digits is how many of them a text begins with.
func digits(s string) int {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return i
		}
	}
	return len(s)
}
