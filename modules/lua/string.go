// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	gopher "github.com/yuin/gopher-lua"
)

var stringFunctions = functions{
	"byte": strByte, "char": strChar, "find": strFind, "format": strFormat, "gmatch": strGmatch, "gsub": strGsub,
	"len": strLen, "lower": strLower, "match": strMatch, "rep": strRep, "reverse": strReverse, "sub": strSub, "upper": strUpper,
}

// stringMeta is the metatable of every string.
var stringMeta = func() *gopher.LTable {
	lib := newLibrary("string", stringFunctions)
	lib.global("string")
	meta := workshop.NewTable()
	meta.RawSetString("__index", lib.members)
	meta.RawSetString("__metatable", gopher.LFalse)
	return meta
}()

// push gives a function's one result and pays for its text.
func push(l *gopher.LState, text string) int {
	stateOf(l).spendBytes(l, len(text))
	l.Push(gopher.LString(text))
	return 1
}

// span turns Lua's i and j, both counted from 1 or back from the end, into a slice's bounds.
func span(length, i, j int) (from, to int) {
	if i < 0 {
		i = max(length+i+1, 1)
	}
	if j < 0 {
		j = length + j + 1
	}
	from, to = max(i, 1)-1, min(j, length)
	if from > to {
		return 0, 0
	}
	return from, to
}

func strSub(l *gopher.LState) int {
	s := l.CheckString(1)
	from, to := span(len(s), l.CheckInt(2), l.OptInt(3, -1))
	l.Push(gopher.LString(s[from:to]))
	return 1
}

func strByte(l *gopher.LState) int {
	s := l.CheckString(1)
	i := l.OptInt(2, 1)
	from, to := span(len(s), i, l.OptInt(3, i))
	stateOf(l).spend(l, to-from)
	for _, c := range []byte(s[from:to]) {
		l.Push(gopher.LNumber(c))
	}
	return to - from
}

func strChar(l *gopher.LState) int {
	text := make([]byte, l.GetTop())
	for i := range text {
		c := l.CheckInt(i + 1)
		if c < 0 || c > 255 {
			l.ArgError(i+1, "invalid value")
		}
		text[i] = byte(c)
	}
	return push(l, string(text))
}

func strLen(l *gopher.LState) int {
	l.Push(gopher.LNumber(len(l.CheckString(1))))
	return 1
}

// asciiMap changes single bytes: Lua's case is that of the C locale.
func asciiMap(s string, from, to byte, change int) string {
	for i := range len(s) {
		if s[i] < from || s[i] > to {
			continue
		}
		changed := []byte(s)
		for ; i < len(changed); i++ {
			if from <= changed[i] && changed[i] <= to {
				changed[i] = byte(int(changed[i]) + change)
			}
		}
		return string(changed)
	}
	return s
}

func strLower(l *gopher.LState) int { return push(l, asciiMap(l.CheckString(1), 'A', 'Z', 'a'-'A')) }

func strUpper(l *gopher.LState) int { return push(l, asciiMap(l.CheckString(1), 'a', 'z', 'A'-'a')) }

func strReverse(l *gopher.LState) int {
	text := []byte(l.CheckString(1))
	for i, j := 0, len(text)-1; i < j; i, j = i+1, j-1 {
		text[i], text[j] = text[j], text[i]
	}
	return push(l, string(text))
}

func strRep(l *gopher.LState) int {
	s, n, separator := l.CheckString(1), l.CheckInt(2), l.OptString(3, "")
	if n <= 0 || len(s)+len(separator) == 0 {
		l.Push(gopher.LString(""))
		return 1
	}
	if most := math.MaxInt32 / (len(s) + len(separator)); n > most {
		n = most + 1
	}
	// What is not paid for is not made.
	size := len(s)*n + len(separator)*(n-1)
	stateOf(l).spendBytes(l, size)
	if separator != "" {
		s, separator = s+separator, s
		l.Push(gopher.LString(strings.Repeat(s, n-1) + separator))
		return 1
	}
	l.Push(gopher.LString(strings.Repeat(s, n)))
	return 1
}

// concat is the operator; see scanner.concat.
func concat(l *gopher.LState) int {
	n := l.GetTop()
	size := 0
	texts := make([]string, 0, 16)
	for i := 1; i <= n; i++ {
		switch v := l.Get(i).(type) {
		case gopher.LString:
			texts = append(texts, string(v))
		case gopher.LNumber:
			texts = append(texts, numberText(v))
		default:
			return concatMeta(l, n)
		}
		size += len(texts[i-1])
	}
	stateOf(l).spendBytes(l, size)
	l.Push(gopher.LString(strings.Join(texts, "")))
	return 1
}

// concatMeta joins from the right, two by two, and asks __concat where there is something else than text.
func concatMeta(l *gopher.LState, n int) int {
	right := l.Get(n)
	for i := n - 1; i >= 1; i-- {
		left := l.Get(i)
		if gopher.LVCanConvToString(left) && gopher.LVCanConvToString(right) {
			text := l.ToStringMeta(left).String() + l.ToStringMeta(right).String()
			stateOf(l).spendBytes(l, len(text))
			right = gopher.LString(text)
			continue
		}
		join := l.GetMetaField(left, "__concat")
		if join == gopher.LNil {
			join = l.GetMetaField(right, "__concat")
		}
		if join == gopher.LNil {
			bad := left
			if gopher.LVCanConvToString(left) {
				bad = right
			}
			l.RaiseError("attempt to concatenate a %s value", bad.Type().String())
		}
		l.Push(join)
		l.Push(left)
		l.Push(right)
		l.Call(2, 1)
		right = l.Get(-1)
		l.Pop(1)
	}
	l.Push(right)
	return 1
}

// numberText is Lua's tostring of a number.
func numberText(n gopher.LNumber) string {
	f := float64(n)
	if i := int64(f); float64(i) == f && -1e14 < f && f < 1e14 && (i != 0 || !math.Signbit(f)) {
		return strconv.FormatInt(i, 10)
	}
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	return cFloat('g', 14, f)
}

// cFloat writes a number as C's printf does: Go keeps zeros and writes exponents in another way.
func cFloat(verb byte, precision int, f float64) string {
	if verb|0x20 != 'g' {
		return strconv.FormatFloat(f, verb, precision, 64)
	}
	precision = max(precision, 1)
	text := strconv.FormatFloat(f, 'e', precision-1, 64)
	exponent, err := strconv.Atoi(text[strings.IndexByte(text, 'e')+1:])
	if err != nil {
		return text
	}
	var mantissa, rest string
	if exponent < -4 || exponent >= precision {
		mantissa, rest, _ = strings.Cut(text, "e")
		rest = "e" + rest
	} else {
		mantissa = strconv.FormatFloat(f, 'f', precision-1-exponent, 64)
	}
	if strings.IndexByte(mantissa, '.') >= 0 {
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	}
	if verb == 'G' {
		rest = strings.ToUpper(rest)
	}
	return mantissa + rest
}

// strFormat is string.format: C's printf without '*', and %q.
func strFormat(l *gopher.LState) int {
	format := l.CheckString(1)
	var b strings.Builder
	arg := 1
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		i++
		start := i
		for i < len(format) && strings.IndexByte("-+ #0123456789.", format[i]) >= 0 {
			i++
		}
		if i >= len(format) {
			l.RaiseError("invalid option '%%%s' to 'format'", format[start:])
		}
		if format[i] == '%' {
			b.WriteByte('%')
			continue
		}
		arg++
		text := formatOne(l, format[start:i], format[i], arg)
		stateOf(l).spendBytes(l, len(text))
		b.WriteString(text)
	}
	l.Push(gopher.LString(b.String()))
	return 1
}

// formatOne formats one argument. spec has flags, width and precision.
func formatOne(l *gopher.LState, spec string, verb byte, arg int) string {
	width, precision, hasPrecision := strings.Cut(strings.TrimLeft(spec, "-+ #0"), ".")
	if len(width) > 2 || len(precision) > 2 || strings.ContainsAny(precision, ".-+ #") {
		l.RaiseError("invalid format (width or precision too long)")
	}
	switch verb {
	case 'd', 'i':
		return fmt.Sprintf("%"+spec+"d", int64(l.CheckNumber(arg)))
	case 'u':
		return fmt.Sprintf("%"+spec+"d", uint64(int64(l.CheckNumber(arg))))
	case 'c':
		return fmt.Sprintf("%"+spec+"s", string([]byte{byte(int64(l.CheckNumber(arg)))}))
	case 'x', 'X', 'o':
		return fmt.Sprintf("%"+spec+string(verb), uint64(int64(l.CheckNumber(arg))))
	case 'e', 'E', 'f', 'F':
		return fmt.Sprintf("%"+spec+string(verb), float64(l.CheckNumber(arg)))
	case 'g', 'G':
		digits := 6
		if hasPrecision {
			digits, _ = strconv.Atoi("0" + precision)
		}
		flags, _, _ := strings.Cut(spec, ".")
		text := cFloat(verb, digits, float64(l.CheckNumber(arg)))
		if strings.ContainsAny(flags, "+ ") && text[0] != '-' {
			text = string(flags[strings.IndexAny(flags, "+ ")]) + text
		}
		return fmt.Sprintf("%"+strings.Trim(strings.Map(noSign, flags), " ")+"s", text)
	case 'q':
		return quoteText(l.CheckString(arg))
	case 's':
		if arg > l.GetTop() {
			l.ArgError(arg, "no value")
		}
		return fmt.Sprintf("%"+spec+"s", toText(l, l.Get(arg)))
	}
	l.RaiseError("invalid option '%%%s%c' to 'format'", spec, verb)
	return ""
}

func noSign(r rune) rune {
	if r == '+' || r == ' ' {
		return -1
	}
	return r
}

// quoteText writes a string as Lua can read it.
func quoteText(s string) string {
	b := []byte{'"'}
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\', '\n':
			b = append(b, '\\', c)
		case '\r':
			b = append(b, `\r`...)
		case 0:
			b = append(b, `\0`...)
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}

// toText is tostring.
func toText(l *gopher.LState, v gopher.LValue) string {
	switch v := v.(type) {
	case gopher.LString:
		return string(v)
	case gopher.LNumber:
		return numberText(v)
	}
	return l.ToStringMeta(v).String()
}
