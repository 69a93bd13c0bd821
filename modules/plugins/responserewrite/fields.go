// SPDX-License-Identifier: Apache-2.0

package responserewrite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/andogate/ando/modules/expr"
	"github.com/andogate/ando/modules/gateway"
)

// fieldChanges is the compiled `headers`. It is immutable.
type fieldChanges struct {
	add, set []field
	remove   []string
}

type field struct {
	name  string
	value *expr.Template
}

// apply adds, sets and removes, in this order.
func (c *fieldChanges) apply(x *gateway.Exchange) {
	h := &x.Response.Header
	for i := range c.add {
		h.Add(c.add[i].name, c.add[i].text(x))
	}
	for i := range c.set {
		h.Set(c.set[i].name, c.set[i].text(x))
	}
	for _, name := range c.remove {
		h.Del(name)
	}
}

// text returns the value, in which variables may have brought along what no field value holds: a line end would begin
// another field (RFC 9110 section 5.5).
func (f *field) text(x *gateway.Exchange) string {
	text := f.value.String(x)
	if httpguts.ValidHeaderFieldValue(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

// compileFields reads `headers`: an object with a list or object under add, set or remove is the newer form; any other
// has fields to set.
func compileFields(raw json.RawMessage) (changes fieldChanges, err error) {
	if len(raw) == 0 {
		return changes, nil
	}
	var form map[string]json.RawMessage
	if err := json.Unmarshal(raw, &form); err != nil {
		return changes, fmt.Errorf("headers: %w", err)
	}
	if !structured(form["add"]) && !structured(form["set"]) && !structured(form["remove"]) {
		changes.set, err = compileSet(raw)
		return changes, err
	}
	if structured(form["set"]) {
		if changes.set, err = compileSet(form["set"]); err != nil {
			return changes, err
		}
	}
	var lines []string
	if structured(form["add"]) {
		if err := json.Unmarshal(form["add"], &lines); err != nil {
			return changes, fmt.Errorf("headers.add: %w", err)
		}
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		f, err := compileField(strings.TrimSpace(name), strings.TrimSpace(value))
		if err != nil {
			return changes, err
		}
		changes.add = append(changes.add, f...)
	}
	if structured(form["remove"]) {
		if err := json.Unmarshal(form["remove"], &changes.remove); err != nil {
			return changes, fmt.Errorf("headers.remove: %w", err)
		}
	}
	return changes, nil
}

func structured(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) > 0 && (raw[0] == '{' || raw[0] == '[')
}

func compileSet(raw json.RawMessage) ([]field, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var values map[string]any
	if err := decoder.Decode(&values); err != nil {
		return nil, fmt.Errorf("headers: %w", err)
	}
	var fields []field
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch values[name].(type) {
		case string, json.Number:
		default:
			return nil, fmt.Errorf("invalid type as header value")
		}
		f, err := compileField(name, fmt.Sprint(values[name]))
		if err != nil {
			return nil, err
		}
		fields = append(fields, f...)
	}
	return fields, nil
}

// compileField returns nothing for fields that concern the connection or say where the body ends: those are the wire's.
func compileField(name, value string) ([]field, error) {
	if name == "" {
		return nil, fmt.Errorf("invalid field length in header")
	}
	if !httpguts.ValidHeaderFieldName(name) {
		return nil, fmt.Errorf("invalid header name %q", name)
	}
	for _, own := range [...]string{"Connection", "Content-Length", "Keep-Alive", "Trailer", "Transfer-Encoding", "Upgrade"} {
		if gateway.EqualFold(name, own) {
			return nil, nil
		}
	}
	return []field{{name, expr.ParseTemplate(value)}}, nil
}
