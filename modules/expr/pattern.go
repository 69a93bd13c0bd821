// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"errors"
	"regexp"
	"strings"

	"github.com/dlclark/regexp2/v2"
)

// Pattern is a regular expression as APISIX's users write them: PCRE. Those that RE2 understands run in time linear to the
// text, the others on a backtracking engine with a time limit. It is immutable.
type Pattern struct {
	// One of the two is set.
	linear       *regexp.Regexp
	backtracking *regexp2.Regexp
}

// ErrTooSlow says that a pattern which needs backtracking has not decided in time. Who refuses requests by a pattern takes
// it for a match: otherwise whoever makes the search slow gets past.
var ErrTooSlow = errors.New("the regular expression took too long")

// CompilePattern compiles a pattern. With foldCase letters match in either case.
func CompilePattern(pattern string, foldCase bool) (*Pattern, error) {
	linear, backtracking, err := compilePattern(pattern, foldCase)
	if err != nil {
		return nil, err
	}
	return &Pattern{linear, backtracking}, nil
}

// Search reports whether the pattern is found anywhere in the text. The error is ErrTooSlow.
func (p *Pattern) Search(text string) (bool, error) {
	if p.linear != nil {
		return p.linear.MatchString(text), nil
	}
	found, err := p.backtracking.MatchString(text)
	if err != nil {
		return false, ErrTooSlow
	}
	return found, nil
}

// Find returns where the first match and its groups begin and end, in pairs, -1 for groups that take no part; nil is no
// match. The error is ErrTooSlow.
func (p *Pattern) Find(text string) ([]int, error) {
	if p.linear != nil {
		return p.linear.FindStringSubmatchIndex(text), nil
	}
	match, err := p.backtracking.FindStringMatch(text)
	switch {
	case err != nil:
		return nil, ErrTooSlow
	case match == nil:
		return nil, nil
	}
	return GroupIndex(match), nil
}

// GroupIndex returns where a match of the backtracking engine and its groups begin and end, as Pattern.Find does.
func GroupIndex(match *regexp2.Match) []int {
	groups := match.Groups()
	index := make([]int, 0, 2*len(groups))
	for i := range groups {
		if len(groups[i].Captures) == 0 {
			index = append(index, -1, -1)
			continue
		}
		start, length := groups[i].ByteRange()
		index = append(index, start, start+length)
	}
	return index
}

// Replacement is what a match is replaced with: text with $1 or ${1} for groups, $0 for the match and $$ for a dollar sign,
// as in ngx.re.sub. Any other dollar sign stands for itself. It is immutable.
type Replacement struct{ parts []replacementPart }

// replacementPart is text, or a group when isGroup is set.
type replacementPart struct {
	text    string
	group   int
	isGroup bool
}

// ParseReplacement compiles a replacement. Every text is one.
func ParseReplacement(text string) *Replacement {
	r := new(Replacement)
	literal := ""
	for text != "" {
		i := strings.IndexByte(text, '$')
		if i < 0 {
			break
		}
		literal += text[:i]
		text = text[i+1:]
		if strings.HasPrefix(text, "$") {
			literal += "$"
			text = text[1:]
			continue
		}
		group, n := groupNumber(text)
		if n == 0 {
			literal += "$"
			continue
		}
		r.literal(literal)
		r.parts = append(r.parts, replacementPart{group: group, isGroup: true})
		literal, text = "", text[n:]
	}
	r.literal(literal + text)
	return r
}

func (r *Replacement) literal(text string) {
	if text != "" {
		r.parts = append(r.parts, replacementPart{text: text})
	}
}

// groupNumber reads "1" or "{1}" and says how long that is; 0 is no number.
func groupNumber(text string) (group, length int) {
	digits, braces := text, 0
	if strings.HasPrefix(text, "{") {
		digits, braces = text[1:], 1
	}
	n := 0
	for n < len(digits) && n < 3 && isDigit(digits[n]) {
		group = 10*group + int(digits[n]-'0')
		n++
	}
	if n == 0 || braces > 0 && !strings.HasPrefix(digits[n:], "}") {
		return 0, 0
	}
	return group, n + 2*braces
}

// Append appends the replacement for a match that Find found in text. Groups that took no part are empty.
func (r *Replacement) Append(dst []byte, text string, match []int) []byte {
	for i := range r.parts {
		p := &r.parts[i]
		if !p.isGroup {
			dst = append(dst, p.text...)
		} else if at := 2 * p.group; at+1 < len(match) && match[at] >= 0 {
			dst = append(dst, text[match[at]:match[at+1]]...)
		}
	}
	return dst
}

// Replace returns the text with the first match replaced, and the match that Find found; without one the text as it is.
func (p *Pattern) Replace(text string, with *Replacement) (replaced string, match []int, err error) {
	match, err = p.Find(text)
	if err != nil || match == nil {
		return text, nil, err
	}
	b := make([]byte, 0, len(text)+32)
	b = append(b, text[:match[0]]...)
	b = with.Append(b, text, match)
	b = append(b, text[match[1]:]...)
	return string(b), match, nil
}
