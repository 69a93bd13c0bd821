// SPDX-License-Identifier: Apache-2.0

package table

import (
	"regexp"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// pattern is one compiled `uri`.
type pattern struct {
	text string
	// key is the literal text that a path has to begin with, or to equal when exact.
	key   string
	exact bool
	// shape is what the whole path has to look like besides; nil is no more than key says.
	shape *shape
}

// shape is the form of a path with parameters or inner stars. It is immutable.
//
// It keeps what lua-resty-radixtree does (data-plane.md section 2.2): a segment that opens with a star or, where the
// pattern has any, a colon stands for a value, and what is between such segments is a regular expression. '.' is the
// one operator that paths are full of, so it is handled here; patterns with others go to regexp.
type shape struct {
	// tokens is what follows key.
	tokens []token
	// search is set instead of tokens, for the whole path.
	search *regexp.Regexp
	// names are the parameters; values says where each one's value is.
	names  []string
	values []capture
	// keep says that the values become the exchange's parameters.
	keep bool
}

type token struct {
	kind tokenKind
	text string
}

type tokenKind uint8

const (
	literal tokenKind = iota
	segment           // not empty, without slash
	tail              // anything
)

// capture is a whole token, or the last byte of one.
type capture struct {
	token    int
	lastByte bool
}

const (
	maxTokens = 16
	// regexpOperators are those of PCRE that shape leaves to regexp.
	regexpOperators = `\+*?()|[]{}^$`
)

// compilePattern parses a `uri`. parameters says that ':' opens a parameter, as in radixtree_uri_with_parameter.
func compilePattern(text string, parameters bool) pattern {
	p := pattern{text: text, key: text}
	end := -1
	if parameters {
		end = strings.IndexByte(text, ':')
	}
	if end < 0 {
		end = strings.IndexByte(text, '*')
	}
	if end < 0 {
		p.exact = true
		return p
	}
	p.key = text[:end]
	p.shape = compileShape(text, end, parameters)
	return p
}

func compileShape(text string, end int, keep bool) *shape {
	s := &shape{keep: keep}
	segments := strings.Split(text, "/")
	var groups []capture
	offset, inner, native := 0, 0, true
	for i, part := range segments {
		last := i == len(segments)-1
		kind := literal
		switch {
		case strings.HasPrefix(part, ":"):
			kind = segment
			s.names = append(s.names, part[1:])
		case strings.HasPrefix(part, "*"):
			kind = tail
			s.names = append(s.names, tailName(part[1:]))
		case strings.ContainsAny(part, regexpOperators):
			native = false
		}
		if kind != literal && offset < end && keep {
			native = false
		}
		if offset+len(part) >= end {
			s.add(kind, part[min(len(part), max(0, end-offset)):])
			if kind != literal {
				groups = append(groups, capture{token: len(s.tokens) - 1})
			}
			if kind == tail {
				groups = append(groups, capture{len(s.tokens) - 1, true})
				if !last {
					inner++
				}
			}
			if !last {
				s.add(literal, "/")
			}
		}
		offset += len(part) + 1
	}
	if len(s.names) == 0 {
		return nil
	}
	// Two inner stars make native matching quadratic in the path's length; regexp stays linear.
	if !native || inner > 1 || len(s.tokens) > maxTokens {
		s.search, s.tokens = compileSearch(segments), nil
		return s
	}
	if !keep && len(s.tokens) == 1 && s.tokens[0].kind == tail {
		return nil
	}
	// radixtree numbers values as the groups of its regular expression, where a star makes two: all of it and its last
	// byte. So a name after a star gets a value that is not its own; its users see the same here.
	s.values = groups[:min(len(groups), len(s.names))]
	return s
}

// add appends a token; adjacent literals become one.
func (s *shape) add(kind tokenKind, text string) {
	if kind != literal {
		s.tokens = append(s.tokens, token{kind: kind})
		return
	}
	if text == "" {
		return
	}
	if n := len(s.tokens); n > 0 && s.tokens[n-1].kind == literal {
		s.tokens[n-1].text += text
		return
	}
	s.tokens = append(s.tokens, token{literal, text})
}

func tailName(name string) string {
	if name == "" {
		return ":ext"
	}
	return name
}

// compileSearch makes one regular expression of the pattern. Literal text that is none stands for itself.
func compileSearch(segments []string) *regexp.Regexp {
	search, err := regexp.Compile(searchText(segments, func(text string) string { return text }))
	if err != nil {
		search = regexp.MustCompile(searchText(segments, regexp.QuoteMeta))
	}
	return search
}

func searchText(segments []string, quote func(string) string) string {
	parts := make([]string, len(segments))
	for i, part := range segments {
		switch {
		case strings.HasPrefix(part, ":"):
			parts[i] = `([^/]+)`
		case strings.HasPrefix(part, "*"):
			parts[i] = `((.|\n)*)`
		default:
			parts[i] = quote(part)
		}
	}
	return strings.Join(parts, "/")
}

// match reports whether path has the shape; it begins with the first n bytes, the pattern's key, already. The
// exchange's parameters are set when it has.
func (s *shape) match(x *gateway.Exchange, path string, n int) bool {
	if s.search != nil {
		return s.matchSearch(x, path)
	}
	rest := path[n:]
	var ends [maxTokens]int
	if !matchTokens(s.tokens, rest, 0, ends[:len(s.tokens)]) {
		return false
	}
	if !s.keep {
		return true
	}
	for i, from := range s.values {
		begin, end := 0, ends[from.token]
		if from.token > 0 {
			begin = ends[from.token-1]
		}
		if from.lastByte {
			if begin == end {
				continue
			}
			begin = end - 1
		}
		setParam(x, s.names[i], rest[begin:end])
	}
	return true
}

// matchTokens matches rest from pos to its end and notes where each token ends.
func matchTokens(tokens []token, rest string, pos int, ends []int) bool {
	for i, t := range tokens {
		switch t.kind {
		case literal:
			if !matchLiteral(rest[pos:], t.text) {
				return false
			}
			pos += len(t.text)
		case segment:
			n := strings.IndexByte(rest[pos:], '/')
			if n < 0 {
				n = len(rest) - pos
			}
			if n == 0 {
				return false
			}
			pos += n
		case tail:
			if i == len(tokens)-1 {
				ends[i] = len(rest)
				return true
			}
			for end := len(rest); end >= pos; end-- {
				if matchTokens(tokens[i+1:], rest, end, ends[i+1:]) {
					ends[i] = end
					return true
				}
			}
			return false
		}
		ends[i] = pos
	}
	return pos == len(rest)
}

func matchLiteral(s, want string) bool {
	if len(s) < len(want) {
		return false
	}
	for i := range len(want) {
		if s[i] != want[i] && (want[i] != '.' || s[i] == '\n') {
			return false
		}
	}
	return true
}

// matchSearch allocates; only patterns with regular expression operators get here.
func (s *shape) matchSearch(x *gateway.Exchange, path string) bool {
	at := s.search.FindStringSubmatchIndex(path)
	if at == nil || at[0] != 0 || at[1] != len(path) {
		return false
	}
	if !s.keep {
		return true
	}
	for i, name := range s.names {
		group := 2 * (i + 1)
		if group < len(at) && at[group] >= 0 {
			setParam(x, name, path[at[group]:at[group+1]])
		}
	}
	return true
}

func setParam(x *gateway.Exchange, name, value string) {
	for i := range x.Params {
		if x.Params[i].Name == name {
			x.Params[i].Value = value
			return
		}
	}
	x.Params = append(x.Params, gateway.Param{Name: name, Value: value})
}
