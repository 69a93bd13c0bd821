// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"strings"

	gopher "github.com/yuin/gopher-lua"
)

func newMatcher(l *gopher.LState, subject, pattern string) *matcher {
	s := stateOf(l)
	return &matcher{subject: subject, pattern: pattern, pay: func(n int) { s.spend(l, n) }}
}

// pushCapture pushes a capture, or the whole match when the pattern has none.
func (m *matcher) pushCapture(l *gopher.LState, i, start, end int) {
	if i >= m.level && i == 0 {
		l.Push(gopher.LString(m.subject[start:end]))
		return
	}
	switch c := m.captures[i]; c.length {
	case positionCapture:
		l.Push(gopher.LNumber(c.start + 1))
	case openCapture:
		l.RaiseError("unfinished capture")
	default:
		l.Push(gopher.LString(m.subject[c.start : c.start+c.length]))
	}
}

// pushCaptures pushes all captures; whole says that the match stands for none.
func (m *matcher) pushCaptures(l *gopher.LState, start, end int, whole bool) int {
	n := m.level
	if n == 0 && whole {
		n = 1
	}
	for i := range n {
		m.pushCapture(l, i, start, end)
	}
	return n
}

func (m *matcher) mustFind(l *gopher.LState, from int) (start, end int) {
	start, end, err := m.find(from)
	if err != nil {
		l.RaiseError("%s", err.Error())
	}
	return start, end
}

// startOf reads the third argument of find and match.
func startOf(l *gopher.LState, length int) int {
	from := l.OptInt(3, 1)
	if from < 0 {
		from = length + from + 1
	}
	return max(from, 1) - 1
}

func strFind(l *gopher.LState) int {
	s, pattern := l.CheckString(1), l.CheckString(2)
	from := startOf(l, len(s))
	if from > len(s) {
		l.Push(gopher.LNil)
		return 1
	}
	if l.ToBool(4) || !special(pattern) {
		return pushPlain(l, s, pattern, from)
	}
	m := newMatcher(l, s, pattern)
	start, end := m.mustFind(l, from)
	if start < 0 {
		l.Push(gopher.LNil)
		return 1
	}
	l.Push(gopher.LNumber(start + 1))
	l.Push(gopher.LNumber(end))
	return 2 + m.pushCaptures(l, start, end, false)
}

// pushPlain finds text as it is.
func pushPlain(l *gopher.LState, s, text string, from int) int {
	stateOf(l).spend(l, (len(s)-from)/bytesPerStep)
	i := strings.Index(s[from:], text)
	if i < 0 {
		l.Push(gopher.LNil)
		return 1
	}
	l.Push(gopher.LNumber(from + i + 1))
	l.Push(gopher.LNumber(from + i + len(text)))
	return 2
}

func strMatch(l *gopher.LState) int {
	s := l.CheckString(1)
	m := newMatcher(l, s, l.CheckString(2))
	from := startOf(l, len(s))
	if from <= len(s) {
		if start, end := m.mustFind(l, from); start >= 0 {
			return m.pushCaptures(l, start, end, true)
		}
	}
	l.Push(gopher.LNil)
	return 1
}

func strGmatch(l *gopher.LState) int {
	m := newMatcher(l, l.CheckString(1), l.CheckString(2))
	at := 0
	// An anchor means nothing here: it would match at every step.
	if strings.HasPrefix(m.pattern, "^") {
		m.pattern = "%" + m.pattern
	}
	l.Push(l.NewFunction(func(l *gopher.LState) int {
		if at > len(m.subject) {
			l.Push(gopher.LNil)
			return 1
		}
		start, end := m.mustFind(l, at)
		if start < 0 {
			at = len(m.subject) + 1
			l.Push(gopher.LNil)
			return 1
		}
		if at = end; end == start {
			at++
		}
		return m.pushCaptures(l, start, end, true)
	}))
	return 1
}

func strGsub(l *gopher.LState) int {
	s, pattern := l.CheckString(1), l.CheckString(2)
	replacement := l.Get(3)
	switch replacement.(type) {
	case gopher.LString, gopher.LNumber, *gopher.LTable, *gopher.LFunction:
	default:
		l.ArgError(3, "string/function/table expected")
	}
	most := l.OptInt(4, len(s)+1)
	m := newMatcher(l, s, pattern)
	anchored := strings.HasPrefix(pattern, "^")
	var b strings.Builder
	at, n := 0, 0
	for n < most && at <= len(s) {
		start, end := m.mustFind(l, at)
		if start < 0 {
			break
		}
		n++
		before := b.Len()
		b.WriteString(s[at:start])
		m.replace(l, &b, replacement, start, end)
		stateOf(l).spendBytes(l, b.Len()-before)
		if at = end; end == start {
			if at < len(s) {
				b.WriteByte(s[at])
			}
			at++
		}
		if anchored {
			break
		}
	}
	if at < len(s) {
		b.WriteString(s[at:])
		stateOf(l).spendBytes(l, len(s)-at)
	}
	l.Push(gopher.LString(b.String()))
	l.Push(gopher.LNumber(n))
	return 2
}

// replace writes what a match is replaced by.
func (m *matcher) replace(l *gopher.LState, b *strings.Builder, by gopher.LValue, start, end int) {
	var value gopher.LValue
	switch by := by.(type) {
	case *gopher.LTable:
		m.pushCapture(l, 0, start, end)
		value = l.GetTable(by, l.Get(-1))
		l.Pop(1)
	case *gopher.LFunction:
		l.Push(by)
		n := m.pushCaptures(l, start, end, true)
		l.Call(n, 1)
		value = l.Get(-1)
		l.Pop(1)
	default:
		m.expand(l, b, by.String(), start, end)
		return
	}
	switch v := value.(type) {
	case gopher.LString, gopher.LNumber:
		b.WriteString(toText(l, v))
	default:
		if gopher.LVAsBool(value) {
			l.RaiseError("invalid replacement value (a %s)", value.Type().String())
		}
		b.WriteString(m.subject[start:end])
	}
}

// expand writes a replacement in which %1 to %9 are captures, %0 the match and %% a percent sign.
func (m *matcher) expand(l *gopher.LState, b *strings.Builder, text string, start, end int) {
	for i := 0; i < len(text); i++ {
		if text[i] != '%' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		i++
		switch c := text[i]; {
		case c == '0':
			b.WriteString(m.subject[start:end])
		case isDigitByte(c):
			if index := int(c - '1'); index < max(m.level, 1) {
				m.pushCapture(l, index, start, end)
				b.WriteString(toText(l, l.Get(-1)))
				l.Pop(1)
			} else {
				l.RaiseError("invalid capture index")
			}
		default:
			b.WriteByte(c)
		}
	}
}
