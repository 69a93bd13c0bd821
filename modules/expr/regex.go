// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// matcher searches text for a pattern. It is safe for concurrent use.
type matcher interface{ MatchString(text string) bool }

const (
	// maxBacktracking bounds one search of a pattern that only a backtracking engine understands. A search that takes
	// longer has found nothing.
	maxBacktracking = 10 * time.Millisecond
	// clockPeriod is how exact that is.
	clockPeriod = 5 * time.Millisecond
)

func init() { regexp2.SetTimeoutCheckPeriod(clockPeriod) }

// compileRegex compiles the right side of ~~ or ~*. APISIX's patterns are PCRE: most of them are regular and run in linear
// time; those with lookaround, backreferences, atomic groups or possessive quantifiers go to a backtracking engine.
func compileRegex(right any, foldCase bool) (matcher, error) {
	var pattern string
	switch right := right.(type) {
	case string:
		pattern = right
	case json.Number:
		pattern = right.String()
	default:
		return nil, fmt.Errorf("%w: the right side of a regular expression match must be a string", errExpression)
	}
	linear, backtracking, err := compilePattern(pattern, foldCase)
	switch {
	case err != nil:
		return nil, err
	case linear != nil:
		return linear, nil
	}
	return bounded{backtracking}, nil
}

// compilePattern returns the pattern for one of the two engines.
func compilePattern(pattern string, foldCase bool) (*regexp.Regexp, *regexp2.Regexp, error) {
	flags, options := "", regexp2.RE2
	if foldCase {
		flags, options = "(?i)", options|regexp2.IgnoreCase
	}
	linear, err := regexp.Compile(flags + pattern)
	if err == nil {
		return linear, nil, nil
	}
	if escape := foreignEscape(pattern); escape != "" {
		return nil, nil, fmt.Errorf("invalid regular expression '%s': %s is not supported", pattern, escape)
	}
	backtracking, err := regexp2.Compile(pattern, options, regexp2.OptionMaintainCaptureOrder())
	if err != nil {
		return nil, nil, fmt.Errorf("invalid regular expression '%s': %w", pattern, err)
	}
	backtracking.MatchTimeout = maxBacktracking
	return nil, backtracking, nil
}

// bounded is a backtracking pattern; a search that runs into its bound has found nothing, as in APISIX.
type bounded struct{ pattern *regexp2.Regexp }

func (b bounded) MatchString(text string) bool {
	found, err := b.pattern.MatchString(text)
	return err == nil && found
}

// foreignEscape returns an escape that means something in PCRE and something else, the letter itself, in the
// backtracking engine.
func foreignEscape(pattern string) string {
	for i := 0; i+1 < len(pattern); i++ {
		if pattern[i] != '\\' {
			continue
		}
		i++
		if strings.IndexByte("CFgHhIiJjKLlMmNOoqRTUVXYy", pattern[i]) >= 0 {
			return pattern[i-1 : i+1]
		}
	}
	return ""
}
