// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// scalar returns what a word stands for in JSON. A quoted word is a string. So is any other, unless it is JSON itself: a
// number, true, false, an array or an object.
func scalar(token caddyfile.Token) any {
	text := token.Text
	if token.Quoted() || text == "" || text == "null" || text[0] == '"' || !json.Valid([]byte(text)) {
		return text
	}
	return json.RawMessage(text)
}

// value reads what follows the name of a field, the current token: nothing is true, one word a scalar, several an
// array, a block an object.
//
//	hide_credentials
//	count 100
//	allow_methods GET POST
//	headers {
//		X-Served-By ando
//	}
func value(d *caddyfile.Dispenser) (any, error) {
	name, nesting := d.Val(), d.Nesting()
	args := d.RemainingArgsAsTokens()
	fields, err := block(d, nesting)
	switch {
	case err != nil:
		return nil, err
	case len(fields) > 0 && len(args) > 0:
		return nil, d.Errf("%s: either words or a block, not both", name)
	case len(fields) > 0:
		return fields, nil
	case len(args) == 0:
		return true, nil
	case len(args) == 1:
		return scalar(args[0]), nil
	}
	return scalars(args), nil
}

func scalars(tokens []caddyfile.Token) []any {
	list := make([]any, len(tokens))
	for i, token := range tokens {
		list[i] = scalar(token)
	}
	return list
}

// block reads a block of fields, if there is one.
func block(d *caddyfile.Dispenser, nesting int) (map[string]any, error) {
	fields := map[string]any{}
	for d.NextBlock(nesting) {
		name := d.Val()
		if _, twice := fields[name]; twice {
			return nil, d.Errf("%s is given twice", name)
		}
		v, err := value(d)
		if err != nil {
			return nil, err
		}
		fields[name] = v
	}
	return fields, nil
}

// config reads a plugin's config behind its name: a block of fields, or one word of JSON, or nothing.
func config(d *caddyfile.Dispenser) (any, error) {
	name, nesting := d.Val(), d.Nesting()
	if !d.NextArg() {
		return block(d, nesting)
	}
	text := []byte(d.Val())
	if !strings.HasPrefix(strings.TrimSpace(d.Val()), "{") || !json.Valid(text) {
		return nil, d.Errf("%s: a block of fields or one JSON object is expected, not %q", name, d.Val())
	}
	if d.NextArg() {
		return nil, d.Errf("%s: nothing may follow the JSON object, not %q", name, d.Val())
	}
	if d.NextBlock(nesting) {
		return nil, d.Errf("%s: either a JSON object or a block, not both", name)
	}
	return json.RawMessage(text), nil
}

// one reads the only word behind a name.
func one(d *caddyfile.Dispenser) (caddyfile.Token, error) {
	name := d.Val()
	args := d.RemainingArgsAsTokens()
	if len(args) != 1 {
		return caddyfile.Token{}, d.Errf("%s takes one value, not %d", name, len(args))
	}
	return args[0], nil
}

// some reads one or more words behind a name.
func some(d *caddyfile.Dispenser) ([]string, error) {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, d.Errf("%s takes one or more values", name)
	}
	return args, nil
}

func integer(d *caddyfile.Dispenser) (int, error) {
	name := d.Val()
	token, err := one(d)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(token.Text)
	if err != nil {
		return 0, d.Errf("%s takes a whole number, not %q", name, token.Text)
	}
	return n, nil
}

// flag reads a switch: the name alone, or with true or false.
func flag(d *caddyfile.Dispenser) (bool, error) {
	name := d.Val()
	if !d.NextArg() {
		return true, nil
	}
	on, err := strconv.ParseBool(d.Val())
	if err != nil || d.NextArg() {
		return false, d.Errf("%s takes true, false or nothing", name)
	}
	return on, nil
}

// unknown is the error for a word that stands where one of the known ones is expected.
func unknown(d *caddyfile.Dispenser, where string, known []string) error {
	return d.Errf("%s: unknown word %q; allowed are %s", where, d.Val(), strings.Join(slices.Sorted(slices.Values(known)), ", "))
}
