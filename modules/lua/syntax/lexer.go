// SPDX-License-Identifier: Apache-2.0

package syntax

import (
	"fmt"
	"strconv"
	"strings"
)

// token is a kind of token: that of a symbol or keyword is its text.
type token string

const (
	eof    token = "<eof>"
	name   token = "<name>"
	text   token = "<string>"
	number token = "<number>"
)

var keywords = map[string]bool{
	"and": true, "break": true, "do": true, "else": true, "elseif": true, "end": true, "false": true, "for": true,
	"function": true, "if": true, "in": true, "local": true, "nil": true, "not": true, "or": true, "repeat": true,
	"return": true, "then": true, "true": true, "until": true, "while": true,
}

// symbols are the tokens of more than one character, longest first.
var symbols = [...]token{"...", "..", "==", "~=", "<=", ">=", "::"}

// lexer splits source into tokens. It belongs to one goroutine.
type lexer struct {
	source string
	chunk  string
	at     int
	line   int

	// tok is the current token, lexeme its text in the source, and from the line where it ends.
	tok    token
	lexeme string
}

// fail ends the check; Check recovers it.
func (l *lexer) fail(near, format string, args ...any) {
	message := fmt.Sprintf("%s:%d: ", l.chunk, l.line) + fmt.Sprintf(format, args...)
	if near != "" {
		message += " near '" + near + "'"
	}
	panic(&Error{message})
}

// failHere says what is wrong with the current token.
func (l *lexer) failHere(format string, args ...any) { l.fail(l.lexeme, format, args...) }

func (l *lexer) peek(ahead int) byte {
	if l.at+ahead < len(l.source) {
		return l.source[l.at+ahead]
	}
	return 0
}

// next reads the next token.
func (l *lexer) next() {
	l.skip()
	start := l.at
	if l.at >= len(l.source) {
		l.tok, l.lexeme = eof, string(eof)
		return
	}
	switch c := l.source[l.at]; {
	case isLetter(c):
		for l.at < len(l.source) && (isLetter(l.source[l.at]) || isDigit(l.source[l.at])) {
			l.at++
		}
		l.lexeme = l.source[start:l.at]
		l.tok = name
		if keywords[l.lexeme] {
			l.tok = token(l.lexeme)
		}
	case isDigit(c), c == '.' && isDigit(l.peek(1)):
		l.number()
	case c == '"', c == '\'':
		l.quoted(c)
	case c == '[' && l.longLevel() >= 0:
		l.long("string")
		l.tok, l.lexeme = text, l.source[start:l.at]
	default:
		l.symbol()
	}
}

func (l *lexer) symbol() {
	rest := l.source[l.at:]
	for _, s := range symbols {
		if strings.HasPrefix(rest, string(s)) {
			l.tok, l.lexeme = s, string(s)
			l.at += len(s)
			return
		}
	}
	l.tok, l.lexeme = token(rest[:1]), rest[:1]
	if c := rest[0]; c < ' ' {
		l.lexeme = "char(" + strconv.Itoa(int(c)) + ")"
	}
	l.at++
}

// skip passes over white space and comments.
func (l *lexer) skip() {
	for l.at < len(l.source) {
		switch c := l.source[l.at]; {
		case c == '\n' || c == '\r':
			l.newline()
		case c == ' ' || c == '\t' || c == '\v' || c == '\f':
			l.at++
		case c == '-' && l.peek(1) == '-':
			l.at += 2
			if l.peek(0) == '[' && l.longLevel() >= 0 {
				l.long("comment")
				continue
			}
			for l.at < len(l.source) && l.source[l.at] != '\n' && l.source[l.at] != '\r' {
				l.at++
			}
		default:
			return
		}
	}
}

// newline passes over one line end: "\n", "\r", "\r\n" or "\n\r".
func (l *lexer) newline() {
	first := l.source[l.at]
	l.at++
	if second := l.peek(0); (second == '\n' || second == '\r') && second != first {
		l.at++
	}
	l.line++
}

// longLevel returns how many equals signs a long bracket here has, and -1 when there is none.
func (l *lexer) longLevel() int {
	level := 0
	for l.peek(1+level) == '=' {
		level++
	}
	if l.peek(1+level) != '[' {
		return -1
	}
	return level
}

func (l *lexer) long(what string) {
	level := l.longLevel()
	closing := "]" + strings.Repeat("=", level) + "]"
	l.at += level + 2
	for l.at < len(l.source) {
		switch c := l.source[l.at]; {
		case c == '\n' || c == '\r':
			l.newline()
		case c == ']' && strings.HasPrefix(l.source[l.at:], closing):
			l.at += len(closing)
			return
		default:
			l.at++
		}
	}
	l.fail(string(eof), "unfinished long %s", what)
}

func (l *lexer) number() {
	start := l.at
	for l.at < len(l.source) {
		c := l.source[l.at]
		signed := (c == '+' || c == '-') && l.at > start && isExponent(l.source[start:l.at])
		if !signed && !isLetter(c) && !isDigit(c) && c != '.' {
			break
		}
		l.at++
	}
	l.tok, l.lexeme = number, l.source[start:l.at]
	if !validNumber(l.lexeme) {
		l.failHere("malformed number")
	}
}

// isExponent reports whether a sign may follow these characters of a number.
func isExponent(digits string) bool {
	hex := len(digits) > 1 && digits[1]|0x20 == 'x'
	last := digits[len(digits)-1] | 0x20
	return last == 'e' && !hex || last == 'p' && hex
}

func validNumber(digits string) bool {
	lower := strings.ToLower(digits)
	for _, suffix := range [...]string{"ull", "ll", "i"} {
		if trimmed, ok := strings.CutSuffix(lower, suffix); ok {
			lower = trimmed
			break
		}
	}
	if hex, ok := strings.CutPrefix(lower, "0x"); ok && !strings.ContainsRune(hex, 'p') {
		lower = "0x" + hex + "p0"
	}
	_, err := strconv.ParseFloat(lower, 64)
	return (err == nil || strings.HasSuffix(err.Error(), strconv.ErrRange.Error())) && !strings.Contains(digits, "_")
}

func (l *lexer) quoted(quote byte) {
	start := l.at
	l.at++
	for {
		if l.at >= len(l.source) {
			l.fail(string(eof), "unfinished string")
		}
		switch c := l.source[l.at]; c {
		case '\n', '\r':
			l.fail(l.source[start:l.at], "unfinished string")
		case '\\':
			l.escape(start)
		case quote:
			l.at++
			l.tok, l.lexeme = text, l.source[start:l.at]
			return
		default:
			l.at++
		}
	}
}

// escape passes over one escape sequence; start is where its string began.
func (l *lexer) escape(start int) {
	l.at++
	c := l.peek(0)
	switch {
	case l.at >= len(l.source):
		return
	case c == '\n' || c == '\r':
		l.newline()
	case strings.IndexByte("abfnrtv\\\"'", c) >= 0:
		l.at++
	case c == 'z':
		l.at++
		for l.at < len(l.source) && strings.IndexByte(" \t\v\f\r\n", l.source[l.at]) >= 0 {
			if l.source[l.at] == '\n' || l.source[l.at] == '\r' {
				l.newline()
			} else {
				l.at++
			}
		}
	case c == 'x' && isHex(l.peek(1)) && isHex(l.peek(2)):
		l.at += 3
	case c == 'u' && l.peek(1) == '{':
		for l.at++; l.at < len(l.source) && l.source[l.at] != '}'; l.at++ {
			if l.source[l.at] != '{' && !isHex(l.source[l.at]) {
				l.fail(l.source[start:l.at+1], "invalid escape sequence")
			}
		}
	case isDigit(c):
		value := 0
		for i := 0; i < 3 && isDigit(l.peek(0)); i++ {
			value = 10*value + int(l.peek(0)-'0')
			l.at++
		}
		if value > 255 {
			l.fail(l.source[start:l.at], "invalid escape sequence")
		}
	default:
		l.fail(l.source[start:l.at+1], "invalid escape sequence")
	}
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c >= 0x80 }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isHex(c byte) bool    { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
