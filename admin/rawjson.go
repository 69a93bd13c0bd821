// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// maxDepth is how deep a document may be nested: what APISIX's decoder reads.
const maxDepth = 1000

// normalize checks that doc is one JSON document and returns it without white space. Numbers, escapes and the order of
// members stay as they are. Of members with one name the last stays, so that all who read the document later agree on
// it. Control characters in strings, which APISIX takes, become escapes. The errors are APISIX's decoder's.
func normalize(doc []byte) (json.RawMessage, error) {
	s := scanner{in: doc, out: make([]byte, 0, len(doc))}
	if err := s.value(s.next()); err != nil {
		return nil, err
	}
	if t := s.next(); t.kind != tokenEnd {
		return nil, t.unexpected("the end")
	}
	return s.finish(), nil
}

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenObjectBegin
	tokenObjectEnd
	tokenArrayBegin
	tokenArrayEnd
	tokenColon
	tokenComma
	tokenString
	tokenNumber
	tokenBoolean
	tokenNull
	tokenError
)

var tokenNames = [...]string{
	"T_END", "T_OBJ_BEGIN", "T_OBJ_END", "T_ARR_BEGIN", "T_ARR_END", "T_COLON", "T_COMMA", "T_STRING", "T_NUMBER",
	"T_BOOLEAN", "T_NULL",
}

var punctuation = [256]tokenKind{
	'{': tokenObjectBegin, '}': tokenObjectEnd, '[': tokenArrayBegin, ']': tokenArrayEnd, ':': tokenColon, ',': tokenComma,
}

// token is one token of the input, from start to end. problem says what is wrong with a tokenError, which starts where
// the problem is.
type token struct {
	kind       tokenKind
	start, end int
	problem    string
}

func (t token) unexpected(expected string) error {
	found := t.problem
	if t.kind != tokenError {
		found = tokenNames[t.kind]
	}
	return fmt.Errorf("Expected %s but found %s at character %d", expected, found, t.start+1)
}

// scanner reads a document once and writes it to out. drops are the parts of out that a later member has replaced.
type scanner struct {
	in    []byte
	pos   int
	depth int
	out   []byte
	drops []span
}

type span struct{ start, end int }

func (s *scanner) next() token {
	for s.pos < len(s.in) && isSpace(s.in[s.pos]) {
		s.pos++
	}
	start := s.pos
	if start == len(s.in) {
		return token{kind: tokenEnd, start: start}
	}
	c := s.in[start]
	switch {
	case punctuation[c] != 0:
		s.pos++
		return token{kind: punctuation[c], start: start, end: s.pos}
	case c == '"':
		return s.string()
	case c == '-' || isDigit(c):
		return s.number()
	}
	for _, literal := range [...]struct {
		text string
		kind tokenKind
	}{{"true", tokenBoolean}, {"false", tokenBoolean}, {"null", tokenNull}} {
		if bytes.HasPrefix(s.in[start:], []byte(literal.text)) {
			s.pos += len(literal.text)
			return token{kind: literal.kind, start: start, end: s.pos}
		}
	}
	return token{kind: tokenError, start: start, problem: "invalid token"}
}

func (s *scanner) string() token {
	start := s.pos
	for i := start + 1; i < len(s.in); i++ {
		switch s.in[i] {
		case '"':
			s.pos = i + 1
			return token{kind: tokenString, start: start, end: s.pos}
		case 0:
			return token{kind: tokenError, start: i, problem: "unexpected end of string"}
		case '\\':
			n, problem := escapeLength(s.in[i:])
			if problem != "" {
				return token{kind: tokenError, start: i, problem: problem}
			}
			i += n - 1
		}
	}
	return token{kind: tokenError, start: len(s.in), problem: "unexpected end of string"}
}

// escapeLength measures the escape that text begins with. The halves of a surrogate pair are one escape, and neither
// stands alone.
func escapeLength(text []byte) (n int, problem string) {
	if len(text) < 2 || bytes.IndexByte([]byte(`"\/bfnrtu`), text[1]) < 0 {
		return 0, "invalid escape code"
	}
	if text[1] != 'u' {
		return 2, ""
	}
	const invalid = "invalid unicode escape code"
	first, ok := hex4(text)
	switch {
	case !ok || first >= 0xDC00 && first < 0xE000:
		return 0, invalid
	case first < 0xD800 || first >= 0xE000:
		return 6, ""
	}
	if second, ok := hex4(text[6:]); !ok || second < 0xDC00 || second >= 0xE000 {
		return 0, invalid
	}
	return 12, ""
}

// hex4 reads the number of an escape such as \u00e9 at the start of text.
func hex4(text []byte) (n int, ok bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	for _, c := range text[2:6] {
		switch {
		case isDigit(c):
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		n = n<<4 | int(c)
	}
	return n, true
}

func (s *scanner) number() token {
	start := s.pos
	end := start
	for end < len(s.in) && (isDigit(s.in[end]) || bytes.IndexByte([]byte("+-.eE"), s.in[end]) >= 0) {
		end++
	}
	if !json.Valid(s.in[start:end]) {
		return token{kind: tokenError, start: start, problem: "invalid number"}
	}
	s.pos = end
	return token{kind: tokenNumber, start: start, end: end}
}

func (s *scanner) value(t token) error {
	switch t.kind {
	case tokenString:
		s.emitString(t)
	case tokenNumber, tokenBoolean, tokenNull:
		s.out = append(s.out, s.in[t.start:t.end]...)
	case tokenObjectBegin:
		return s.nested(s.object)
	case tokenArrayBegin:
		return s.nested(s.array)
	default:
		return t.unexpected("value")
	}
	return nil
}

func (s *scanner) nested(read func() error) error {
	s.depth++
	if s.depth > maxDepth {
		return fmt.Errorf("Found too many nested data structures (%d) at character %d", s.depth, s.pos)
	}
	s.out = append(s.out, s.in[s.pos-1])
	err := read()
	s.depth--
	return err
}

func (s *scanner) array() error {
	t := s.next()
	for t.kind != tokenArrayEnd {
		if err := s.value(t); err != nil {
			return err
		}
		if t = s.next(); t.kind == tokenArrayEnd {
			break
		}
		if t.kind != tokenComma {
			return t.unexpected("comma or array end")
		}
		s.out = append(s.out, ',')
		if t = s.next(); t.kind == tokenArrayEnd {
			return t.unexpected("value")
		}
	}
	s.out = append(s.out, ']')
	return nil
}

func (s *scanner) object() error {
	var names nameSet
	var starts []int
	t := s.next()
	for t.kind != tokenObjectEnd {
		if t.kind != tokenString {
			return t.unexpected("object key string")
		}
		starts = append(starts, len(s.out))
		s.emitString(t)
		if before, taken := names.add(unquote(s.out[starts[len(starts)-1]:])); taken {
			s.drops = append(s.drops, span{starts[before], starts[before+1]})
		}
		if t = s.next(); t.kind != tokenColon {
			return t.unexpected("colon")
		}
		s.out = append(s.out, ':')
		if err := s.value(s.next()); err != nil {
			return err
		}
		if t = s.next(); t.kind == tokenObjectEnd {
			break
		}
		if t.kind != tokenComma {
			return t.unexpected("comma or object end")
		}
		s.out = append(s.out, ',')
		if t = s.next(); t.kind == tokenObjectEnd {
			return t.unexpected("object key string")
		}
	}
	s.out = append(s.out, '}')
	return nil
}

func (s *scanner) emitString(t token) {
	for _, c := range s.in[t.start:t.end] {
		if c < ' ' {
			s.out = fmt.Appendf(s.out, `\u%04x`, c)
			continue
		}
		s.out = append(s.out, c)
	}
}

// finish returns out without what was dropped. A member is dropped up to the start of the next, comma included.
func (s *scanner) finish() []byte {
	if len(s.drops) == 0 {
		return s.out
	}
	slices.SortFunc(s.drops, func(a, b span) int { return a.start - b.start })
	kept, from := make([]byte, 0, len(s.out)), 0
	for _, d := range s.drops {
		if d.start > from {
			kept = append(kept, s.out[from:d.start]...)
		}
		from = max(from, d.end)
	}
	return append(kept, s.out[from:]...)
}

// nameSet numbers the members of one object by name; the last of one name counts.
type nameSet struct {
	list  []string
	index map[string]int
}

// manyNames is from where on a map finds a name faster than looking at all of them.
const manyNames = 16

// add gives name the next number and returns the number it had before, if any.
func (n *nameSet) add(name string) (before int, taken bool) {
	if n.index == nil && len(n.list) < manyNames {
		before = len(n.list) - 1
		for before >= 0 && n.list[before] != name {
			before--
		}
		n.list = append(n.list, name)
		return before, before >= 0
	}
	if n.index == nil {
		n.index = make(map[string]int, 2*manyNames)
		for i, known := range n.list {
			n.index[known] = i
		}
	}
	before, taken = n.index[name]
	n.index[name] = len(n.list)
	n.list = append(n.list, name)
	return before, taken
}

// unquote returns the text of a JSON string that is known to be valid.
func unquote(quoted []byte) string {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1])
	}
	var text string
	// It cannot fail on a valid string.
	_ = json.Unmarshal(quoted, &text)
	return text
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
