// SPDX-License-Identifier: Apache-2.0

// Package reply makes the constant answers of plugins.
package reply

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// JSON returns an object with one member, as APISIX writes bodies: compact, with a newline at the end.
func JSON(member, text string) []byte {
	return append(encode(map[string]string{member: text}), '\n')
}

// encode leaves '<', '>' and '&' as they are: a body is no part of a page.
func encode(value any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// CheckStatus returns an error that names the field when the status cannot end a request: it must have three digits and
// not be an interim one (RFC 9110 section 15).
func CheckStatus(field string, status int) error {
	if status < 200 || status > 999 {
		return fmt.Errorf("property %q validation failed: expected %d to be a status from 200 to 999", field, status)
	}
	return nil
}
