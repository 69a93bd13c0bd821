// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dlclark/regexp2/v2"
	gopher "github.com/yuin/gopher-lua"

	"github.com/andogate/ando/modules/expr"
)

var reLibrary = newLibrary("ngx.re", functions{"match": reMatch, "find": reFind, "gmatch": reGmatch, "sub": reSub, "gsub": reGsub})

const (
	// maxBacktracking bounds one search of a pattern that only a backtracking engine understands.
	maxBacktracking = 10 * time.Millisecond
	// maxRegexes is how many patterns a state keeps compiled.
	maxRegexes = 128
)

// regex is a pattern of PCRE. Most are regular and run in linear time; the others go to a backtracking engine.
type regex struct {
	linear       *regexp.Regexp
	backtracking *regexp2.Regexp
	names        []string
	anchored     bool
}

// regex returns the pattern with options as ngx.re has them.
func (s *state) regex(l *gopher.LState, pattern, options string) *regex {
	key := options + "/" + pattern
	if r := s.regexes[key]; r != nil {
		return r
	}
	r, err := compileRegex(pattern, options)
	if err != nil {
		l.RaiseError("%s", err.Error())
	}
	if s.regexes == nil || len(s.regexes) == maxRegexes {
		s.regexes = make(map[string]*regex)
	}
	s.spend(l, 100+10*len(pattern))
	s.regexes[strings.Clone(key)] = r
	return r
}

func compileRegex(pattern, options string) (*regex, error) {
	flags, modes, spaced := "", regexp2.None, false
	r := new(regex)
	for _, option := range options {
		switch option {
		case 'i':
			flags, modes = flags+"i", modes|regexp2.IgnoreCase
		case 'm':
			flags, modes = flags+"m", modes|regexp2.Multiline
		case 's':
			flags, modes = flags+"s", modes|regexp2.Singleline
		case 'x':
			modes, spaced = modes|regexp2.IgnorePatternWhitespace, true
		case 'a':
			r.anchored = true
		case 'd', 'D', 'j', 'J', 'o', 'u', 'U':
			// They choose how PCRE works, or what is the case here anyway.
		default:
			return nil, fmt.Errorf("unknown flag \"%c\" (flags \"%s\")", option, options)
		}
	}
	if flags != "" {
		flags = "(?" + flags + ")"
	}
	if r.anchored {
		pattern = `\A(?:` + pattern + `)`
	}
	linear, err := regexp.Compile(flags + pattern)
	if err == nil && !spaced {
		r.linear, r.names = linear, linear.SubexpNames()
		return r, nil
	}
	if r.backtracking, err = regexp2.Compile(pattern, modes, regexp2.OptionMaintainCaptureOrder()); err != nil {
		return nil, fmt.Errorf("pcre_compile() failed: %w in \"%s\"", err, pattern)
	}
	r.backtracking.MatchTimeout = maxBacktracking
	for _, n := range r.backtracking.GetGroupNumbers() {
		name := r.backtracking.GroupNameFromNumber(n)
		if name == fmt.Sprint(n) {
			name = ""
		}
		r.names = append(r.names, name)
	}
	return r, nil
}

// find returns where the match behind from is, and its groups, as regexp does; nil is no match.
func (r *regex) find(l *gopher.LState, subject string, from int) []int {
	found := r.all(l, subject[from:], 1)
	if len(found) == 0 {
		return nil
	}
	for i := range found[0] {
		if found[0][i] >= 0 {
			found[0][i] += from
		}
	}
	return found[0]
}

// all returns the first matches, which do not overlap; -1 is all.
func (r *regex) all(l *gopher.LState, subject string, most int) [][]int {
	stateOf(l).spend(l, len(subject)/8)
	if r.anchored {
		most = 1
	}
	if r.linear != nil {
		return r.linear.FindAllStringSubmatchIndex(subject, most)
	}
	var found [][]int
	match, err := r.backtracking.FindStringMatch(subject)
	for match != nil && err == nil {
		found = append(found, expr.GroupIndex(match))
		stateOf(l).spend(l, 10)
		if len(found) == most {
			break
		}
		match, err = r.backtracking.FindNextMatch(match)
	}
	if err != nil {
		l.RaiseError("pcre_exec() failed: a search took longer than %v", maxBacktracking)
	}
	return found
}

// captures is a match as a table: 0 is all of it, groups that took no part are false.
func (r *regex) captures(l *gopher.LState, subject string, index []int) *gopher.LTable {
	t := l.NewTable()
	for i := 0; 2*i < len(index); i++ {
		value := gopher.LValue(gopher.LFalse)
		if index[2*i] >= 0 {
			value = gopher.LString(subject[index[2*i]:index[2*i+1]])
		}
		t.RawSet(gopher.LNumber(i), value)
		if i < len(r.names) && r.names[i] != "" {
			t.RawSetString(r.names[i], value)
		}
	}
	return t
}

// searched reads subject, pattern, options and the table that says where to begin.
func searched(l *gopher.LState) (r *regex, subject string, from int, where *gopher.LTable) {
	subject = l.CheckString(1)
	r = stateOf(l).regex(l, l.CheckString(2), l.OptString(3, ""))
	if where, _ = l.Get(4).(*gopher.LTable); where != nil {
		if pos, ok := where.RawGetString("pos").(gopher.LNumber); ok {
			from = min(max(int(pos)-1, 0), len(subject))
		}
	}
	return r, subject, from, where
}

func reMatch(l *gopher.LState) int {
	r, subject, from, where := searched(l)
	index := r.find(l, subject, from)
	if index == nil {
		return nilResult(l)
	}
	if where != nil {
		where.RawSetString("pos", gopher.LNumber(index[1]+1))
	}
	l.Push(r.captures(l, subject, index))
	return 1
}

func reFind(l *gopher.LState) int {
	r, subject, from, where := searched(l)
	index := r.find(l, subject, from)
	group := 2 * l.OptInt(5, 0)
	if index == nil || group < 0 || group+1 >= len(index) || index[group] < 0 {
		return nilResult(l)
	}
	if where != nil {
		where.RawSetString("pos", gopher.LNumber(index[1]+1))
	}
	l.Push(gopher.LNumber(index[group] + 1))
	l.Push(gopher.LNumber(index[group+1]))
	return 2
}

func reGmatch(l *gopher.LState) int {
	r, subject, _, _ := searched(l)
	found := r.all(l, subject, -1)
	l.Push(l.NewFunction(func(l *gopher.LState) int {
		if len(found) == 0 {
			return nilResult(l)
		}
		l.Push(r.captures(l, subject, found[0]))
		found = found[1:]
		return 1
	}))
	return 1
}

func reSub(l *gopher.LState) int  { return substitute(l, 1) }
func reGsub(l *gopher.LState) int { return substitute(l, -1) }

// substitute replaces the first matches; -1 is all.
func substitute(l *gopher.LState, most int) int {
	subject, by := l.CheckString(1), l.Get(3)
	r := stateOf(l).regex(l, l.CheckString(2), l.OptString(4, ""))
	found := r.all(l, subject, most)
	var b strings.Builder
	at := 0
	for _, index := range found {
		before := b.Len()
		b.WriteString(subject[at:index[0]])
		if f, ok := by.(*gopher.LFunction); ok {
			l.Push(f)
			l.Push(r.captures(l, subject, index))
			l.Call(1, 1)
			b.WriteString(toText(l, l.Get(-1)))
			l.Pop(1)
		} else {
			expandGroups(&b, toText(l, by), subject, index)
		}
		stateOf(l).spendBytes(l, b.Len()-before)
		at = index[1]
	}
	b.WriteString(subject[at:])
	l.Push(gopher.LString(b.String()))
	l.Push(gopher.LNumber(len(found)))
	return 2
}

// expandGroups writes a replacement: $1 and ${1} are groups, $0 is the match and $$ a dollar sign.
func expandGroups(b *strings.Builder, text, subject string, index []int) {
	for {
		plain, rest, found := strings.Cut(text, "$")
		b.WriteString(plain)
		if !found {
			return
		}
		inner, braced := strings.CutPrefix(rest, "{")
		if braced {
			rest = inner
		}
		n, digits := 0, 0
		for digits < len(rest) && digits < 2 && isDigitByte(rest[digits]) {
			n = 10*n + int(rest[digits]-'0')
			digits++
		}
		switch {
		case digits == 0 && strings.HasPrefix(rest, "$"):
			b.WriteByte('$')
			text = rest[1:]
			continue
		case digits == 0:
			b.WriteByte('$')
			text = rest
			continue
		}
		text = rest[digits:]
		if braced {
			text = strings.TrimPrefix(text, "}")
		}
		if 2*n+1 < len(index) && index[2*n] >= 0 {
			b.WriteString(subject[index[2*n]:index[2*n+1]])
		}
	}
}
