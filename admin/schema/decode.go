// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// maxDepth is how many objects and arrays may lie within each other.
const maxDepth = 100

// maxNumberLength bounds the text of a number; the longest that a double can be written as exactly is longer still, but
// nobody writes it.
const maxNumberLength = 400

// Decode decodes one JSON document to nil, bool, string, json.Number, []any and map[string]any. It refuses a second
// document, nesting deeper than 100, and numbers that no double can hold. Of two equal names in an object the last wins.
func Decode(raw []byte) (any, error) {
	if err := checkDepth(raw); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.ErrUnexpectedEOF
		}
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("expected the end of the document at offset %d", d.InputOffset())
	}
	if err := checkNumbers(value); err != nil {
		return nil, err
	}
	return value, nil
}

// checkDepth looks before anything is built of the document. It need not be valid JSON yet.
func checkDepth(raw []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("nested deeper than %d levels", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

func checkNumbers(value any) error {
	switch value := value.(type) {
	case map[string]any:
		for _, v := range value {
			if err := checkNumbers(v); err != nil {
				return err
			}
		}
	case []any:
		for _, v := range value {
			if err := checkNumbers(v); err != nil {
				return err
			}
		}
	case json.Number:
		f, ok := numberOf(value)
		if len(value) > maxNumberLength || !ok || math.IsInf(f, 0) {
			return fmt.Errorf("number %.20s is out of range", value)
		}
	}
	return nil
}
