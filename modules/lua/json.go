// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	gopher "github.com/yuin/gopher-lua"
)

// objectSize is for how many members a table has room at first: most have few.
const objectSize = 4

// maxJSONDepth is how deep values may lie within each other, as in lua-cjson.
const maxJSONDepth = 1000

// null stands for JSON's null and nginx's NULL.
var null = func() *gopher.LUserData {
	meta := workshop.NewTable()
	meta.RawSetString("__tostring", workshop.NewFunction(func(l *gopher.LState) int {
		l.Push(gopher.LString("userdata: NULL"))
		return 1
	}))
	meta.RawSetString("__metatable", gopher.LFalse)
	return &gopher.LUserData{Metatable: meta}
}()

// arrayMeta marks tables that are arrays even when they are empty. Lua knows it as arrayMark, which it cannot change.
var (
	arrayMeta = func() *gopher.LTable {
		meta := workshop.NewTable()
		meta.RawSetString("__metatable", arrayMark)
		return meta
	}()
	arrayMark = &gopher.LUserData{Metatable: gopher.LNil}
)

// jsonEncoder writes a value as lua-cjson does. Members come in the order in which they were set.
type jsonEncoder struct {
	l   *gopher.LState
	s   *state
	out []byte
}

func encodeJSON(l *gopher.LState, v gopher.LValue) ([]byte, error) {
	e := jsonEncoder{l: l, s: stateOf(l)}
	err := e.value(v, 0)
	e.s.spendBytes(l, len(e.out))
	return e.out, err
}

func (e *jsonEncoder) value(v gopher.LValue, depth int) error {
	e.s.spend(e.l, 1)
	switch v := v.(type) {
	case gopher.LString:
		e.out = appendJSONText(e.out, string(v))
	case gopher.LNumber:
		text := numberText(v)
		if strings.Trim(text, "-") == "inf" || text == "nan" {
			return errors.New("Cannot serialise number: must not be NaN or Infinity")
		}
		e.out = append(e.out, text...)
	case gopher.LBool:
		e.out = strconv.AppendBool(e.out, bool(v))
	case *gopher.LNilType:
		e.out = append(e.out, "null"...)
	case *gopher.LTable:
		return e.table(v, depth+1)
	default:
		if v == gopher.LValue(null) {
			e.out = append(e.out, "null"...)
			return nil
		}
		return fmt.Errorf("Cannot serialise %s: type not supported", v.Type())
	}
	return nil
}

func (e *jsonEncoder) table(t *gopher.LTable, depth int) error {
	if depth > maxJSONDepth {
		return fmt.Errorf("Cannot serialise, excessive depth (%d)", depth)
	}
	n, err := arrayLength(t)
	if err != nil {
		return err
	}
	if n > 0 || t.Metatable == gopher.LValue(arrayMeta) {
		e.out = append(e.out, '[')
		for i := 1; i <= n; i++ {
			if i > 1 {
				e.out = append(e.out, ',')
			}
			if err := e.value(t.RawGetInt(i), depth); err != nil {
				return err
			}
		}
		e.out = append(e.out, ']')
		return nil
	}
	e.out = append(e.out, '{')
	first := true
	for key, value := t.Next(gopher.LNil); key != gopher.LNil; key, value = t.Next(key) {
		if !first {
			e.out = append(e.out, ',')
		}
		first = false
		switch key := key.(type) {
		case gopher.LString:
			e.out = appendJSONText(e.out, string(key))
		case gopher.LNumber:
			e.out = appendJSONText(e.out, numberText(key))
		default:
			return errors.New("Cannot serialise table: table key must be a number or string")
		}
		e.out = append(e.out, ':')
		if err := e.value(value, depth); err != nil {
			return err
		}
	}
	e.out = append(e.out, '}')
	return nil
}

// arrayLength returns how long an array the table is, 0 when it is an object.
func arrayLength(t *gopher.LTable) (int, error) {
	n, keys := 0, 0
	for key, _ := t.Next(gopher.LNil); key != gopher.LNil; key, _ = t.Next(key) {
		i, ok := key.(gopher.LNumber)
		if !ok || i < 1 || i != gopher.LNumber(int(i)) {
			return 0, nil
		}
		n = max(n, int(i))
		keys++
	}
	if n > 2*keys && n > 10 {
		return 0, errors.New("Cannot serialise table: excessively sparse array")
	}
	return n, nil
}

func appendJSONText(dst []byte, text string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			if c < ' ' || c == 0x7f {
				dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
				continue
			}
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// jsonDecoder reads a value into tables. Its errors are lua-cjson's.
type jsonDecoder struct {
	l    *gopher.LState
	s    *state
	text string
	at   int
}

// jsonError is thrown inside of the decoder.
type jsonError struct{ error }

// decodeJSON reads one value and nothing but white space behind it.
func decodeJSON(l *gopher.LState, text string) (v gopher.LValue, err error) {
	d := &jsonDecoder{l: l, s: stateOf(l), text: text}
	defer func() {
		if p := recover(); p != nil {
			bad, ok := p.(jsonError)
			if !ok {
				panic(p)
			}
			v, err = gopher.LNil, bad.error
		}
	}()
	d.s.spendBytes(l, len(text))
	v = d.value(0)
	if d.blank(); d.at < len(d.text) {
		d.fail("the end")
	}
	return v, nil
}

// fail says what was expected and what is there.
func (d *jsonDecoder) fail(expected string) {
	found := "invalid token"
	if d.at >= len(d.text) {
		found = "T_END"
	} else {
		switch c := d.text[d.at]; {
		case c == '{':
			found = "T_OBJ_BEGIN"
		case c == '}':
			found = "T_OBJ_END"
		case c == '[':
			found = "T_ARR_BEGIN"
		case c == ']':
			found = "T_ARR_END"
		case c == '"':
			found = "T_STRING"
		case c == ':':
			found = "T_COLON"
		case c == ',':
			found = "T_COMMA"
		case c == '-' || isDigitByte(c):
			found = "T_NUMBER"
		}
		rest := d.text[d.at:]
		switch {
		case strings.HasPrefix(rest, "true"), strings.HasPrefix(rest, "false"):
			found = "T_BOOLEAN"
		case strings.HasPrefix(rest, "null"):
			found = "T_NULL"
		}
	}
	d.failWith(expected, found)
}

func (d *jsonDecoder) failWith(expected, found string) {
	panic(jsonError{fmt.Errorf("Expected %s but found %s at character %d", expected, found, d.at+1)})
}

func (d *jsonDecoder) blank() {
	for d.at < len(d.text) {
		switch d.text[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

// accept passes over c, and blanks in front of it.
func (d *jsonDecoder) accept(c byte) bool {
	if d.blank(); d.at < len(d.text) && d.text[d.at] == c {
		d.at++
		return true
	}
	return false
}

func (d *jsonDecoder) value(depth int) gopher.LValue {
	d.s.spend(d.l, 1)
	if depth > maxJSONDepth {
		panic(jsonError{fmt.Errorf("Found too many nested data structures (%d)", depth)})
	}
	if d.blank(); d.at == len(d.text) {
		d.fail("value")
	}
	switch c := d.text[d.at]; c {
	case '{':
		d.at++
		return d.object(depth)
	case '[':
		d.at++
		return d.array(depth)
	case '"':
		return gopher.LString(d.string("value"))
	case 't', 'f', 'n':
		for _, word := range [...]struct {
			text  string
			value gopher.LValue
		}{{"true", gopher.LTrue}, {"false", gopher.LFalse}, {"null", null}} {
			if strings.HasPrefix(d.text[d.at:], word.text) {
				d.at += len(word.text)
				return word.value
			}
		}
	default:
		if c == '-' || isDigitByte(c) {
			return d.number()
		}
	}
	d.fail("value")
	return nil
}

func (d *jsonDecoder) object(depth int) gopher.LValue {
	t := d.l.CreateTable(0, objectSize)
	if d.accept('}') {
		return t
	}
	for {
		if d.blank(); d.at == len(d.text) || d.text[d.at] != '"' {
			d.fail("object key string")
		}
		key := d.string("object key string")
		if !d.accept(':') {
			d.fail("colon")
		}
		t.RawSetString(key, d.value(depth+1))
		if d.accept(',') {
			continue
		}
		if !d.accept('}') {
			d.fail("comma or object end")
		}
		return t
	}
}

func (d *jsonDecoder) array(depth int) gopher.LValue {
	t := d.l.CreateTable(objectSize, 0)
	t.Metatable = arrayMeta
	if d.accept(']') {
		return t
	}
	for {
		t.Append(d.value(depth + 1))
		if d.accept(',') {
			continue
		}
		if !d.accept(']') {
			d.fail("comma or array end")
		}
		return t
	}
}

func (d *jsonDecoder) number() gopher.LValue {
	start := d.at
	end := start
	for end < len(d.text) && strings.IndexByte("+-.0123456789eE", d.text[end]) >= 0 {
		end++
	}
	digits := strings.TrimPrefix(d.text[start:end], "-")
	f, err := strconv.ParseFloat(d.text[start:end], 64)
	leadingZero := len(digits) > 1 && digits[0] == '0' && isDigitByte(digits[1])
	if err != nil && !errors.Is(err, strconv.ErrRange) || leadingZero {
		d.failWith("value", "invalid number")
	}
	d.at = end
	return gopher.LNumber(f)
}

// string reads the string at d.at. What has no escapes is part of the text that is read.
func (d *jsonDecoder) string(expected string) string {
	start := d.at + 1
	for i := start; i < len(d.text); i++ {
		switch c := d.text[i]; {
		case c == '"':
			d.at = i + 1
			return d.text[start:i]
		case c == '\\':
			return d.escaped(expected, start, i)
		case c < ' ':
			d.failWith(expected, "invalid token")
		}
	}
	d.failWith(expected, "unexpected end of string")
	return ""
}

func (d *jsonDecoder) escaped(expected string, start, i int) string {
	b := []byte(d.text[start:i])
	for i < len(d.text) {
		c := d.text[i]
		i++
		switch {
		case c == '"':
			d.at = i
			return string(b)
		case c < ' ':
			d.failWith(expected, "invalid token")
		case c != '\\':
			b = append(b, c)
			continue
		}
		if i >= len(d.text) {
			break
		}
		c = d.text[i]
		i++
		if at := strings.IndexByte(`"\/bfnrt`, c); at >= 0 {
			b = append(b, "\"\\/\b\f\n\r\t"[at])
			continue
		}
		r, n := unicodeEscape(d.text[i-1:])
		if n == 0 {
			d.failWith(expected, "invalid escape code")
		}
		b = utf8.AppendRune(b, r)
		i += n - 1
	}
	d.failWith(expected, "unexpected end of string")
	return ""
}

// unicodeEscape reads "uXXXX", and with it the second half of a pair of surrogates; n is 0 when it is none.
func unicodeEscape(text string) (r rune, n int) {
	unit := func(text string) rune {
		if len(text) < 5 || text[0] != 'u' {
			return -1
		}
		v, err := strconv.ParseUint(text[1:5], 16, 32)
		if err != nil {
			return -1
		}
		return rune(v)
	}
	r = unit(text)
	switch {
	case r < 0:
		return 0, 0
	case !utf16.IsSurrogate(r):
		return r, 5
	case len(text) < 11 || text[5] != '\\':
		return 0, 0
	}
	if r = utf16.DecodeRune(r, unit(text[6:])); r == utf8.RuneError {
		return 0, 0
	}
	return r, 11
}

func jsonEncode(l *gopher.LState) int {
	out, err := encodeJSON(l, l.CheckAny(1))
	if err != nil {
		l.RaiseError("%s", err.Error())
	}
	l.Push(gopher.LString(out))
	return 1
}

func jsonDecode(l *gopher.LState) int {
	v, err := decodeJSON(l, l.CheckString(1))
	if err != nil {
		l.RaiseError("%s", err.Error())
	}
	l.Push(v)
	return 1
}

// jsonEncodeSafe and jsonDecodeSafe return nil and the error.
func jsonEncodeSafe(l *gopher.LState) int {
	out, err := encodeJSON(l, l.CheckAny(1))
	if err != nil {
		return pushError(l, err)
	}
	l.Push(gopher.LString(out))
	return 1
}

func jsonDecodeSafe(l *gopher.LState) int {
	text, ok := l.Get(1).(gopher.LString)
	if !ok {
		return pushError(l, errors.New("bad argument #1 to 'decode' (string expected, got "+l.Get(1).Type().String()+")"))
	}
	v, err := decodeJSON(l, string(text))
	if err != nil {
		return pushError(l, err)
	}
	l.Push(v)
	return 1
}

func pushError(l *gopher.LState, err error) int {
	l.Push(gopher.LNil)
	l.Push(gopher.LString(err.Error()))
	return 2
}

func init() {
	for name, set := range map[string]functions{
		"cjson":      {"encode": jsonEncode, "decode": jsonDecode},
		"cjson.safe": {"encode": jsonEncodeSafe, "decode": jsonDecodeSafe},
	} {
		newLibrary(name, set).constant("null", null).constant("array_mt", arrayMark).constant("empty_array_mt", arrayMark).module(name)
	}
}
