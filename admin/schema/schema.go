// SPDX-License-Identifier: Apache-2.0

// Package schema holds the JSON Schemas of the Admin API: what they accept, the defaults they carry, and APISIX's own
// text for everything that they refuse.
//
// Schemas are draft 7, parsed, checked and resolved by github.com/santhosh-tekuri/jsonschema. They are evaluated here,
// because APISIX's validator differs from the standard in ways that its users rely on:
//
//   - a default is filled in before the combinators look, so an `if` sees it;
//   - an empty object and an empty array are the same to it;
//   - a string that is a reference to a secret ("$secret://", "$env://") satisfies every schema that takes strings;
//   - the first failure, in a fixed order of keywords, is the error.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schema is a compiled JSON Schema. It is immutable and safe for concurrent use.
type Schema struct {
	raw  json.RawMessage
	root *node
	// encrypted is the schema's `encrypt_fields`.
	encrypted []string
}

// Compile compiles a schema. Unknown keywords are kept in Raw and otherwise ignored.
// A schema may refer to parts of itself, and to nothing else.
func Compile(raw json.RawMessage) (*Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	c, err := compilerFor(doc)
	if err != nil {
		return nil, err
	}
	compiled, err := c.Compile(location)
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	s := &Schema{raw: slices.Clone(raw), root: compileNodes(doc, compiled)}
	if object, ok := doc.(map[string]any); ok {
		fields, _ := object["encrypt_fields"].([]any)
		for _, field := range fields {
			field, ok := field.(string)
			if !ok {
				return nil, errors.New("schema: encrypt_fields: a list of texts is expected")
			}
			s.encrypted = append(s.encrypted, field)
		}
	}
	return s, nil
}

// CompileParts compiles the schemas at JSON pointers into one document, such as an OpenAPI description. Each may refer to any
// part of the document, and to nothing else. The document is what Decode gives, and must not change any more. The schemas have
// no Raw.
func CompileParts(doc any, pointers []string) ([]*Schema, error) {
	c, err := compilerFor(doc)
	if err != nil {
		return nil, err
	}
	ns := newNodes(doc)
	parts := make([]*Schema, len(pointers))
	for i, pointer := range pointers {
		at := url.URL{Fragment: pointer}
		compiled, err := c.Compile(location + "#" + at.EscapedFragment())
		if err != nil {
			return nil, fmt.Errorf("schema at %s: %w", pointer, err)
		}
		parts[i] = &Schema{root: ns.node(compiled)}
	}
	ns.fillDefaults()
	return parts, nil
}

// location is what documents are called while they are compiled.
const location = "schema:///"

func compilerFor(doc any) (*jsonschema.Compiler, error) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	c.UseRegexpEngine(compileRegexp)
	c.UseLoader(noLoader{})
	if err := c.AddResource(location, doc); err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	return c, nil
}

// MustCompile is Compile for schemas that are part of the program. It panics on an error.
func MustCompile[T string | json.RawMessage](raw T) *Schema {
	s, err := Compile(json.RawMessage(raw))
	if err != nil {
		panic(err)
	}
	return s
}

// noLoader keeps a schema from reading files and fetching URLs.
type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, errors.New("refers to another document: " + url)
}

// Raw returns the schema as it was given. It is shared and must not be modified.
func (s *Schema) Raw() json.RawMessage { return s.raw }

// EncryptFields are the fields that are encrypted when they are stored: APISIX's `encrypt_fields`, names with dots between
// them. The slice is shared and must not be modified.
func (s *Schema) EncryptFields() []string { return s.encrypted }

// Validate returns nil, or an error whose text is APISIX's for the first thing wrong with value. The value is what
// Decode gives and is not changed.
func (s *Schema) Validate(value any) error {
	_, err := (&walk{}).check(s.root, value)
	return err
}

// Fill returns a deep copy of value with the schema's defaults filled in. Where only an object or only an array is
// allowed an empty one of the other becomes that, and members that encoding/json would take for a property although
// their case differs are left out. The value should satisfy the schema: one that does not is filled only up to its first
// failure.
func (s *Schema) Fill(value any) any {
	filled, _ := (&walk{filling: true}).check(s.root, value)
	return deepCopy(filled)
}

// Apply is for values that come from clients and not from whoever configures the gateway: it returns what Validate does,
// and the value with the defaults filled in. What looks like a reference to a secret is checked like any other text. The
// result shares with value what did not change.
func (s *Schema) Apply(value any) (any, error) {
	return (&walk{literal: true}).check(s.root, value)
}

func deepCopy(value any) any {
	switch value := value.(type) {
	case map[string]any:
		object := make(map[string]any, len(value))
		for k, v := range value {
			object[k] = deepCopy(v)
		}
		return object
	case []any:
		array := make([]any, len(value))
		for i, v := range value {
			array[i] = deepCopy(v)
		}
		return array
	}
	return value
}

var _ jsonschema.URLLoader = noLoader{}
