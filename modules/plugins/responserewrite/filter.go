// SPDX-License-Identifier: Apache-2.0

package responserewrite

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"

	"github.com/andogate/ando/modules/expr"
)

// filter is one substitution. It is immutable.
type filter struct {
	search  func(body []byte, global bool) ([][]int, error)
	replace []part
	global  bool
}

// part of a replacement is text, or the group with that number when text is nil.
type part struct {
	text  []byte
	group int
}

// maxBacktracking bounds one search of a pattern that only a backtracking engine understands.
const maxBacktracking = 100 * time.Millisecond

// compileFilter compiles a pattern of APISIX, which is PCRE with the options of ngx.re. Most patterns are regular and run
// in linear time; the others go to a backtracking engine.
func compileFilter(pattern, options, replace string, global bool) (filter, error) {
	f := filter{replace: parseReplacement(replace), global: global}
	flags, modes := "", regexp2.None
	wide := false
	for _, option := range options {
		switch option {
		case 'i':
			flags, modes = flags+"i", modes|regexp2.IgnoreCase
		case 'm':
			flags, modes = flags+"m", modes|regexp2.Multiline
		case 's':
			flags, modes = flags+"s", modes|regexp2.Singleline
		case 'x':
			modes, wide = modes|regexp2.IgnorePatternWhitespace, true
		case 'a':
			pattern = `\A(?:` + pattern + `)`
		case 'd', 'D', 'j', 'J', 'o', 'u', 'U':
			// They choose how PCRE works, or what is the case here anyway.
		default:
			return f, fmt.Errorf("unknown flag \"%c\" (flags \"%s\")", option, options)
		}
	}
	if flags != "" {
		flags = "(?" + flags + ")"
	}
	linear, err := regexp.Compile(flags + pattern)
	if err == nil && !wide && !endsBeforeNewline(flags+pattern) {
		f.search = func(body []byte, global bool) ([][]int, error) {
			if global {
				return linear.FindAllSubmatchIndex(body, -1), nil
			}
			if found := linear.FindSubmatchIndex(body); found != nil {
				return [][]int{found}, nil
			}
			return nil, nil
		}
		return f, nil
	}
	backtracking, err := regexp2.Compile(pattern, modes, regexp2.OptionMaintainCaptureOrder())
	if err != nil {
		return f, err
	}
	backtracking.MatchTimeout = maxBacktracking
	f.search = func(body []byte, global bool) ([][]int, error) { return backtrack(backtracking, body, global) }
	return f, nil
}

// endsBeforeNewline reports whether the pattern has a "$" that in PCRE also stands before a line feed at the end, which
// RE2 cannot say.
func endsBeforeNewline(pattern string) bool {
	if !strings.Contains(pattern, "$") {
		return false
	}
	tree, err := syntax.Parse(pattern, syntax.Perl)
	return err == nil && hasDollar(tree)
}

func hasDollar(tree *syntax.Regexp) bool {
	if tree.Op == syntax.OpEndText && tree.Flags&syntax.WasDollar != 0 {
		return true
	}
	for _, sub := range tree.Sub {
		if hasDollar(sub) {
			return true
		}
	}
	return false
}

// backtrack finds what regexp's FindAllSubmatchIndex does, with the other engine.
func backtrack(pattern *regexp2.Regexp, body []byte, global bool) (found [][]int, err error) {
	match, err := pattern.FindStringMatch(string(body))
	for match != nil && err == nil {
		found = append(found, expr.GroupIndex(match))
		if !global {
			break
		}
		match, err = pattern.FindNextMatch(match)
	}
	if err != nil {
		// The engine's own text has the whole body in it.
		return nil, errBacktracking
	}
	return found, nil
}

var errBacktracking = fmt.Errorf("a search took longer than %v", maxBacktracking)

// apply returns the body with the substitution made, or the body itself when nothing was found.
func (f *filter) apply(body []byte) ([]byte, error) {
	found, err := f.search(body, f.global)
	if err != nil || len(found) == 0 {
		return body, err
	}
	changed := make([]byte, 0, len(body)+len(body)/8)
	end := 0
	for _, match := range found {
		changed = append(changed, body[end:match[0]]...)
		for i := range f.replace {
			p := &f.replace[i]
			if p.text != nil {
				changed = append(changed, p.text...)
			} else if at := 2 * p.group; at+1 < len(match) && match[at] >= 0 {
				changed = append(changed, body[match[at]:match[at+1]]...)
			}
		}
		end = match[1]
	}
	return append(changed, body[end:]...), nil
}

// parseReplacement splits a replacement into text and groups: $1, ${1}, $0 for the whole match, $$ for a dollar sign. A
// dollar sign before anything else stands for itself.
func parseReplacement(text string) []part {
	var parts []part
	literal := []byte{}
	for i := 0; i < len(text); i++ {
		if text[i] != '$' {
			literal = append(literal, text[i])
			continue
		}
		rest := text[i+1:]
		if strings.HasPrefix(rest, "$") {
			literal = append(literal, '$')
			i++
			continue
		}
		group, n := groupNumber(rest)
		if n == 0 {
			literal = append(literal, '$')
			continue
		}
		parts = append(parts, part{text: literal}, part{group: group})
		literal = []byte{}
		i += n
	}
	return append(parts, part{text: literal})
}

// groupNumber reads "1" or "{1}" and says how long that is; 0 is no number.
func groupNumber(text string) (group, length int) {
	digits, braces := text, 0
	if strings.HasPrefix(text, "{") {
		digits, braces = text[1:], 1
	}
	n := 0
	for n < len(digits) && n < 3 && '0' <= digits[n] && digits[n] <= '9' {
		group = 10*group + int(digits[n]-'0')
		n++
	}
	if n == 0 || braces > 0 && !strings.HasPrefix(digits[n:], "}") {
		return 0, 0
	}
	return group, n + 2*braces
}

var errTooLong = errors.New("it is longer than max_resp_body_size when decoded")

func gunzip(body []byte, limit int) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	decoded, err := io.ReadAll(io.LimitReader(reader, int64(limit)+1))
	switch {
	case err != nil:
		return nil, err
	case len(decoded) > limit:
		return nil, errTooLong
	}
	return decoded, nil
}
