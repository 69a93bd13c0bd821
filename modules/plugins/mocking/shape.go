// SPDX-License-Identifier: Apache-2.0

package mocking

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
)

// shape is what a JSON Schema says of a value: as much of it as is needed to make one up. It is immutable.
type shape struct {
	kind string
	// example is given instead of a made-up value, where there is one of the right type.
	example any
	members []member
	items   *shape
}

type member struct {
	name  string
	shape *shape
}

// maxShape bounds how deep shapes lie within each other: up to three items on each level are made up.
const maxShape = 8

// compileShape reads a schema of an object.
func compileShape(raw json.RawMessage) (*shape, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var schema map[string]any
	if err := decoder.Decode(&schema); err != nil {
		return nil, fmt.Errorf("response_schema: %w", err)
	}
	if _, ok := schema["type"]; !ok {
		schema["type"] = "object"
	}
	s, err := readShape(schema, 0)
	if err != nil {
		return nil, fmt.Errorf("response_schema: %w", err)
	}
	return s, nil
}

func readShape(schema map[string]any, depth int) (*shape, error) {
	if depth > maxShape {
		return nil, fmt.Errorf("objects and arrays lie deeper within each other than %d levels", maxShape)
	}
	kind, ok := schema["type"].(string)
	if !ok {
		return nil, errors.New("every property needs a type")
	}
	s := &shape{kind: strings.ToLower(kind)}
	switch example := schema["example"]; s.kind {
	case "object":
		properties, _ := schema["properties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			property, _ := properties[name].(map[string]any)
			inner, err := readShape(property, depth+1)
			if err != nil {
				return nil, fmt.Errorf("property %q: %w", name, err)
			}
			s.members = append(s.members, member{name, inner})
		}
	case "array":
		if items, ok := schema["items"].(map[string]any); ok {
			var err error
			if s.items, err = readShape(items, depth+1); err != nil {
				return nil, fmt.Errorf("items: %w", err)
			}
		}
	case "string":
		s.example, _ = example.(string)
		if _, ok := example.(string); !ok {
			s.example = nil
		}
	case "number", "integer":
		if number, ok := example.(json.Number); ok {
			s.example = number
			if f, err := number.Float64(); err == nil && s.kind == "integer" {
				s.example = math.Floor(f)
			}
		}
	case "boolean":
		if truth, ok := example.(bool); ok {
			s.example = truth
		}
	}
	return s, nil
}

// object keeps its members in order.
type object []pair

type pair struct {
	name  string
	value any
}

// makeUp returns an object, a list, or a plain value; nil for a type that nobody knows.
func (s *shape) makeUp() any {
	if s.example != nil {
		return s.example
	}
	switch s.kind {
	case "object":
		made := make(object, 0, len(s.members))
		for _, m := range s.members {
			if value := m.shape.makeUp(); value != nil {
				made = append(made, pair{m.name, value})
			}
		}
		return made
	case "array":
		if s.items == nil {
			return nil
		}
		made := make([]any, 1+rand.IntN(3))
		for i := range made {
			made[i] = s.items.makeUp()
		}
		return made
	case "string":
		word := make([]byte, 1+rand.IntN(10))
		for i := range word {
			word[i] = byte('a' + rand.IntN(26))
		}
		return string(word)
	case "number":
		return rand.Float64() * 10_000
	case "integer":
		return 1 + rand.IntN(10_000)
	case "boolean":
		return rand.IntN(2) == 1
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, p := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, encode(p.name)...), ':')
		b = append(b, encode(p.value)...)
	}
	return append(b, '}'), nil
}

func writeJSON(value any) []byte { return encode(value) }

// encode leaves '<', '>' and '&' as they are.
func encode(value any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return []byte("null")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
