// SPDX-License-Identifier: Apache-2.0

package grpctranscode

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// source is where a request has its fields, beside the query and the path.
type source uint8

const (
	fromQuery source = iota
	fromJSON
	fromForm
)

// sourceOf decides as APISIX does: JSON in POST, PUT and PATCH, a form in any other POST.
func sourceOf(r *gateway.Request) source {
	if r.ContentLength == 0 {
		return fromQuery
	}
	isJSON := strings.Contains(strings.ToLower(r.Header.Get("Content-Type")), "application/json")
	switch r.Method {
	case "POST":
		if !isJSON {
			return fromForm
		}
		return fromJSON
	case "PUT", "PATCH":
		if isJSON {
			return fromJSON
		}
	}
	return fromQuery
}

var errNoObject = errors.New("the body is no JSON object")

// readFields collects the fields of a request: strings, lists of them, or what JSON has. What the body does not name may be
// in the query, and what that does not name in the path.
func readFields(x *gateway.Exchange) (map[string]any, error) {
	fields := make(map[string]any)
	if from := sourceOf(&x.Request); from != fromQuery {
		body, err := x.Body()
		if err != nil {
			return nil, err
		}
		if from == fromJSON {
			if fields, err = readJSON(body); err != nil {
				return nil, err
			}
		} else {
			readForm(fields, string(body))
		}
	}
	if x.Request.Query != "" {
		query := make(map[string]any)
		for key, value := range x.Request.Args() {
			addValue(query, strings.Clone(key), strings.Clone(value))
		}
		for key, value := range query {
			if _, named := fields[key]; !named {
				fields[key] = value
			}
		}
	}
	for _, param := range x.Params {
		if _, named := fields[param.Name]; !named {
			fields[strings.Clone(param.Name)] = strings.Clone(param.Value)
		}
	}
	return fields, nil
}

// readJSON reads one object. Nothing at all is an empty one.
func readJSON(body []byte) (map[string]any, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return make(map[string]any), nil
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var fields map[string]any
	if err := decoder.Decode(&fields); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) || fields == nil {
		return nil, errNoObject
	}
	return fields, nil
}

// readForm reads application/x-www-form-urlencoded. What is not well escaped stands for itself, as in a query.
func readForm(fields map[string]any, body string) {
	for pair := range strings.SplitSeq(body, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if pair == "" {
			continue
		}
		addValue(fields, unescape(key), unescape(value))
	}
}

func unescape(text string) string {
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}

// addValue adds one of maybe several values of a name.
func addValue(fields map[string]any, key, value string) {
	switch before := fields[key].(type) {
	case nil:
		fields[key] = value
	case []any:
		fields[key] = append(before, value)
	default:
		fields[key] = []any{before, value}
	}
}
