// SPDX-License-Identifier: Apache-2.0

package lane

import "bytes"

// skipEmptyLine drops one empty line in front of a request line, as RFC 9112 section 2.2 asks; a second one is refused
// by what reads the line. more says that b may yet turn out to begin with one.
func skipEmptyLine(b []byte) (rest []byte, more bool) {
	if len(b) > 0 && b[0] == '\r' {
		if len(b) == 1 {
			return b, true
		}
		if b[1] == '\n' {
			return b[2:], false
		}
	}
	return b, false
}

// scanner finds the end of a head in bytes that arrive in pieces, looking at each byte once. It notices early what can
// never become a head: a line that does not end in CRLF, a head above its bound. The zero value is ready.
type scanner struct {
	// line is where the line begins that is not complete yet, and seen how far it has been searched for its end.
	line, seen int
}

// scan returns the length of the head at the start of b, its empty line included, or 0 when more bytes are needed. b
// begins with the same bytes in every call until a head is found or refused.
func (s *scanner) scan(b []byte, limit int) (int, *Refusal) {
	for {
		i := bytes.IndexByte(b[s.seen:], '\n')
		if i < 0 {
			s.seen = len(b)
			if len(b) > limit {
				return 0, errHeadTooLarge
			}
			return 0, nil
		}
		end := s.seen + i
		if end == s.line || b[end-1] != '\r' {
			return 0, errBareLF
		}
		if end+1 > limit {
			return 0, errHeadTooLarge
		}
		empty := end-1 == s.line
		s.line, s.seen = end+1, end+1
		if empty {
			*s = scanner{}
			return end + 1, nil
		}
	}
}

// Character classes of RFC 9110 section 5.6.2 and RFC 3986.
const (
	isToken  = 1 << iota // tchar
	isValue              // field-content: VCHAR, obs-text, space, tab
	isHost               // a character of a reg-name or an IP literal
	isTarget             // may stand in a request target as it is
)

var class = func() (t [256]uint8) {
	for i := range t {
		c := byte(i)
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if alphanumeric || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0 {
			t[i] |= isToken
		}
		if c == '\t' || c >= ' ' && c != 0x7f {
			t[i] |= isValue
		}
		if alphanumeric || bytes.IndexByte([]byte("-._~!$&'()*+;="), c) >= 0 {
			t[i] |= isHost
		}
		if c > ' ' && c < 0x7f && c != '\\' && c != '#' {
			t[i] |= isTarget
		}
	}
	return t
}()

func all(b []byte, want uint8) bool {
	for _, c := range b {
		if class[c]&want == 0 {
			return false
		}
	}
	return true
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
