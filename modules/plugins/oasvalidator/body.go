// SPDX-License-Identifier: Apache-2.0

package oasvalidator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// body is what an operation takes (OpenAPI 3.1.0 section 4.8.13). It is immutable.
type body struct {
	required bool
	// media are the types, whole ones before ranges.
	media []*bodyMedia
}

// bodyMedia is one type of bodies.
type bodyMedia struct {
	// pattern is type/subtype in lower case; either may be an asterisk.
	pattern string
	// schema is nil when anything will do.
	schema   *schema.Schema
	shape    *shape
	readOnly []string
}

// check looks at the body of a request.
func (b *body) check(x *gateway.Exchange, raw []byte, found *problems) {
	if len(raw) == 0 {
		if b.required {
			found.add("body", "", "request body is required")
		}
		return
	}
	if len(b.media) == 0 {
		return
	}
	contentType, once := contentTypeOf(&x.Request.Header)
	media := mediaType(contentType)
	m := b.find(media)
	if m == nil || !once {
		found.add("body", "", "content type "+contentType+" is not declared in the spec")
		return
	}
	if m.schema == nil {
		return
	}
	value, problem := m.decode(media, contentType, raw)
	switch {
	case problem != "":
		found.add("body", "", problem)
		return
	case value == undecoded:
		return
	}
	if object, ok := value.(map[string]any); ok {
		before := len(*found)
		for _, name := range m.readOnly {
			if _, sent := object[name]; sent {
				found.add("body", name, "readOnly property '"+name+"' should not be sent in request")
			}
		}
		if len(*found) > before {
			return
		}
	}
	if _, err := m.schema.Apply(value); err != nil {
		found.add("body", "", err.Error())
	}
}

// contentTypeOf returns the Content-Type, and whether there are no two of them: nobody could tell which one the node believes.
func contentTypeOf(h *gateway.Header) (contentType string, once bool) {
	n := 0
	for value := range h.Values("Content-Type") {
		if n++; n == 1 {
			contentType = value
		}
	}
	return contentType, n < 2
}

// mediaType returns type/subtype of a Content-Type in lower case (RFC 9110 section 8.3.1). A body that does not say is what
// section 8.3 has it be.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.Trim(media, " \t"))
	if media == "" {
		return "application/octet-stream"
	}
	return media
}

func isJSON(media string) bool {
	return media == "application/json" || strings.HasSuffix(media, "+json")
}

func (b *body) find(media string) *bodyMedia {
	for _, m := range b.media {
		if covers(m.pattern, media) {
			return m
		}
	}
	return nil
}

func covers(pattern, media string) bool {
	if pattern == media || pattern == "*/*" {
		return true
	}
	kind, ok := strings.CutSuffix(pattern, "/*")
	return ok && strings.HasPrefix(media, kind+"/")
}

// undecoded stands for the value of a body that nobody here can read.
var undecoded any = new(byte)

// decode makes a value of a body.
func (m *bodyMedia) decode(media, contentType string, raw []byte) (value any, problem string) {
	switch {
	case isJSON(media):
		value, err := decodeJSON(raw)
		if err != nil {
			return nil, "invalid JSON body: " + err.Error()
		}
		return value, ""
	case media == "application/x-www-form-urlencoded":
		value, err := m.form(string(raw))
		if err != nil {
			return nil, "invalid form body: " + err.Error()
		}
		return value, ""
	case media == "multipart/form-data":
		_, params, err := mime.ParseMediaType(contentType)
		if err != nil || params["boundary"] == "" {
			return nil, "missing multipart boundary"
		}
		value, err := m.multipart(raw, params["boundary"])
		if err != nil {
			return nil, "invalid multipart body: " + err.Error()
		}
		return value, ""
	}
	return undecoded, ""
}

// maxFields bounds the fields of a form.
const maxFields = 10_000

var errTooManyFields = fmt.Errorf("more than %d fields", maxFields)

func (m *bodyMedia) form(raw string) (any, error) {
	fields := map[string]any{}
	n := 0
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		if n++; n > maxFields {
			return nil, errTooManyFields
		}
		name, text, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, err
		}
		if text, err = url.QueryUnescape(text); err != nil {
			return nil, err
		}
		m.set(fields, name, text)
	}
	return m.listed(fields), nil
}

func (m *bodyMedia) multipart(raw []byte, boundary string) (any, error) {
	fields := map[string]any{}
	reader := multipart.NewReader(bytes.NewReader(raw), boundary)
	for n := 1; ; n++ {
		part, err := reader.NextRawPart()
		switch {
		case err == io.EOF: // one that is wrapped comes too early
			return m.listed(fields), nil
		case err != nil:
			return nil, err
		case n > maxFields:
			return nil, errTooManyFields
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		name := part.FormName()
		switch {
		case name == "":
		case isJSON(mediaType(part.Header.Get("Content-Type"))):
			value, err := decodeJSON(content)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			m.insert(fields, name, value)
		default:
			m.set(fields, name, string(content))
		}
	}
}

// set takes down one field of a form. An array or object may be written as JSON.
func (m *bodyMedia) set(fields map[string]any, name, text string) {
	s := m.shape.property(name)
	if s.has(array|object) && text != "" && (text[0] == '[' || text[0] == '{') {
		if value, err := decodeJSON([]byte(text)); err == nil {
			m.insert(fields, name, value)
			return
		}
	}
	if s.has(array) {
		s = s.item()
	}
	m.insert(fields, name, s.scalar(text))
}

// repeated are the values of a field that is there more than once.
type repeated []any

// insert makes a list of what is there twice: the schema decides whether that may be.
func (m *bodyMedia) insert(fields map[string]any, name string, value any) {
	switch before, there := fields[name]; {
	case !there:
		fields[name] = value
	default:
		list, ok := before.(repeated)
		if !ok {
			list = repeated{before}
		}
		fields[name] = append(list, value)
	}
}

// listed gives fields their last form: what can only be a list is one.
func (m *bodyMedia) listed(fields map[string]any) map[string]any {
	for name, value := range fields {
		switch value := value.(type) {
		case repeated:
			fields[name] = []any(value)
		case []any:
		default:
			if s := m.shape.property(name); s.has(array) && s.types == array {
				fields[name] = []any{value}
			}
		}
	}
	return fields
}

// decodeJSON decodes a document in which no object has two members of one name: of those the node might take the other one.
func decodeJSON(raw []byte) (any, error) {
	value, err := schema.Decode(raw)
	if err != nil {
		return nil, err
	}
	return value, checkMembers(json.NewDecoder(bytes.NewReader(raw)))
}

// checkMembers looks for a name that is twice in an object. The document has been decoded once, so its depth is bounded.
func checkMembers(d *json.Decoder) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		names := map[string]bool{}
		for d.More() {
			token, err := d.Token()
			if err != nil {
				return err
			}
			name, _ := token.(string)
			if names[name] {
				return fmt.Errorf("the member %.100q is there twice", name)
			}
			names[name] = true
			if err := checkMembers(d); err != nil {
				return err
			}
		}
	case json.Delim('['):
		for d.More() {
			if err := checkMembers(d); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = d.Token()
	return err
}
