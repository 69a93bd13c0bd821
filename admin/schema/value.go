// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
)

// numberOf returns a number as APISIX has it: a double.
func numberOf(v any) (float64, bool) {
	switch v := v.(type) {
	case json.Number:
		f, err := strconv.ParseFloat(string(v), 64)
		return f, err == nil
	case float64:
		return v, true
	case int:
		return float64(v), true
	}
	return 0, false
}

func isInteger(f float64) bool { return f == math.Trunc(f) && !math.IsInf(f, 0) }

// isMultiple allows for what gets lost when a fraction such as 0.01 is written as a double: 1.13 is 113 times that.
func isMultiple(f, of float64) bool {
	quotient := f / of
	if isInteger(quotient) {
		return true
	}
	return of != math.Trunc(of) && math.Abs(quotient-math.Round(quotient)) <= math.Abs(quotient)*0x1p-50
}

// luaType names the type of v as Lua does.
func luaType(v any) string {
	switch v.(type) {
	case nil:
		return "userdata"
	case bool:
		return "boolean"
	case string:
		return "string"
	case map[string]any, []any:
		return "table"
	}
	return "number"
}

// luaNumber writes a number as Lua's tostring does.
func luaNumber(f float64) string { return strconv.FormatFloat(f, 'g', 14, 64) }

// quote writes a string as LuaJIT's %q does.
func quote(s string) string {
	out := make([]byte, 0, len(s)+2)
	out = append(out, '"')
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '"' || c == '\\' || c == '\n':
			out = append(out, '\\', c)
		case c >= ' ' && c != 0x7f:
			out = append(out, c)
		default:
			code := strconv.Itoa(int(c))
			// A digit that follows must not be read as part of the code.
			if i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9' {
				code = "00"[:3-len(code)] + code
			}
			out = append(append(out, '\\'), code...)
		}
	}
	return string(append(out, '"'))
}

// equal compares JSON values; numbers are equal when their doubles are.
func equal(a, b any) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case bool:
		b, ok := b.(bool)
		return ok && a == b
	case string:
		b, ok := b.(string)
		return ok && a == b
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, equal)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	}
	x, ok := numberOf(a)
	y, also := numberOf(b)
	return ok && also && x == y
}

// duplicate finds the first item that equals an earlier one.
func duplicate(array []any) (first, second int, found bool) {
	if len(array) < 2 {
		return 0, 0, false
	}
	seen := make(map[any]int, len(array))
	for i, v := range array {
		key := v
		switch v.(type) {
		case map[string]any, []any:
			key = composite(canonical(nil, v))
		default:
			if f, ok := numberOf(v); ok {
				key = f
			}
		}
		if j, ok := seen[key]; ok {
			return j, i, true
		}
		seen[key] = i
	}
	return 0, 0, false
}

// composite is the canonical text of an object or array. It is a type of its own so that no string equals it.
type composite string

// canonical appends a text that two values share exactly if they are equal.
func canonical(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...)
	case bool:
		return strconv.AppendBool(dst, v)
	case string:
		return strconv.AppendQuote(dst, v)
	case map[string]any:
		dst = append(dst, '{')
		for _, name := range slices.Sorted(maps.Keys(v)) {
			dst = append(strconv.AppendQuote(dst, name), ':')
			dst = append(canonical(dst, v[name]), ',')
		}
		return append(dst, '}')
	case []any:
		dst = append(dst, '[')
		for _, item := range v {
			dst = append(canonical(dst, item), ',')
		}
		return append(dst, ']')
	}
	f, _ := numberOf(v)
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}
