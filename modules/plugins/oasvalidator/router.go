// SPDX-License-Identifier: Apache-2.0

package oasvalidator

import (
	"errors"
	"slices"
	"strings"
)

// router finds the operation of a request by its method and path. Segments that are written out come before those with
// parameters in them (OpenAPI 3.1.0 section 4.8.8.2), and those before segments that are nothing but a parameter. A slash at the
// end makes no difference.
type router struct{ root branch }

// branch is what may follow one beginning of a path.
type branch struct {
	literal map[string]*branch
	mixed   []mixedBranch
	any     *branch
	// operations of the path that ends here, by method in upper case.
	operations map[string]*operation
}

// mixedBranch is a segment with text around its parameters.
type mixedBranch struct {
	// literals are the texts before, between and behind the parameters: one more than there are of those.
	literals []string
	next     *branch
}

// add makes a place for a path template. It returns the names of its parameters, and a function that puts operations there.
func (r *router) add(template string) (names []string, put func(method string, op *operation), err error) {
	b := &r.root
	for segment := range segments(template) {
		literals, inside, err := split(segment)
		if err != nil {
			return nil, nil, err
		}
		names = append(names, inside...)
		b = b.follow(literals)
	}
	if len(names) > maxParams {
		return nil, nil, errors.New("too many parameters")
	}
	return names, func(method string, op *operation) {
		if b.operations == nil {
			b.operations = map[string]*operation{}
		}
		// Of two templates that are the same but for the names of parameters the first one counts.
		if b.operations[method] == nil {
			b.operations[method] = op
		}
	}, nil
}

func (b *branch) follow(literals []string) *branch {
	switch {
	case len(literals) == 1:
		if b.literal == nil {
			b.literal = map[string]*branch{}
		}
		if b.literal[literals[0]] == nil {
			b.literal[literals[0]] = &branch{}
		}
		return b.literal[literals[0]]
	case len(literals) == 2 && literals[0] == "" && literals[1] == "":
		if b.any == nil {
			b.any = &branch{}
		}
		return b.any
	}
	for _, m := range b.mixed {
		if slices.Equal(m.literals, literals) {
			return m.next
		}
	}
	next := &branch{}
	b.mixed = append(b.mixed, mixedBranch{literals, next})
	return next
}

// split takes a segment of a template apart.
func split(segment string) (literals, names []string, err error) {
	for {
		before, rest, found := strings.Cut(segment, "{")
		literals = append(literals, before)
		if !found {
			return literals, names, nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || name == "" {
			return nil, nil, errors.New("a parameter is written {name}")
		}
		if before == "" && len(names) > 0 {
			return nil, nil, errors.New("there is nothing between two parameters")
		}
		names, segment = append(names, name), after
	}
}

// segments yields those of a path, without one that is empty at the end.
func segments(path string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for rest := strings.TrimPrefix(path, "/"); rest != ""; {
			var segment string
			segment, rest, _ = strings.Cut(rest, "/")
			if !yield(segment) {
				return
			}
		}
	}
}

// maxParams bounds the parameters in one path.
const maxParams = 16

// match is an operation that was found, with the texts of its path parameters.
type match struct {
	operation *operation
	n         int
	texts     [maxParams]string
}

func (m *match) values() []string { return m.texts[:m.n] }

// match finds the operation for a request. Methods are case-sensitive (RFC 9110 section 9.1).
func (r *router) match(method, path string) (m match, ok bool) {
	m.operation = r.root.find(&m, method, strings.TrimPrefix(path, "/"))
	return m, m.operation != nil
}

// find goes on from a branch with the rest of a path, and comes back where that leads nowhere.
func (b *branch) find(m *match, method, rest string) *operation {
	if rest == "" {
		return b.operations[method]
	}
	segment, tail, _ := strings.Cut(rest, "/")
	if next := b.literal[segment]; next != nil {
		if op := next.find(m, method, tail); op != nil {
			return op
		}
	}
	n := m.n
	for i := range b.mixed {
		if b.mixed[i].cut(m, segment) {
			if op := b.mixed[i].next.find(m, method, tail); op != nil {
				return op
			}
		}
		m.n = n
	}
	if b.any != nil && segment != "" {
		m.texts[n], m.n = segment, n+1
		if op := b.any.find(m, method, tail); op != nil {
			return op
		}
		m.n = n
	}
	return nil
}

// cut takes the parameters out of a segment. Each has a character at least, and ends where the text behind it begins first.
func (b *mixedBranch) cut(m *match, segment string) bool {
	rest, ok := strings.CutPrefix(segment, b.literals[0])
	for i := 1; ok && i < len(b.literals); i++ {
		end := len(rest)
		switch literal := b.literals[i]; {
		case literal == "":
		case i == len(b.literals)-1:
			if ok = strings.HasSuffix(rest, literal); ok {
				end -= len(literal)
			}
		default:
			if end = indexAfter(rest, literal); end < 0 {
				return false
			}
		}
		if !ok || end < 1 {
			return false
		}
		m.texts[m.n] = rest[:end]
		m.n++
		rest = rest[end:]
		rest = strings.TrimPrefix(rest, b.literals[i])
	}
	return ok && rest == ""
}

// indexAfter is where a text is, behind the first character.
func indexAfter(s, text string) int {
	if s == "" {
		return -1
	}
	if i := strings.Index(s[1:], text); i >= 0 {
		return i + 1
	}
	return -1
}
