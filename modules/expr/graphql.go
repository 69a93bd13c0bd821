// SPDX-License-Identifier: Apache-2.0

package expr

import "strings"

// operation is what conditions see of a GraphQL operation.
type operation struct {
	// kind is query, mutation or subscription; name is empty for an anonymous operation.
	kind, name string
	// fields are the names of the root fields (not their aliases) in order, those that come by fragments included: a
	// client cannot hide a field in one. They are strings.
	fields []any
}

// parseOperation reads an executable document (GraphQL specification, October 2021, section 2) and returns its first
// operation, or nil when there is none or the document is broken. Below the root fields it only checks that brackets
// match: what the node will refuse anyway need not be refused here.
func parseOperation(text string) *operation {
	if len(text) > maxGraphQL {
		return nil
	}
	p := documentParser{text: text, fragments: make(map[string][]selection)}
	p.next()
	for p.kind != tokenEnd {
		if !p.definition() {
			return nil
		}
	}
	if p.first == nil || !p.expand(p.selected) {
		return nil
	}
	return p.first
}

// selection is a root field, or the spread of a named fragment.
type selection struct {
	name   string
	spread bool
}

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	// tokenPunctuator has one byte in documentParser.punctuator.
	tokenPunctuator
	// tokenSpread is "...".
	tokenSpread
	tokenName
	// tokenValue is a number or a string.
	tokenValue
	tokenBroken
)

type documentParser struct {
	text       string
	kind       tokenKind
	name       string
	punctuator byte

	open      []byte
	first     *operation
	selected  []selection
	fragments map[string][]selection
}

func (p *documentParser) definition() bool {
	if p.is('{') {
		selected, ok := p.selectionSet()
		p.keep(&operation{kind: "query"}, selected)
		return ok
	}
	if p.kind != tokenName {
		return false
	}
	kind := p.name
	p.next()
	switch kind {
	case "query", "mutation", "subscription":
		o := &operation{kind: kind}
		if p.kind == tokenName {
			o.name = p.name
			p.next()
		}
		if p.is('(') && !p.skipBrackets() || !p.directives() {
			return false
		}
		selected, ok := p.selectionSet()
		p.keep(o, selected)
		return ok
	case "fragment":
		name := p.name
		if p.kind != tokenName || name == "on" {
			return false
		}
		p.next()
		if !p.typeCondition() || !p.directives() {
			return false
		}
		selected, ok := p.selectionSet()
		if _, taken := p.fragments[name]; taken {
			return false
		}
		p.fragments[name] = selected
		return ok
	}
	return false
}

func (p *documentParser) keep(o *operation, selected []selection) {
	if p.first == nil {
		p.first, p.selected = o, selected
	}
}

// typeCondition reads "on Type".
func (p *documentParser) typeCondition() bool {
	if p.kind != tokenName || p.name != "on" {
		return false
	}
	p.next()
	if p.kind != tokenName {
		return false
	}
	p.next()
	return true
}

func (p *documentParser) directives() bool {
	for p.is('@') {
		p.next()
		if p.kind != tokenName {
			return false
		}
		p.next()
		if p.is('(') && !p.skipBrackets() {
			return false
		}
	}
	return true
}

// selectionSet reads a selection set and returns its fields and spreads. Inline fragments are read through.
func (p *documentParser) selectionSet() (selected []selection, ok bool) {
	if !p.is('{') {
		return nil, false
	}
	p.next()
	for depth := 1; depth > 0; {
		switch {
		case p.is('}'):
			depth--
			p.next()
		case p.kind == tokenSpread:
			p.next()
			if p.kind == tokenName && p.name != "on" {
				selected = append(selected, selection{name: p.name, spread: true})
				p.next()
				if !p.directives() {
					return nil, false
				}
				continue
			}
			if p.kind == tokenName && !p.typeCondition() || !p.directives() || !p.is('{') {
				return nil, false
			}
			depth++
			p.next()
		case p.kind == tokenName:
			name, ok := p.field()
			if !ok {
				return nil, false
			}
			selected = append(selected, selection{name: name})
		default:
			return nil, false
		}
	}
	return selected, len(selected) > 0
}

// field reads a field with everything below it.
func (p *documentParser) field() (name string, ok bool) {
	name = p.name
	p.next()
	if p.is(':') {
		p.next()
		if p.kind != tokenName {
			return "", false
		}
		name = p.name
		p.next()
	}
	if p.is('(') && !p.skipBrackets() || !p.directives() || p.is('{') && !p.skipBrackets() {
		return "", false
	}
	return name, true
}

// skipBrackets goes from an opening bracket past the one that closes it.
func (p *documentParser) skipBrackets() bool {
	p.open = p.open[:0]
	for {
		switch p.kind {
		case tokenEnd, tokenBroken:
			return false
		case tokenPunctuator:
			switch p.punctuator {
			case '(':
				p.open = append(p.open, ')')
			case '[', '{':
				p.open = append(p.open, p.punctuator+2)
			case ')', ']', '}':
				last := len(p.open) - 1
				if p.open[last] != p.punctuator {
					return false
				}
				p.open = p.open[:last]
			}
		}
		p.next()
		if len(p.open) == 0 {
			return true
		}
	}
}

// expand adds the fields of a selection set to the operation. A fragment counts once; it is taken away when it is used,
// which also ends circles.
func (p *documentParser) expand(selected []selection) bool {
	pending := [][]selection{selected}
	used := make(map[string]bool)
	for len(pending) > 0 {
		last := len(pending) - 1
		if len(pending[last]) == 0 {
			pending = pending[:last]
			continue
		}
		s := pending[last][0]
		pending[last] = pending[last][1:]
		switch {
		case !s.spread:
			p.first.fields = append(p.first.fields, s.name)
		case !used[s.name]:
			used[s.name] = true
			fragment, ok := p.fragments[s.name]
			if !ok {
				return false
			}
			pending = append(pending, fragment)
		}
	}
	return true
}

func (p *documentParser) is(punctuator byte) bool {
	return p.kind == tokenPunctuator && p.punctuator == punctuator
}

// next reads one token; what is ignored between tokens is section 2.1.7.
func (p *documentParser) next() {
	p.skipIgnored()
	if p.text == "" {
		p.kind = tokenEnd
		return
	}
	switch c := p.text[0]; {
	case nameStart(c):
		n := 1
		for n < len(p.text) && (nameStart(p.text[n]) || '0' <= p.text[n] && p.text[n] <= '9') {
			n++
		}
		p.kind, p.name, p.text = tokenName, p.text[:n], p.text[n:]
	case strings.IndexByte("!$&():=@[]{|}", c) >= 0:
		p.kind, p.punctuator, p.text = tokenPunctuator, c, p.text[1:]
	case strings.HasPrefix(p.text, "..."):
		p.kind, p.text = tokenSpread, p.text[3:]
	case c == '"':
		p.skipString()
	case c == '-' || '0' <= c && c <= '9':
		n := 1
		for n < len(p.text) && strings.IndexByte("0123456789.eE+-", p.text[n]) >= 0 {
			n++
		}
		p.kind, p.text = tokenValue, p.text[n:]
	default:
		p.kind, p.text = tokenBroken, ""
	}
}

func nameStart(c byte) bool { return c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' }

func (p *documentParser) skipIgnored() {
	for {
		p.text = strings.TrimLeft(p.text, " \t\r\n,\ufeff")
		if p.text == "" || p.text[0] != '#' {
			return
		}
		end := strings.IndexAny(p.text, "\r\n")
		if end < 0 {
			end = len(p.text)
		}
		p.text = p.text[end:]
	}
}

// skipString goes past a string or a block string, in which the text may hold quotes and brackets.
func (p *documentParser) skipString() {
	p.kind = tokenValue
	if strings.HasPrefix(p.text, `"""`) {
		for rest := p.text[3:]; ; {
			end := strings.Index(rest, `"""`)
			switch {
			case end < 0:
				p.kind, p.text = tokenBroken, ""
				return
			case end > 0 && rest[end-1] == '\\':
				rest = rest[end+3:]
			default:
				p.text = rest[end+3:]
				return
			}
		}
	}
	for i := 1; i < len(p.text); i++ {
		switch p.text[i] {
		case '\\':
			i++
		case '\n', '\r':
			p.kind, p.text = tokenBroken, ""
			return
		case '"':
			p.text = p.text[i+1:]
			return
		}
	}
	p.kind, p.text = tokenBroken, ""
}
