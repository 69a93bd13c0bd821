// SPDX-License-Identifier: Apache-2.0

package oasvalidator

import (
	"slices"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// values are the texts of the parameters in one request. They die with it.
type values struct {
	request *gateway.Request
	path    []string
	// args are those of the query once they have been asked for.
	args  []arg
	known bool
}

// arg is one argument of a query, decoded.
type arg struct{ name, value string }

func (v *values) query() []arg {
	if !v.known {
		for name, value := range v.request.Args() {
			v.args = append(v.args, arg{name, value})
		}
		v.known = true
	}
	return v.args
}

// texts returns what a parameter has in the request, as often as it is there. The lines of a header field are one list
// (RFC 9110 section 5.3).
func (v *values) texts(p *parameter) (texts []string) {
	switch p.in {
	case inPath:
		if p.index >= 0 && p.index < len(v.path) {
			return v.path[p.index : p.index+1]
		}
	case inQuery:
		for _, a := range v.query() {
			if a.name == p.name {
				texts = append(texts, a.value)
			}
		}
	case inHeader:
		if gateway.EqualFold(p.name, "Host") {
			return []string{v.request.RawHost}
		}
		lines := slices.Collect(v.request.Header.Values(p.name))
		if len(lines) > 1 {
			return []string{strings.Join(lines, ", ")}
		}
		return lines
	}
	return texts
}

// raw returns the one text of a parameter that is no list and no object.
func (v *values) raw(p *parameter) (raw string, ok bool) {
	texts := v.texts(p)
	if len(texts) != 1 || p.json {
		return "", false
	}
	return p.strip(texts[0]), true
}
