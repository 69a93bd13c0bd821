// SPDX-License-Identifier: Apache-2.0

// Package expr compiles what users say about requests: APISIX's `vars` expressions, variables such as $arg_x, text with
// variables in it, and CEL predicates. Everything is compiled when an object is written; a request only runs it.
package expr

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// Expr is a compiled expression of APISIX's `vars` language (data-plane.md section 3). It is immutable.
type Expr struct {
	// Match is nil for the empty expression, which is always true.
	Match gateway.Predicate
	// ReadsBody says that some variable looks at the request body: without the body it is absent.
	ReadsBody bool
}

// The texts are those of lua-resty-expr; callers put their own prefix in front.
var (
	errMissing    = errors.New("missing argument rule")
	errBrackets   = errors.New("rule should be wrapped inside brackets")
	errTooShort   = errors.New("rule too short")
	errExpression = errors.New("invalid expression")
	errNot        = errors.New("bad 'not' expression")
)

// Compile compiles an expression: a list of conditions that must all hold, or one that begins with AND, OR, !AND or !OR.
// No text at all, `[]` and `{}` (an empty list in Lua's JSON) are the empty expression. What APISIX would only find out
// while a request runs, such as a broken regular expression, is an error here.
func Compile(raw json.RawMessage) (*Expr, error) {
	if len(raw) == 0 {
		return &Expr{}, nil
	}
	rule, err := decodeJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errExpression, err)
	}
	switch rule := rule.(type) {
	case nil:
		return nil, errMissing
	case map[string]any:
		if len(rule) == 0 {
			return &Expr{}, nil
		}
		return nil, errBrackets
	case []any:
		if len(rule) == 0 {
			return &Expr{}, nil
		}
		if word, isWord := rule[0].(string); isWord && !isLogic(word) {
			return nil, errBrackets
		}
	}
	var c compiler
	match, err := c.rule(rule)
	if err != nil {
		return nil, err
	}
	return &Expr{Match: match, ReadsBody: c.readsBody}, nil
}

// decodeJSON decodes one JSON document, numbers as json.Number.
func decodeJSON(raw []byte) (value any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return value, nil
}

// compiler collects what is known of an expression beside its predicate.
type compiler struct{ readsBody bool }

// rule compiles a list of conditions, a group, or one condition.
func (c *compiler) rule(rule any) (gateway.Predicate, error) {
	items, ok := rule.([]any)
	if !ok {
		if _, isObject := rule.(map[string]any); isObject {
			return nil, errTooShort
		}
		return nil, errBrackets
	}
	if len(items) == 0 {
		return nil, errTooShort
	}
	switch first := items[0].(type) {
	case []any, map[string]any:
		return c.group("AND", items)
	case string:
		if !isLogic(first) {
			return c.condition(first, items)
		}
		if len(items) <= 2 {
			return nil, errTooShort
		}
		return c.group(strings.ToUpper(first), items[1:])
	}
	return nil, errExpression
}

func isLogic(word string) bool {
	switch strings.ToUpper(word) {
	case "AND", "OR", "!AND", "!OR":
		return true
	}
	return false
}

func (c *compiler) group(logic string, rules []any) (gateway.Predicate, error) {
	predicates := make([]gateway.Predicate, len(rules))
	for i, rule := range rules {
		var err error
		if predicates[i], err = c.rule(rule); err != nil {
			return nil, err
		}
	}
	switch logic {
	case "OR":
		return anyOf(predicates), nil
	case "!OR":
		return not(anyOf(predicates)), nil
	case "!AND":
		return not(allOf(predicates)), nil
	}
	return allOf(predicates), nil
}

// condition compiles [name, operator, right], [name, "!", operator, right] or [name, right].
func (c *compiler) condition(name string, items []any) (gateway.Predicate, error) {
	negated := false
	if len(items) == 4 {
		if items[1] != "!" {
			return nil, errNot
		}
		negated = true
		items = []any{name, items[2], items[3]}
	}
	word, right, err := operatorOf(items)
	if err != nil {
		return nil, err
	}
	match, err := c.compare(name, word, right)
	if err != nil {
		return nil, err
	}
	if negated {
		return not(match), nil
	}
	return match, nil
}

// operatorOf tells the operator and the right side of a condition without negation.
func operatorOf(items []any) (word string, right any, err error) {
	switch len(items) {
	case 1:
		return "", nil, errExpression
	case 2:
		if word, ok := items[1].(string); ok {
			if word = strings.ToLower(word); operators[word] != nil {
				return word, nil, nil
			}
		}
		return "==", items[1], nil
	}
	switch op := items[1].(type) {
	case string:
		word = strings.ToLower(op)
	case json.Number:
		word = op.String()
	default:
		return "", nil, errExpression
	}
	return word, items[2], nil
}

func (c *compiler) compare(name, word string, right any) (gateway.Predicate, error) {
	newTest := operators[word]
	if newTest == nil {
		return nil, fmt.Errorf("invalid operator '%s'", word)
	}
	left := resolve(name)
	if left.err != nil {
		return nil, left.err
	}
	c.readsBody = c.readsBody || left.readsBody
	if name == "remote_addr" && word == "ipmatch" {
		set, err := newAddrSet(right)
		if err != nil {
			return nil, err
		}
		return func(x *gateway.Exchange) bool { return set.contains(x.Request.Client.Addr()) }, nil
	}
	test, err := newTest(right)
	if err != nil {
		return nil, err
	}
	if read := left.value; read != nil {
		return func(x *gateway.Exchange) bool { return test(read(x)) }, nil
	}
	text := left.text
	return func(x *gateway.Exchange) bool {
		s, ok := text(x)
		if !ok {
			return test(value{})
		}
		return test(value{kind: isText, text: s})
	}, nil
}

func allOf(predicates []gateway.Predicate) gateway.Predicate {
	switch len(predicates) {
	case 1:
		return predicates[0]
	case 2:
		a, b := predicates[0], predicates[1]
		return func(x *gateway.Exchange) bool { return a(x) && b(x) }
	}
	return func(x *gateway.Exchange) bool {
		for _, p := range predicates {
			if !p(x) {
				return false
			}
		}
		return true
	}
}

func anyOf(predicates []gateway.Predicate) gateway.Predicate {
	return func(x *gateway.Exchange) bool {
		for _, p := range predicates {
			if p(x) {
				return true
			}
		}
		return false
	}
}

func not(p gateway.Predicate) gateway.Predicate {
	return func(x *gateway.Exchange) bool { return !p(x) }
}
