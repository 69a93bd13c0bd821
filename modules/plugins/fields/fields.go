// SPDX-License-Identifier: Apache-2.0

// Package fields compiles what the configs of plugins say about header fields.
package fields

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/andogate/ando/modules/gateway"
)

// Field is a field with the values that it gets. It is immutable.
type Field struct {
	Name   string
	values []value
}

// The texts are APISIX's.
var (
	errNoName   = errors.New("invalid field length in header")
	errBadName  = errors.New("invalid field character in header")
	errBadType  = errors.New("invalid type as header value")
	errBadValue = errors.New("invalid value character in header")
)

// Compile reads an object of names, each with a text or number, or a list of those. The fields are in the order of their
// names. No text at all has no fields.
func Compile(raw json.RawMessage) ([]Field, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		return nil, fmt.Errorf("headers: %w", err)
	}
	fields := make([]Field, 0, len(object))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		switch {
		case name == "":
			return nil, errNoName
		case !httpguts.ValidHeaderFieldName(name):
			return nil, errBadName
		}
		list, isList := object[name].([]any)
		if !isList {
			list = []any{object[name]}
		}
		field := Field{Name: name}
		for _, item := range list {
			switch item.(type) {
			case string, json.Number:
			default:
				return nil, errBadType
			}
			text := fmt.Sprint(item)
			if !httpguts.ValidHeaderFieldValue(text) {
				return nil, errBadValue
			}
			field.values = append(field.values, parseValue(text))
		}
		fields = append(fields, field)
	}
	return fields, nil
}

// CompileResponse is Compile without the fields that concern the connection or say where the body ends: in a response those
// are the wire's.
func CompileResponse(raw json.RawMessage) ([]Field, error) {
	fields, err := Compile(raw)
	return slices.DeleteFunc(fields, func(f Field) bool { return isFraming(f.Name) }), err
}

func isFraming(name string) bool {
	for _, own := range [...]string{"Connection", "Content-Length", "Keep-Alive", "Trailer", "Transfer-Encoding", "Upgrade"} {
		if gateway.EqualFold(name, own) {
			return true
		}
	}
	return false
}

// Match is the text that a pattern was found in, and where: what $1 and the like stand for in values. The zero Match leaves
// them empty.
type Match struct {
	Text   string
	Groups []int
}

// SetRequest gives the request's field its values in the place of those it has. Host is the one that the node is sent.
func (f *Field) SetRequest(x *gateway.Exchange, m Match) {
	if strings.EqualFold(f.Name, "Host") {
		f.setHost(x, m)
		return
	}
	f.set(&x.Request.Header, x, m)
}

// AddRequest adds the values to those that the request's field has.
func (f *Field) AddRequest(x *gateway.Exchange, m Match) {
	if strings.EqualFold(f.Name, "Host") {
		f.setHost(x, m)
		return
	}
	for i := range f.values {
		x.Request.Header.Add(f.Name, f.values[i].text(x, m))
	}
}

// SetResponse gives the response's field its values in the place of those it has.
func (f *Field) SetResponse(x *gateway.Exchange) { f.set(&x.Response.Header, x, Match{}) }

func (f *Field) set(h *gateway.Header, x *gateway.Exchange, m Match) {
	for i := range f.values {
		text := f.values[i].text(x, m)
		if i == 0 {
			h.Set(f.Name, text)
		} else {
			h.Add(f.Name, text)
		}
	}
}

// setHost leaves the Host as it is when the value is none.
func (f *Field) setHost(x *gateway.Exchange, m Match) {
	for i := range f.values {
		if host := f.values[i].text(x, m); host != "" && httpguts.ValidHostHeader(host) {
			x.Forward.Host = host
		}
	}
}
