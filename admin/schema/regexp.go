// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"fmt"
	"regexp"
	"time"

	"github.com/dlclark/regexp2/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compileRegexp compiles a pattern of a schema. APISIX's are PCRE: what RE2 cannot do (lookaround, backreferences) falls
// to a backtracking engine with a time limit.
func compileRegexp(pattern string) (jsonschema.Regexp, error) {
	re, err := regexp.Compile(pattern)
	if err == nil {
		return re, nil
	}
	backtracking, perlErr := regexp2.Compile(pattern)
	if perlErr != nil {
		return nil, fmt.Errorf("pattern %q: %w", pattern, err)
	}
	backtracking.MatchTimeout = backtrackLimit
	return backtracker{backtracking}, nil
}

// NeedsBacktracking reports whether a text is a pattern that RE2 refuses and the backtracking engine takes.
func NeedsBacktracking(pattern string) bool {
	re, err := compileRegexp(pattern)
	_, backtracks := re.(backtracker)
	return err == nil && backtracks
}

// backtrackLimit bounds one match, whatever a client sends to be matched.
const backtrackLimit = 100 * time.Millisecond

// backtracker is a pattern that RE2 refuses. A match that takes too long is none.
type backtracker struct{ re *regexp2.Regexp }

func (b backtracker) MatchString(s string) bool {
	matched, err := b.re.MatchString(s)
	return matched && err == nil
}

func (b backtracker) String() string { return b.re.String() }
