// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"fmt"
	"regexp"
	"strings"
)

// variable is ${{NAME}} or ${{NAME:=default}}.
var variable = regexp.MustCompile(`\$\{\{\s*([A-Za-z0-9_]+)\s*(:=(.*?))?\s*\}\}`)

// Substitute puts the values of variables into text. One that is not set and has no default is an error.
func Substitute(text string, env func(string) (string, bool)) (string, error) {
	if !strings.Contains(text, "${{") {
		return text, nil
	}
	var missing error
	text = variable.ReplaceAllStringFunc(text, func(match string) string {
		parts := variable.FindStringSubmatch(match)
		if value, set := env(parts[1]); set {
			return value
		}
		if parts[2] == "" && missing == nil {
			missing = fmt.Errorf("can't find environment variable %s", parts[1])
		}
		return parts[3]
	})
	return text, missing
}

func (d *Document) substitute(env func(string) (string, bool)) (*Document, error) {
	root, err := substituted(d.root, env)
	if err != nil {
		return nil, err
	}
	return &Document{root.(map[string]any)}, nil
}

// substituted substitutes in the strings of a value, in place.
func substituted(value any, env func(string) (string, bool)) (any, error) {
	switch value := value.(type) {
	case string:
		return Substitute(value, env)
	case map[string]any:
		for name, v := range value {
			v, err := substituted(v, env)
			if err != nil {
				return nil, err
			}
			value[name] = v
		}
	case []any:
		for i, v := range value {
			v, err := substituted(v, env)
			if err != nil {
				return nil, err
			}
			value[i] = v
		}
	}
	return value, nil
}
