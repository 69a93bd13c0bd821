// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"slices"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// Var reads one variable of an exchange. ok is false when it is absent, and the text is then empty. The text is the
// exchange's: clone what must outlive it.
type Var func(x *gateway.Exchange) (text string, ok bool)

// Variable returns the variable of that name, written without "$" (data-plane.md section 4). A name that means nothing
// to the gateway is that of a custom variable, see [gateway.Exchange.SetVar].
func Variable(name string) Var {
	v := resolve(name)
	switch {
	case v.err != nil:
		return func(*gateway.Exchange) (string, bool) { return "", false }
	case v.text != nil:
		return v.text
	}
	return func(x *gateway.Exchange) (string, bool) {
		value := v.value(x)
		return value.String(), value.kind != isAbsent
	}
}

// IsBuiltin reports whether a name is that of a variable of the gateway's own, which setting a custom one does not change.
func IsBuiltin(name string) bool {
	if _, ok := fixed[name]; ok {
		return true
	}
	return slices.ContainsFunc(families, func(f family) bool { return strings.HasPrefix(name, f.prefix) })
}

// variable is what a name stands for. Either text is set, or value for what is not always text.
type variable struct {
	text  Var
	value func(x *gateway.Exchange) value
	// readsBody says that it is absent unless the request body was read.
	readsBody bool
	// err says what is wrong with the name; expressions refuse it.
	err error
}

// fixed holds the variables with a name of their own; see the other files for the maps it is made of.
var fixed = merge(requestVars, objectVars, forwardVars, responseVars)

func merge(sets ...map[string]Var) map[string]Var {
	all := make(map[string]Var)
	for _, set := range sets {
		for name, v := range set {
			if _, taken := all[name]; taken {
				panic("variable " + name + " is declared twice")
			}
			all[name] = v
		}
	}
	return all
}

type family struct {
	prefix  string
	resolve func(rest string) variable
}

// families are the variables whose name says which of many is meant.
var families = []family{
	{"arg_", argument},
	{"http_", requestField},
	{"cookie_", cookie},
	{"uri_param_", pathParam},
	{"post_arg_", postArgument},
	{"post_arg.", postPath},
	{"graphql_", graphqlPart},
	{"sent_http_", responseField},
	{"upstream_http_", nodeField},
}

func resolve(name string) variable {
	if text, ok := fixed[name]; ok {
		return variable{text: text}
	}
	for _, family := range families {
		if rest, ok := strings.CutPrefix(name, family.prefix); ok {
			return family.resolve(rest)
		}
	}
	return variable{text: func(x *gateway.Exchange) (string, bool) { return x.CustomVar(name) }}
}

// always makes a variable that is never absent.
func always(read func(x *gateway.Exchange) string) Var {
	return func(x *gateway.Exchange) (string, bool) { return read(x), true }
}

// unlessEmpty makes a variable that is absent when there is nothing to read.
func unlessEmpty(read func(x *gateway.Exchange) string) Var {
	return func(x *gateway.Exchange) (string, bool) {
		text := read(x)
		return text, text != ""
	}
}

// field reads a header field as nginx does: '_' in the name stands for '-' too, and several lines are one list.
func field(h *gateway.Header, name, separator string) (string, bool) {
	first, lines := "", 0
	for text := range h.ValuesByAlias(name) {
		if lines == 0 {
			first = text
		}
		lines++
	}
	if lines <= 1 {
		return first, lines == 1
	}
	all := make([]string, 0, lines)
	for text := range h.ValuesByAlias(name) {
		all = append(all, text)
	}
	return strings.Join(all, separator), true
}
