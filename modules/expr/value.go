// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"encoding/json"
	"strconv"
	"strings"
)

// kind is the type of a value, as Lua would have it.
type kind uint8

const (
	// isAbsent is the zero value: a variable that is not there, and JSON's null.
	isAbsent kind = iota
	isText
	isNumber
	isBool
	isList
	// isObject is a JSON object: it is there, and equal to nothing.
	isObject
)

// value is what a variable holds in one exchange. Most variables are text; those taken from JSON keep their type.
type value struct {
	kind kind
	// sole marks what APISIX has as a list of one: the result of a path with an index.
	sole bool
	// truth is the value of a bool.
	truth bool
	// text is the text of isText, and that of a number as it was written.
	text string
	// list holds what JSON decodes to, numbers as json.Number; of isObject it holds the object alone.
	list []any
}

// valueOf returns what decodeJSON made of a JSON value.
func valueOf(decoded any) value {
	switch v := decoded.(type) {
	case string:
		return value{kind: isText, text: v}
	case json.Number:
		return value{kind: isNumber, text: v.String()}
	case bool:
		return value{kind: isBool, truth: v}
	case []any:
		return value{kind: isList, list: v}
	case map[string]any:
		return value{kind: isObject, list: []any{v}}
	}
	return value{}
}

// number is Lua's tonumber.
func (v value) number() (float64, bool) {
	if v.kind != isText && v.kind != isNumber {
		return 0, false
	}
	return parseNumber(v.text)
}

// String returns the text that stands for the value in templates: lists of plain values are separated by commas, other
// JSON stays JSON.
func (v value) String() string {
	switch v.kind {
	case isText, isNumber:
		return v.text
	case isBool:
		return strconv.FormatBool(v.truth)
	case isObject:
		text, _ := json.Marshal(v.list[0])
		return string(text)
	case isList:
		texts := make([]string, len(v.list))
		for i, item := range v.list {
			item := valueOf(item)
			if item.kind == isList || item.kind == isObject {
				text, _ := json.Marshal(v.list)
				return string(text)
			}
			texts[i] = item.String()
		}
		return strings.Join(texts, ",")
	}
	return ""
}

// parseNumber reads a number as Lua's tonumber does: decimal or hexadecimal, with a fraction, an exponent, a sign and
// blanks around. It does not read "inf" and "nan", which LuaJIT does: nobody sends them in good faith.
func parseNumber(s string) (float64, bool) {
	s = strings.Trim(s, " \t\n\v\f\r")
	digits := strings.TrimLeft(s, "+-")
	if len(s)-len(digits) > 1 || digits == "" {
		return 0, false
	}
	negative := s[0] == '-'
	var n float64
	var ok bool
	if len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x' {
		n, ok = parseHex(digits[2:])
	} else {
		n, ok = parseDecimal(digits)
	}
	if negative {
		n = -n
	}
	return n, ok
}

// parseDecimal and parseHex check the form before they let strconv read it, which takes more than Lua does and allocates
// its errors. What remains is ErrRange, with the infinity or zero that Lua has too.
func parseDecimal(s string) (float64, bool) {
	rest, ok := cutMantissa(s, isDigit)
	if !ok || rest != "" && !isExponent(rest, 'e') {
		return 0, false
	}
	n, _ := strconv.ParseFloat(s, 64)
	return n, true
}

// parseHex reads what follows "0x".
func parseHex(s string) (float64, bool) {
	rest, ok := cutMantissa(s, isHexDigit)
	if !ok || rest != "" && !isExponent(rest, 'p') {
		return 0, false
	}
	// Without an exponent strconv takes it for an integer and refuses.
	exponent := ""
	if rest == "" {
		exponent = "p0"
	}
	n, _ := strconv.ParseFloat("0x"+s+exponent, 64)
	return n, true
}

// cutMantissa takes digits, with one point anywhere, off the text. ok says that there was a digit.
func cutMantissa(s string, digit func(byte) bool) (rest string, ok bool) {
	point := false
	for i := range len(s) {
		switch {
		case digit(s[i]):
			ok = true
		case s[i] == '.' && !point:
			point = true
		default:
			return s[i:], ok
		}
	}
	return "", ok
}

// isExponent reports whether s is the letter, a sign or none, and digits.
func isExponent(s string, letter byte) bool {
	if s[0]|0x20 != letter {
		return false
	}
	s = s[1:]
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHexDigit(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
