// SPDX-License-Identifier: Apache-2.0

package grpctranscode

import (
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/andogate/ando/modules/plugins/reply"
)

// format is how messages become JSON: lua-protobuf's options of these names.
type format struct {
	enumsAsNumbers bool
	integers       integers
	defaults       defaults
}

// integers is how 64 bit integers are written.
type integers uint8

const (
	asNumber integers = iota
	// asString and asHex are for those that do not fit into 32 bits: text behind a '#'.
	asString
	asHex
)

// defaults is which fields are there although the message has none of them.
type defaults uint8

const (
	// ofProto3 are those of proto3, where a default and nothing at all are the same.
	ofProto3 defaults = iota
	ofNone
	ofAll
)

// readFormat reads pb_option. Of options that contradict each other the last counts. Hooks are functions that lua-protobuf
// calls; nobody can set any.
func readFormat(options []string) (f format) {
	for _, option := range options {
		switch option {
		case "enum_as_name":
			f.enumsAsNumbers = false
		case "enum_as_value":
			f.enumsAsNumbers = true
		case "int64_as_number":
			f.integers = asNumber
		case "int64_as_string":
			f.integers = asString
		case "int64_as_hexstring":
			f.integers = asHex
		case "auto_default_values":
			f.defaults = ofProto3
		case "no_default_values", "use_default_metatable":
			// Defaults of a metatable are found by those who ask for them, and JSON does not.
			f.defaults = ofNone
		case "use_default_values":
			f.defaults = ofAll
		}
	}
	return f
}

// appendMessage appends a message as a JSON object: fields by their names in the .proto file, in its order.
func (o format) appendMessage(b []byte, m protoreflect.Message) []byte {
	b = append(b, '{')
	first := true
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) && !o.hasDefault(f) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(reply.AppendText(b, string(f.Name())), ':')
		b = o.appendField(b, f, m.Get(f))
	}
	return append(b, '}')
}

// hasDefault reports whether a field that is not there is written all the same. Messages have no default, and of a oneof
// there is only what was chosen.
func (o format) hasDefault(f protoreflect.FieldDescriptor) bool {
	if f.ContainingOneof() != nil || f.Message() != nil && !f.IsList() && !f.IsMap() {
		return false
	}
	switch o.defaults {
	case ofAll:
		return true
	case ofProto3:
		syntax := f.ParentFile().Syntax()
		return syntax == protoreflect.Proto3 || syntax == protoreflect.Editions && !f.HasPresence()
	}
	return false
}

func (o format) appendField(b []byte, f protoreflect.FieldDescriptor, value protoreflect.Value) []byte {
	switch {
	case f.IsMap():
		return o.appendMap(b, f, value.Map())
	case f.IsList():
		b = append(b, '[')
		list := value.List()
		for i := range list.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = o.appendValue(b, f, list.Get(i))
		}
		return append(b, ']')
	}
	return o.appendValue(b, f, value)
}

// appendMap appends the entries in the order of their keys, so that equal messages are equal texts.
func (o format) appendMap(b []byte, f protoreflect.FieldDescriptor, m protoreflect.Map) []byte {
	values := make(map[string]protoreflect.Value, m.Len())
	keys := make([]string, 0, m.Len())
	for key, value := range m.Range {
		keys = append(keys, key.String())
		values[key.String()] = value
	}
	slices.Sort(keys)
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(reply.AppendText(b, key), ':')
		b = o.appendValue(b, f.MapValue(), values[key])
	}
	return append(b, '}')
}

func (o format) appendValue(b []byte, f protoreflect.FieldDescriptor, value protoreflect.Value) []byte {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, value.Bool())
	case protoreflect.EnumKind:
		if named := f.Enum().Values().ByNumber(value.Enum()); named != nil && !o.enumsAsNumbers {
			return reply.AppendText(b, string(named.Name()))
		}
		return strconv.AppendInt(b, int64(value.Enum()), 10)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return strconv.AppendInt(b, value.Int(), 10)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return strconv.AppendUint(b, value.Uint(), 10)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n := value.Int()
		if o.integers == asNumber || n >= math.MinInt32 && n <= math.MaxUint32 {
			return strconv.AppendInt(b, n, 10)
		}
		// The absolute value of the least integer is one that only an unsigned one has room for.
		size := uint64(n)
		if n < 0 {
			size = -size
		}
		return o.appendLong(b, n < 0, size)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n := value.Uint()
		if o.integers == asNumber || n <= math.MaxUint32 {
			return strconv.AppendUint(b, n, 10)
		}
		return o.appendLong(b, false, n)
	case protoreflect.FloatKind:
		return appendFloat(b, value.Float(), 32)
	case protoreflect.DoubleKind:
		return appendFloat(b, value.Float(), 64)
	case protoreflect.StringKind:
		return reply.AppendText(b, value.String())
	case protoreflect.BytesKind:
		return reply.AppendText(b, string(value.Bytes()))
	default:
		return o.appendMessage(b, value.Message())
	}
}

// appendLong appends an integer of more than 32 bits as text.
func (o format) appendLong(b []byte, negative bool, size uint64) []byte {
	b = append(b, `"#`...)
	if negative {
		b = append(b, '-')
	}
	if o.integers == asHex {
		b = append(b, "0x"...)
		start := len(b)
		b = strconv.AppendUint(b, size, 16)
		for i := start; i < len(b); i++ {
			if b[i] >= 'a' {
				b[i] -= 'a' - 'A'
			}
		}
	} else {
		b = strconv.AppendUint(b, size, 10)
	}
	return append(b, '"')
}

// appendFloat appends a number, or the words that protobuf has for what JSON has no number for.
func appendFloat(b []byte, n float64, bits int) []byte {
	switch {
	case math.IsNaN(n):
		return append(b, `"NaN"`...)
	case math.IsInf(n, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(n, -1):
		return append(b, `"-Infinity"`...)
	}
	form := byte('f')
	if size := math.Abs(n); size != 0 && (size < 1e-6 || size >= 1e21) {
		form = 'e'
	}
	return strconv.AppendFloat(b, n, form, -1, bits)
}
