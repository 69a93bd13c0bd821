// SPDX-License-Identifier: Apache-2.0

package grpctranscode

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// fill sets the fields of a message that are named, by their names in the .proto file. Others are nobody's, and null is as
// good as absent.
func fill(m protoreflect.Message, fields map[string]any) error {
	all := m.Descriptor().Fields()
	for i := range all.Len() {
		f := all.Get(i)
		value, ok := fields[string(f.Name())]
		if !ok || value == nil {
			continue
		}
		if err := set(m, f, value); err != nil {
			return fmt.Errorf("%s: %w", f.FullName(), err)
		}
	}
	return nil
}

func set(m protoreflect.Message, f protoreflect.FieldDescriptor, value any) error {
	switch {
	case f.IsMap():
		return setMap(m.Mutable(f).Map(), f, value)
	case f.IsList():
		items, ok := value.([]any)
		if !ok {
			// A query cannot say that one value is a list.
			items = []any{value}
		}
		list := m.Mutable(f).List()
		for _, item := range items {
			v, err := convert(list.NewElement, f, item)
			if err != nil {
				return err
			}
			list.Append(v)
		}
		return nil
	}
	v, err := convert(func() protoreflect.Value { return m.NewField(f) }, f, value)
	if err == nil {
		m.Set(f, v)
	}
	return err
}

func setMap(into protoreflect.Map, f protoreflect.FieldDescriptor, value any) error {
	entries, ok := value.(map[string]any)
	if !ok {
		return mismatch(f, value)
	}
	for name, item := range entries {
		key, err := scalar(f.MapKey(), name)
		if err != nil {
			return err
		}
		v, err := convert(into.NewValue, f.MapValue(), item)
		if err != nil {
			return err
		}
		into.Set(key.MapKey(), v)
	}
	return nil
}

// convert makes a value of a field's type. empty makes a message of it.
func convert(empty func() protoreflect.Value, f protoreflect.FieldDescriptor, value any) (protoreflect.Value, error) {
	if f.Message() == nil {
		return scalar(f, value)
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return protoreflect.Value{}, mismatch(f, value)
	}
	v := empty()
	return v, fill(v.Message(), fields)
}

func mismatch(f protoreflect.FieldDescriptor, value any) error {
	return fmt.Errorf("%T is no %s", value, f.Kind())
}

// scalar makes a value of what JSON or a query has. Numbers may be given as text, as they are in a query; 64 bit integers
// also as lua-protobuf writes them, behind a '#'.
func scalar(f protoreflect.FieldDescriptor, value any) (v protoreflect.Value, err error) {
	text, isText := value.(string)
	number, isNumber := value.(json.Number)
	if isNumber {
		text = number.String()
	}
	switch kind := f.Kind(); kind {
	case protoreflect.StringKind, protoreflect.BytesKind:
		switch {
		case !isText:
			err = mismatch(f, value)
		case kind == protoreflect.StringKind:
			v = protoreflect.ValueOfString(text)
		default:
			v = protoreflect.ValueOfBytes([]byte(text))
		}
		return v, err
	case protoreflect.BoolKind:
		truth, err := boolean(f, value, text)
		return protoreflect.ValueOfBool(truth), err
	}
	if !isText && !isNumber {
		return v, mismatch(f, value)
	}
	switch f.Kind() {
	case protoreflect.EnumKind:
		if named := f.Enum().Values().ByName(protoreflect.Name(text)); named != nil {
			return protoreflect.ValueOfEnum(named.Number()), nil
		}
		n, err := signed(text, 32)
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), err
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		n, err := signed(text, 32)
		return protoreflect.ValueOfInt32(int32(n)), err
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n, err := signed(text, 64)
		return protoreflect.ValueOfInt64(n), err
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, err := unsigned(text, 32)
		return protoreflect.ValueOfUint32(uint32(n)), err
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n, err := unsigned(text, 64)
		return protoreflect.ValueOfUint64(n), err
	case protoreflect.FloatKind:
		n, err := strconv.ParseFloat(text, 32)
		return protoreflect.ValueOfFloat32(float32(n)), err
	case protoreflect.DoubleKind:
		n, err := strconv.ParseFloat(text, 64)
		return protoreflect.ValueOfFloat64(n), err
	}
	return v, mismatch(f, value)
}

// boolean takes JSON's truth, and what of it can be written in a query.
func boolean(f protoreflect.FieldDescriptor, value any, text string) (bool, error) {
	if truth, ok := value.(bool); ok {
		return truth, nil
	}
	switch text {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, mismatch(f, value)
}

func signed(text string, bits int) (int64, error) {
	digits, base := integer(text)
	n, err := strconv.ParseInt(digits, base, bits)
	if whole, ok := wholeNumber(text); err != nil && ok && whole >= -math.Exp2(float64(bits-1)) && whole < math.Exp2(float64(bits-1)) {
		return int64(whole), nil
	}
	return n, err
}

func unsigned(text string, bits int) (uint64, error) {
	digits, base := integer(text)
	n, err := strconv.ParseUint(digits, base, bits)
	if whole, ok := wholeNumber(text); err != nil && ok && whole >= 0 && whole < math.Exp2(float64(bits)) {
		return uint64(whole), nil
	}
	return n, err
}

// integer splits off what says in which base an integer is written.
func integer(text string) (digits string, base int) {
	text = strings.TrimPrefix(text, "#")
	digits = strings.TrimPrefix(text, "-")
	if hex, ok := strings.CutPrefix(strings.ToLower(digits), "0x"); ok {
		if digits != text {
			hex = "-" + hex
		}
		return hex, 16
	}
	return text, 10
}

// wholeNumber reads an integer that is written as a fraction or with an exponent, such as 1.0 or 1e3.
func wholeNumber(text string) (float64, bool) {
	if !strings.ContainsAny(text, ".eE") {
		return 0, false
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil && n == math.Trunc(n)
}
