// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"encoding/json"
	"slices"
)

// test is an operator with its right side compiled in.
type test func(left value) bool

// operators makes tests, by the operator's word in lower case.
var operators = map[string]func(right any) (test, error){
	"==": func(right any) (test, error) { return equals(right), nil },
	"~=": func(right any) (test, error) {
		same := equals(right)
		return func(left value) bool { return !same(left) }, nil
	},
	">":  ordered(func(a, b float64) bool { return a > b }),
	">=": ordered(func(a, b float64) bool { return a >= b }),
	"<":  ordered(func(a, b float64) bool { return a < b }),
	"<=": ordered(func(a, b float64) bool { return a <= b }),
	"~~": func(right any) (test, error) { return matches(right, false) },
	"~*": func(right any) (test, error) { return matches(right, true) },
	"in": func(right any) (test, error) { return in(right), nil },
	"has": func(right any) (test, error) {
		return has(right), nil
	},
	"ipmatch": ipMatch,
}

func never(value) bool { return false }

// equals compares with a JSON value. A number on the right makes the left one too.
func equals(right any) test {
	switch right := right.(type) {
	case nil:
		return func(left value) bool { return left.kind == isAbsent }
	case string:
		return func(left value) bool { return left.kind == isText && left.text == right }
	case bool:
		return func(left value) bool { return left.kind == isBool && left.truth == right }
	case json.Number:
		want, _ := parseNumber(right.String())
		return func(left value) bool {
			n, ok := left.number()
			return ok && n == want
		}
	}
	return never
}

func ordered(holds func(a, b float64) bool) func(any) (test, error) {
	return func(right any) (test, error) {
		limit, ok := valueOf(right).number()
		if !ok {
			return never, nil
		}
		return func(left value) bool {
			n, ok := left.number()
			return ok && holds(n, limit)
		}, nil
	}
}

func matches(right any, foldCase bool) (test, error) {
	pattern, err := compileRegex(right, foldCase)
	if err != nil {
		return nil, err
	}
	return func(left value) bool { return left.kind == isText && pattern.MatchString(left.text) }, nil
}

// fewStrings is up to how many strings a list is searched one by one; above it is a set.
const fewStrings = 8

// in compares with the elements of a list by type and value: unlike ==, it takes no text for a number.
func in(right any) test {
	list, _ := right.([]any)
	var texts []string
	var others []any
	for _, item := range list {
		if text, ok := item.(string); ok {
			texts = append(texts, text)
		} else {
			others = append(others, item)
		}
	}
	inTexts := func(text string) bool { return slices.Contains(texts, text) }
	if len(texts) > fewStrings {
		set := make(map[string]struct{}, len(texts))
		for _, text := range texts {
			set[text] = struct{}{}
		}
		inTexts = func(text string) bool {
			_, ok := set[text]
			return ok
		}
	}
	return func(left value) bool {
		if left.kind == isText {
			return inTexts(left.text)
		}
		return slices.ContainsFunc(others, func(item any) bool { return identical(left, valueOf(item)) })
	}
}

// has looks for the right side among the elements of the left, by type and value.
func has(right any) test {
	want := valueOf(right)
	return func(left value) bool {
		if left.kind == isList {
			return slices.ContainsFunc(left.list, func(item any) bool { return identical(valueOf(item), want) })
		}
		return left.sole && identical(left, want)
	}
}

// identical is Lua's == on plain values; lists and objects are identical to nothing, and absent is no element.
func identical(a, b value) bool {
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case isText:
		return a.text == b.text
	case isBool:
		return a.truth == b.truth
	case isNumber:
		n, _ := a.number()
		m, _ := b.number()
		return n == m
	}
	return false
}

func ipMatch(right any) (test, error) {
	set, err := newAddrSet(right)
	if err != nil {
		return nil, err
	}
	return func(left value) bool { return left.kind == isText && set.containsText(left.text) }, nil
}
