// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDepth is how many collections may lie within each other, as in JSON.
	maxDepth = 100
	// maxAliased bounds the values that aliases stand for: a few lines of them can stand for more than any memory holds.
	maxAliased = 1_000_000
)

// decodeYAML decodes one YAML document to what schema.Decode gives. Dates are text, and so are names of members that
// look like something else.
func decodeYAML(raw []byte) (any, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	var root, more yaml.Node
	switch err := decoder.Decode(&root); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("yaml: one document is expected")
	}
	y := yamlReader{}
	return y.value(root.Content[0])
}

// yamlReader turns nodes into values.
type yamlReader struct {
	depth int
	// within counts the aliases around a value, aliased the values that were read because of them.
	within, aliased int
}

func (y *yamlReader) value(n *yaml.Node) (any, error) {
	if y.within > 0 {
		if y.aliased++; y.aliased > maxAliased {
			return nil, fmt.Errorf("yaml: line %d: aliases stand for too much", n.Line)
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		y.within++
		defer func() { y.within-- }()
		return y.nested(n.Alias)
	case yaml.MappingNode, yaml.SequenceNode:
		return y.nested(n)
	}
	return scalar(n)
}

func (y *yamlReader) nested(n *yaml.Node) (any, error) {
	if y.depth++; y.depth > maxDepth {
		return nil, fmt.Errorf("yaml: line %d: nested deeper than %d levels", n.Line, maxDepth)
	}
	defer func() { y.depth-- }()
	switch n.Kind {
	case yaml.MappingNode:
		return y.mapping(n)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			var err error
			if list[i], err = y.value(item); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return y.value(n)
}

func (y *yamlReader) mapping(n *yaml.Node) (any, error) {
	object := make(map[string]any, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" {
			merged = append(merged, value)
			continue
		}
		name, err := memberName(key)
		if err != nil {
			return nil, err
		}
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("yaml: line %d: %q is given twice", key.Line, name)
		}
		if object[name], err = y.value(value); err != nil {
			return nil, err
		}
	}
	for _, value := range merged {
		if err := y.merge(object, value); err != nil {
			return nil, err
		}
	}
	return object, nil
}

// merge adds the members of the mapping behind `<<`, or of each in a list, that the object does not have.
func (y *yamlReader) merge(object map[string]any, n *yaml.Node) error {
	value, err := y.value(n)
	if err != nil {
		return err
	}
	sources, isList := value.([]any)
	if !isList {
		sources = []any{value}
	}
	for _, source := range sources {
		members, ok := source.(map[string]any)
		if !ok {
			return fmt.Errorf("yaml: line %d: << takes a mapping", n.Line)
		}
		for name, v := range members {
			if _, given := object[name]; !given {
				object[name] = v
			}
		}
	}
	return nil
}

func memberName(key *yaml.Node) (string, error) {
	if key.Kind == yaml.AliasNode {
		key = key.Alias
	}
	if key.Kind != yaml.ScalarNode {
		return "", fmt.Errorf("yaml: line %d: a member's name is text", key.Line)
	}
	return key.Value, nil
}

func scalar(n *yaml.Node) (any, error) {
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool":
		var v bool
		err := n.Decode(&v)
		return v, err
	case "!!int", "!!float":
		return number(n)
	}
	return n.Value, nil
}

// number keeps the text of what JSON would spell alike.
func number(n *yaml.Node) (any, error) {
	var v any
	if err := n.Decode(&v); err != nil {
		return nil, err
	}
	text := strings.TrimPrefix(n.Value, "+")
	if json.Valid([]byte(text)) {
		return json.Number(text), nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("yaml: line %d: %s is no number that can be used", n.Line, n.Value)
	}
	return json.Number(raw), nil
}

// encodeYAML writes a JSON document, which is YAML too, the way people write YAML.
func encodeYAML(doc []byte) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(doc, &root); err != nil {
		return nil, err
	}
	unfold(&root)
	return yaml.Marshal(&root)
}

func unfold(n *yaml.Node) {
	if len(n.Content) > 0 {
		n.Style &^= yaml.FlowStyle
	}
	for _, inner := range n.Content {
		unfold(inner)
	}
}
