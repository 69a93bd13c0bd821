// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"regexp"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// pattern is the regular expression of one request, in PCRE as APISIX takes it. It belongs to one goroutine.
type pattern struct {
	fast *regexp.Regexp
	// slow is for what RE2 cannot do: lookaround and backreferences.
	slow *regexp2.Regexp
	// deadline is when a slow one gives up, for all objects of a list together.
	deadline time.Time
}

// slowLimit bounds the time that a backtracking pattern may take for one request: some take longer than the universe.
const slowLimit = 200 * time.Millisecond

// compilePattern returns false for what is no regular expression.
func compilePattern(text string) (p *pattern, ok bool) {
	if fast, err := regexp.Compile(text); err == nil {
		return &pattern{fast: fast}, true
	}
	slow, err := regexp2.Compile(text)
	if err != nil {
		return nil, false
	}
	return &pattern{slow: slow}, true
}

// search reports whether the pattern is anywhere in text. It is nowhere once the time is over.
func (p *pattern) search(text string) bool {
	if p.fast != nil {
		return p.fast.MatchString(text)
	}
	now := time.Now()
	if p.deadline.IsZero() {
		p.deadline = now.Add(slowLimit)
	}
	if !now.Before(p.deadline) {
		return false
	}
	p.slow.MatchTimeout = p.deadline.Sub(now)
	found, err := p.slow.MatchString(text)
	return found && err == nil
}
