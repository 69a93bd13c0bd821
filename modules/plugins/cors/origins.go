// SPDX-License-Identifier: Apache-2.0

package cors

import (
	"strings"

	"github.com/andogate/ando/modules/expr"
)

// origins is a set of origins. It is immutable.
type origins struct {
	// anyone says that "*" is the answer to all; echoed that each gets its own.
	anyone, echoed bool
	list           map[string]struct{}
	patterns       *expr.PatternSet
}

// newOrigins compiles what allow_origins says: "*", "**", or a list with commas. Patterns take its place.
func newOrigins(text string, patterns []string) (*origins, error) {
	if patterns != nil {
		set, err := expr.CompilePatternSet(patterns, false)
		return &origins{patterns: set}, err
	}
	o := &origins{anyone: text == "*", echoed: text == "**", list: make(map[string]struct{})}
	for origin := range strings.SplitSeq(text, ",") {
		o.list[origin] = struct{}{}
	}
	return o, nil
}

// answer returns what a client that sent this origin, or none, is told: "" is nothing.
func (o *origins) answer(origin string, sent bool) string {
	switch {
	case o.anyone, o.echoed && !sent:
		return "*"
	case !sent:
		return ""
	case o.echoed:
		return origin
	case o.patterns != nil:
		// An origin that cannot be decided about in time is not allowed.
		if found, _ := o.patterns.Search(origin); found {
			return origin
		}
		return ""
	}
	if _, listed := o.list[origin]; listed {
		return origin
	}
	return ""
}
