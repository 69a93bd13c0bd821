// SPDX-License-Identifier: Apache-2.0

package oasvalidator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/andogate/ando/admin/schema"
)

// place is where a parameter is.
type place uint8

const (
	inPath place = iota
	inQuery
	inHeader
)

var places = map[string]place{"path": inPath, "query": inQuery, "header": inHeader}

var placeNames = [...]string{inPath: "path", inQuery: "query", inHeader: "header"}

// parameter is one parameter of an operation (OpenAPI 3.1.0 section 4.8.12). It is immutable.
type parameter struct {
	name                   string
	in                     place
	required, emptyAllowed bool
	style                  style
	explode                bool
	// json says that the value is a JSON text: `content`.
	json bool
	// schema is nil when anything will do.
	schema *schema.Schema
	shape  *shape
	// index is that of a path parameter among those of its path; -1 is none.
	index int
}

// style is how a value is written.
type style uint8

const (
	simple style = iota
	label
	matrix
	form
	spaceDelimited
	pipeDelimited
	deepObject
)

// styles are those of each place, its default first.
var styles = [...]map[string]style{
	inPath:   {"": simple, "simple": simple, "label": label, "matrix": matrix},
	inQuery:  {"": form, "form": form, "spaceDelimited": spaceDelimited, "pipeDelimited": pipeDelimited, "deepObject": deepObject},
	inHeader: {"": simple, "simple": simple},
}

// serialize reads how the value is written.
func (p *parameter) serialize(object map[string]any) error {
	name, _ := object["style"].(string)
	known, ok := styles[p.in][name]
	if !ok {
		return fmt.Errorf("%s parameter %s: unknown style %q", placeNames[p.in], p.name, name)
	}
	p.style, p.explode = known, known == form
	if explode, ok := object["explode"].(bool); ok {
		p.explode = explode
	}
	return nil
}

func (p *parameter) skipped(s skips) bool {
	switch p.in {
	case inPath:
		return s.path
	case inQuery:
		return s.query
	}
	return s.header
}

// check looks at the parameter in a request.
func (p *parameter) check(v *values, found *problems) {
	value, there, problem := p.value(v)
	switch {
	case problem != "":
		p.report(found, problem)
		return
	case !there:
		if p.required {
			p.report(found, "required parameter is missing")
		}
		return
	case p.emptyAllowed && value == "" || p.schema == nil:
		return
	}
	_, err := p.schema.Apply(value)
	if err == nil {
		return
	}
	// What looks like a number may have been meant as the text that it is.
	if raw, isText := v.raw(p); isText && p.shape.has(text) && value != any(raw) {
		if _, textErr := p.schema.Apply(raw); textErr == nil {
			return
		}
	}
	p.report(found, err.Error())
}

func (p *parameter) report(found *problems, problem string) {
	found.add(placeNames[p.in], p.name, problem)
}

// value returns the value in the request and whether there is one. A value that is empty is none, but where that is allowed
// or the parameter need not be there.
func (p *parameter) value(v *values) (value any, there bool, problem string) {
	if p.in == inQuery && !p.json && (p.style == deepObject || p.style == form && p.explode && p.structured()) {
		if object := p.spread(v); object != nil {
			return object, true, ""
		}
		if p.style != deepObject || p.structured() {
			return nil, false, ""
		}
	}
	texts := v.texts(p)
	if len(texts) == 0 || len(texts) == 1 && texts[0] == "" && p.required && !p.emptyAllowed {
		return nil, false, ""
	}
	switch {
	case p.json:
		if len(texts) > 1 {
			return nil, true, "parameter is given more than once"
		}
		value, err := decodeJSON([]byte(texts[0]))
		if err != nil {
			return nil, true, "invalid JSON: " + err.Error()
		}
		return value, true, ""
	case p.shape.has(array):
		return p.list(texts)
	case len(texts) > 1:
		return texted(texts, p.shape), true, ""
	case p.structured():
		return p.members(texts[0])
	}
	return p.shape.scalar(p.strip(texts[0])), true, ""
}

// structured reports whether the value can only be an object.
func (p *parameter) structured() bool { return p.shape.has(object) && p.shape.types == object }

// list makes an array of the texts.
func (p *parameter) list(texts []string) (any, bool, string) {
	if p.in == inQuery && p.explode || p.style == deepObject {
		return texted(texts, p.shape.item()), true, ""
	}
	if len(texts) > 1 {
		return nil, true, "parameter is given more than once"
	}
	raw, separator := p.strip(texts[0]), ","
	switch p.style {
	case spaceDelimited:
		separator = " "
	case pipeDelimited:
		separator = "|"
	case label:
		if p.explode {
			separator = "."
		}
	case matrix:
		if p.explode {
			separator = ";" + p.name + "="
		}
	}
	if raw == "" {
		return []any{}, true, ""
	}
	parts := strings.Split(raw, separator)
	if p.in == inHeader {
		for i := range parts {
			parts[i] = strings.Trim(parts[i], " \t")
		}
	}
	return texted(parts, p.shape.item()), true, ""
}

// strip takes off what a style puts before a value.
func (p *parameter) strip(raw string) string {
	switch p.style {
	case label:
		raw = strings.TrimPrefix(raw, ".")
	case matrix:
		if !p.explode || !p.structured() {
			raw = strings.TrimPrefix(raw, ";"+p.name+"=")
		} else {
			raw = strings.TrimPrefix(raw, ";")
		}
	}
	return raw
}

// members makes an object of one text: a,1,b,2, or a=1,b=2 when it explodes.
func (p *parameter) members(raw string) (any, bool, string) {
	separator := ","
	switch {
	case p.style == spaceDelimited:
		separator = " "
	case p.style == pipeDelimited:
		separator = "|"
	case p.style == label && p.explode:
		separator = "."
	case p.style == matrix && p.explode:
		separator = ";"
	}
	parts := strings.Split(p.strip(raw), separator)
	object := make(map[string]any, len(parts))
	set := func(name, value string) bool {
		if p.in == inHeader {
			name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
		}
		if _, twice := object[name]; twice {
			return false
		}
		object[name] = p.shape.property(name).scalar(value)
		return true
	}
	if p.explode {
		for _, part := range parts {
			name, value, ok := strings.Cut(part, "=")
			if !ok || !set(name, value) {
				return nil, true, "parameter is no list of members"
			}
		}
		return object, true, ""
	}
	if len(parts)%2 != 0 {
		return nil, true, "parameter is no list of members"
	}
	for pair := range slices.Chunk(parts, 2) {
		if !set(pair[0], pair[1]) {
			return nil, true, "parameter is no list of members"
		}
	}
	return object, true, ""
}

// spread makes an object of several arguments: name[a]=1&name[b]=2, or a=1&b=2 for the properties that are known. It returns
// nil when there are none.
func (p *parameter) spread(v *values) map[string]any {
	var object map[string]any
	for _, a := range v.query() {
		path := []string{a.name}
		if p.style == deepObject {
			rest, ok := strings.CutPrefix(a.name, p.name+"[")
			if !ok {
				continue
			}
			path = brackets(rest)
		} else if p.shape.properties[a.name] == nil {
			continue
		}
		if object == nil {
			object = map[string]any{}
		}
		if len(path) > 0 {
			put(object, path, a.value, p.shape)
		}
	}
	return object
}

// maxNesting bounds how deep a deepObject may go.
const maxNesting = 32

// brackets reads "a][b]" as a and b. Empty brackets, as some write for lists, are nothing.
func brackets(rest string) (path []string) {
	for range maxNesting {
		name, after, closed := strings.Cut(rest, "]")
		if !closed {
			return append(path, rest)
		}
		if name != "" {
			path = append(path, name)
		}
		next, ok := strings.CutPrefix(after, "[")
		if !ok {
			return path
		}
		rest = next
	}
	return append(path, rest)
}

// put sets what is at a path in an object. What is there twice becomes a list.
func put(object map[string]any, path []string, value string, s *shape) {
	for _, name := range path[:len(path)-1] {
		s = s.property(name)
		inner, ok := object[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			object[name] = inner
		}
		object = inner
	}
	name := path[len(path)-1]
	s = s.property(name)
	switch before := object[name].(type) {
	case nil:
		if s.has(array) {
			object[name] = []any{s.item().scalar(value)}
		} else {
			object[name] = s.scalar(value)
		}
	case []any:
		object[name] = append(before, s.item().scalar(value))
	default:
		object[name] = []any{before, s.scalar(value)}
	}
}

func texted(texts []string, s *shape) []any {
	list := make([]any, len(texts))
	for i, t := range texts {
		list[i] = s.scalar(t)
	}
	return list
}
