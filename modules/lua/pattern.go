// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"errors"
	"strings"
)

const (
	// maxCaptures is how many captures a pattern may have.
	maxCaptures = 32
	// maxNesting is how many parts of a pattern may wait for each other.
	maxNesting = 200
)

// The lengths of captures that are no text.
const (
	openCapture     = -1
	positionCapture = -2
)

type capture struct{ start, length int }

// matcher matches one pattern of Lua 5.1 (section 5.4.1 of its manual) against one subject. What it does costs steps: the
// time that a pattern may take grows with a power of the subject's length.
type matcher struct {
	subject, pattern string
	captures         [maxCaptures]capture
	level, nesting   int
	steps            int
	pay              func(steps int)
}

// patternError is what is wrong with a pattern. It is thrown inside of this file and of what calls it.
type patternError struct{ error }

func badPattern(text string) { panic(patternError{errors.New(text)}) }

// catchPattern, deferred, returns what badPattern threw.
func catchPattern(err *error) {
	if p := recover(); p != nil {
		bad, ok := p.(patternError)
		if !ok {
			panic(p)
		}
		*err = bad.error
	}
}

// find returns where the first match at or behind from begins and ends; start is -1 when there is none.
func (m *matcher) find(from int) (start, end int, err error) {
	defer catchPattern(&err)
	pattern, anchored := m.pattern, false
	if pattern != "" && pattern[0] == '^' {
		anchored = true
		pattern = pattern[1:]
	}
	whole := m.pattern
	m.pattern = pattern
	defer func() { m.pattern = whole }()
	for start = from; start <= len(m.subject); start++ {
		m.level, m.nesting = 0, 0
		if end = m.match(start, 0); end >= 0 {
			return start, end, nil
		}
		if anchored {
			break
		}
	}
	return -1, -1, nil
}

// payEvery is how many steps are paid for at once.
const payEvery = 256

func (m *matcher) step() {
	if m.steps++; m.steps == payEvery {
		m.steps = 0
		m.pay(payEvery)
	}
}

// match matches the pattern from p on against the subject from s on and returns where the match ends, or -1.
func (m *matcher) match(s, p int) int {
	if m.nesting++; m.nesting > maxNesting {
		badPattern("pattern too complex")
	}
	end := m.sequence(s, p)
	m.nesting--
	return end
}

// sequence goes through the items of a pattern.
func (m *matcher) sequence(s, p int) int {
	for p < len(m.pattern) {
		m.step()
		switch c := m.pattern[p]; {
		case c == '(':
			if p+1 < len(m.pattern) && m.pattern[p+1] == ')' {
				return m.open(s, p+2, positionCapture)
			}
			return m.open(s, p+1, openCapture)
		case c == ')':
			return m.close(s, p+1)
		case c == '$' && p+1 == len(m.pattern):
			if s == len(m.subject) {
				return s
			}
			return -1
		case c == '%' && p+1 < len(m.pattern) && m.pattern[p+1] == 'b':
			if s = m.balanced(s, p+2); s < 0 {
				return -1
			}
			p += 4
			continue
		case c == '%' && p+1 < len(m.pattern) && m.pattern[p+1] == 'f':
			set := p + 2
			if set >= len(m.pattern) || m.pattern[set] != '[' {
				badPattern("missing '[' after '%f' in pattern")
			}
			p = m.itemEnd(set)
			if m.inSet(m.at(s-1), set, p-1) || !m.inSet(m.at(s), set, p-1) {
				return -1
			}
			continue
		case c == '%' && p+1 < len(m.pattern) && isDigitByte(m.pattern[p+1]):
			text := m.captured(int(m.pattern[p+1] - '1'))
			if !strings.HasPrefix(m.subject[s:], text) {
				return -1
			}
			s, p = s+len(text), p+2
			continue
		}
		end := m.itemEnd(p)
		var repeat byte
		if end < len(m.pattern) {
			repeat = m.pattern[end]
		}
		switch repeat {
		case '?':
			if m.single(s, p, end) {
				if found := m.match(s+1, end+1); found >= 0 {
					return found
				}
			}
			p = end + 1
		case '*':
			return m.most(s, p, end, 0)
		case '+':
			return m.most(s, p, end, 1)
		case '-':
			return m.fewest(s, p, end)
		default:
			if !m.single(s, p, end) {
				return -1
			}
			s, p = s+1, end
		}
	}
	return s
}

// at returns a byte of the subject, 0 outside of it.
func (m *matcher) at(i int) byte {
	if i < 0 || i >= len(m.subject) {
		return 0
	}
	return m.subject[i]
}

func (m *matcher) open(s, p, what int) int {
	if m.level == maxCaptures {
		badPattern("too many captures")
	}
	m.captures[m.level] = capture{s, what}
	m.level++
	end := m.match(s, p)
	if end < 0 {
		m.level--
	}
	return end
}

func (m *matcher) close(s, p int) int {
	i := m.level - 1
	for i >= 0 && m.captures[i].length != openCapture {
		i--
	}
	if i < 0 {
		badPattern("invalid pattern capture")
	}
	m.captures[i].length = s - m.captures[i].start
	end := m.match(s, p)
	if end < 0 {
		m.captures[i].length = openCapture
	}
	return end
}

func (m *matcher) captured(i int) string {
	if i < 0 || i >= m.level || m.captures[i].length == openCapture {
		badPattern("invalid capture index")
	}
	c := m.captures[i]
	if c.length == positionCapture {
		return ""
	}
	return m.subject[c.start : c.start+c.length]
}

// balanced is %bxy, with x and y at p.
func (m *matcher) balanced(s, p int) int {
	if p+1 >= len(m.pattern) {
		badPattern("unbalanced pattern")
	}
	opening, closing := m.pattern[p], m.pattern[p+1]
	if s >= len(m.subject) || m.subject[s] != opening {
		return -1
	}
	depth := 1
	for i := s + 1; i < len(m.subject); i++ {
		m.step()
		switch m.subject[i] {
		case closing:
			if depth--; depth == 0 {
				return i + 1
			}
		case opening:
			depth++
		}
	}
	return -1
}

// itemEnd returns where the single-character item at p ends.
func (m *matcher) itemEnd(p int) int {
	c := m.pattern[p]
	p++
	switch c {
	case '%':
		if p >= len(m.pattern) {
			badPattern("malformed pattern (ends with '%')")
		}
		return p + 1
	case '[':
		if p < len(m.pattern) && m.pattern[p] == '^' {
			p++
		}
		for first := true; ; first = false {
			if p >= len(m.pattern) {
				badPattern("malformed pattern (missing ']')")
			}
			c := m.pattern[p]
			p++
			if c == ']' && !first {
				return p
			}
			if c == '%' {
				p++
			}
		}
	}
	return p
}

// single reports whether the item at p, which ends at end, matches the byte at s.
func (m *matcher) single(s, p, end int) bool {
	if s >= len(m.subject) {
		return false
	}
	c := m.subject[s]
	switch m.pattern[p] {
	case '.':
		return true
	case '%':
		return inClass(c, m.pattern[p+1])
	case '[':
		return m.inSet(c, p, end-1)
	}
	return m.pattern[p] == c
}

// inSet reports whether the set whose brackets are at p and last contains c.
func (m *matcher) inSet(c byte, p, last int) bool {
	p++
	inside := true
	if m.pattern[p] == '^' {
		inside = false
		p++
	}
	for p < last {
		switch {
		case m.pattern[p] == '%' && p+1 < last:
			if inClass(c, m.pattern[p+1]) {
				return inside
			}
			p += 2
		case p+2 < last && m.pattern[p+1] == '-':
			if m.pattern[p] <= c && c <= m.pattern[p+2] {
				return inside
			}
			p += 3
		default:
			if m.pattern[p] == c {
				return inside
			}
			p++
		}
	}
	return !inside
}

func (m *matcher) most(s, p, end, least int) int {
	n := 0
	for m.single(s+n, p, end) {
		n++
		m.step()
	}
	for ; n >= least; n-- {
		if found := m.match(s+n, end+1); found >= 0 {
			return found
		}
	}
	return -1
}

func (m *matcher) fewest(s, p, end int) int {
	for {
		if found := m.match(s, end+1); found >= 0 {
			return found
		}
		if !m.single(s, p, end) {
			return -1
		}
		s++
	}
}

func isDigitByte(c byte) bool { return '0' <= c && c <= '9' }
func isAlpha(c byte) bool     { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// inClass reports whether the class %class contains c; a capital letter is the class's complement.
func inClass(c, class byte) bool {
	var in bool
	switch class | 0x20 {
	case 'a':
		in = isAlpha(c)
	case 'c':
		in = c < ' ' || c == 0x7f
	case 'd':
		in = isDigitByte(c)
	case 'l':
		in = 'a' <= c && c <= 'z'
	case 'p':
		in = '!' <= c && c <= '~' && !isAlpha(c) && !isDigitByte(c)
	case 's':
		in = c == ' ' || '\t' <= c && c <= '\r'
	case 'u':
		in = 'A' <= c && c <= 'Z'
	case 'w':
		in = isAlpha(c) || isDigitByte(c)
	case 'x':
		in = isDigitByte(c) || 'a' <= c|0x20 && c|0x20 <= 'f'
	case 'z':
		in = c == 0
	default:
		return class == c
	}
	if !isAlpha(class) {
		return class == c
	}
	return in != (class < 'a')
}

// special reports whether text means anything but itself as a pattern.
func special(text string) bool { return strings.ContainsAny(text, "^$*+?.([%-") }
