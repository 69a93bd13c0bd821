// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"strings"
)

// ErrBadTarget says that a request target cannot be given one safe meaning. The request is answered 400.
var ErrBadTarget = errors.New("bad request target")

// CanonicalPath returns the two spellings of the one path that everything works on: decoded, which routes, plugins and
// logs see ($uri), and escaped, which is forwarded. Both come from one walk, so that a node cannot be sent a path other
// than the one that was authorized.
//
//   - Percent-encoded unreserved characters are decoded; other encodings stay, in upper case, in escaped
//     (RFC 3986 section 6.2.2) and are decoded in decoded.
//   - Empty segments are merged, "." and ".." resolved, encoded or not; ".." never leaves the root.
//   - An encoded slash separates segments in decoded and stays one character of a segment in escaped. Where it, or an
//     encoded backslash, stands beside a dot segment no two servers agree on the meaning, and the path is refused; so are
//     NUL, raw control characters, spaces, backslashes, '#' and broken percent-encodings.
//
// A path that is canonical already is returned as it is, without allocation.
func CanonicalPath(raw string) (decoded, escaped string, err error) {
	if raw == "" || raw[0] != '/' {
		return "", "", ErrBadTarget
	}
	canonical := true
	for i := range len(raw) {
		switch c := raw[i]; {
		case c <= ' ' || c == 0x7f || c == '\\' || c == '#':
			return "", "", ErrBadTarget
		case c == '%' || c >= 0x80:
			canonical = false
		case (c == '/' || c == '.') && i > 0 && raw[i-1] == '/':
			canonical = false
		}
	}
	if canonical {
		return raw, raw, nil
	}
	return rewritePath(raw)
}

func rewritePath(raw string) (decoded, escaped string, err error) {
	w := pathWriter{
		decoded: make([]byte, 0, len(raw)),
		escaped: make([]byte, 0, len(raw)+8),
	}
	for rest, last := raw[1:], false; !last; {
		segment, tail, found := strings.Cut(rest, "/")
		rest, last = tail, !found
		if err := w.segment(segment, last); err != nil {
			return "", "", err
		}
	}
	return string(w.decoded), string(w.escaped), nil
}

// pathWriter builds both spellings. starts holds where each kept segment begins, its slash included.
type pathWriter struct {
	decoded, escaped []byte
	starts           [][2]int
}

func (w *pathWriter) segment(raw string, last bool) error {
	start := [2]int{len(w.decoded), len(w.escaped)}
	w.slash()
	begin := len(w.decoded)
	encodedSeparator := false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '%' {
			if i+2 >= len(raw) {
				return ErrBadTarget
			}
			hi, lo := unhex(raw[i+1]), unhex(raw[i+2])
			if hi > 15 || lo > 15 {
				return ErrBadTarget
			}
			c = hi<<4 | lo
			i += 2
			if c == 0 {
				return ErrBadTarget
			}
			encodedSeparator = encodedSeparator || c == '/' || c == '\\'
			if unreserved(c) {
				w.escaped = append(w.escaped, c)
			} else {
				w.escaped = appendEscaped(w.escaped, c)
			}
			if c == '/' && w.decoded[len(w.decoded)-1] == '/' {
				continue
			}
			w.decoded = append(w.decoded, c)
			continue
		}
		if c >= 0x80 {
			w.escaped = appendEscaped(w.escaped, c)
		} else {
			w.escaped = append(w.escaped, c)
		}
		w.decoded = append(w.decoded, c)
	}

	text := string(w.decoded[begin:])
	if encodedSeparator {
		for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '/' || r == '\\' }) {
			if part == "." || part == ".." {
				return ErrBadTarget
			}
		}
	}
	switch {
	case text == "..":
		w.truncate(start)
		if n := len(w.starts); n > 0 {
			w.truncate(w.starts[n-1])
			w.starts = w.starts[:n-1]
		}
	case text == "." || text == "" && !encodedSeparator:
		w.truncate(start)
	default:
		w.starts = append(w.starts, start)
		return nil
	}
	if last {
		w.slash()
	}
	return nil
}

// slash begins a segment. In decoded an encoded slash may stand there already.
func (w *pathWriter) slash() {
	if n := len(w.decoded); n == 0 || w.decoded[n-1] != '/' {
		w.decoded = append(w.decoded, '/')
	}
	w.escaped = append(w.escaped, '/')
}

func (w *pathWriter) truncate(to [2]int) {
	w.decoded, w.escaped = w.decoded[:to[0]], w.escaped[:to[1]]
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func appendEscaped(b []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(b, '%', digits[c>>4], digits[c&15])
}

// unescape decodes percent-encodings and, as in a query, '+'. Broken encodings stay as they are, as in nginx.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			b = append(b, ' ')
		case s[i] == '%' && i+2 < len(s) && unhex(s[i+1]) < 16 && unhex(s[i+2]) < 16:
			b = append(b, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}
