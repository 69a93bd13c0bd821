// SPDX-License-Identifier: Apache-2.0

package requestvalidation

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// headerSchema is a schema for the fields of a request. It is immutable.
type headerSchema struct {
	schema *schema.Schema
	// spelled has the names that the schema writes in another way than in lower case.
	spelled map[string]string
}

func compileHeader(raw json.RawMessage) (*headerSchema, error) {
	compiled, err := schema.Compile(raw)
	if err != nil {
		return nil, err
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, err
	}
	h := &headerSchema{schema: compiled, spelled: make(map[string]string)}
	h.collect(value)
	return h, nil
}

// collect finds the names of fields in a schema: names of fields mean the same in whatever case.
func (h *headerSchema) collect(value any) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			h.collect(item)
		}
	case map[string]any:
		if properties, ok := value["properties"].(map[string]any); ok {
			for name := range properties {
				h.spell(name)
			}
		}
		if required, ok := value["required"].([]any); ok {
			for _, name := range required {
				if name, ok := name.(string); ok {
					h.spell(name)
				}
			}
		}
		for _, inner := range value {
			h.collect(inner)
		}
	}
}

func (h *headerSchema) spell(name string) {
	if lower := strings.ToLower(name); lower != name {
		h.spelled[lower] = name
	}
}

// check checks the fields as an object: names in lower case, values as text, those of a field that is repeated in a list.
func (h *headerSchema) check(x *gateway.Exchange) error {
	r := &x.Request
	object := make(map[string]any, r.Header.Len()+1)
	if r.RawHost != "" {
		h.add(object, "host", r.RawHost)
	}
	for name, value := range r.Header.All() {
		h.add(object, strings.ToLower(name), value)
	}
	_, err := h.schema.Apply(object)
	return err
}

func (h *headerSchema) add(object map[string]any, name, value string) {
	if spelled, ok := h.spelled[name]; ok {
		name = spelled
	}
	addValue(object, name, value)
}

// addValue makes a list of the values of what is there more than once.
func addValue(object map[string]any, name string, value any) {
	switch before := object[name].(type) {
	case nil:
		object[name] = value
	case []any:
		object[name] = append(before, value)
	default:
		object[name] = []any{before, value}
	}
}

func isForm(contentType string) bool {
	kind, _, _ := strings.Cut(contentType, ";")
	return gateway.EqualFold(strings.Trim(kind, " \t"), "application/x-www-form-urlencoded")
}

// decodeForm returns the arguments of a form as an object: texts, lists where one is repeated, and true for those without
// "=", as APISIX has them.
func decodeForm(text string) map[string]any {
	object := make(map[string]any)
	for pair := range strings.SplitSeq(text, "&") {
		key, value, hasValue := strings.Cut(pair, "=")
		if key == "" {
			continue
		}
		if hasValue {
			addValue(object, decode(key), decode(value))
		} else {
			addValue(object, decode(key), true)
		}
	}
	return object
}

// decode leaves what is wrongly encoded as it is.
func decode(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	return text
}
