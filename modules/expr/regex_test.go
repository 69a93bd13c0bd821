// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"regexp"
	"strings"
	"testing"
)

func TestCompileRegex(t *testing.T) {
	for _, c := range []struct {
		pattern      string
		linear       bool
		match, other string
	}{
		{`^a.c$`, true, "abc", "abd"},
		{`\d{2}`, true, "a12", "a1"},
		{`(?<n>a)b`, true, "ab", "ba"},
		{`(?!a)b`, false, "b", "a"},
		{`^(?!/private)`, false, "/public", "/private"},
		{`(?<=x)y`, false, "xy", "ay"},
		{`(a|b)\1`, false, "bb", "ab"},
		{`(?P<q>['"]).*(?P=q)`, false, `"a"`, `"a'`},
		{`^a++b`, false, "aab", "b"},
		{`^a++ab`, false, "x" + "\n", "aab"},
		{`^(?>a|ab)c`, false, "ac", "abc"},
		{`^(?!x)\d+$`, false, "12", "٣"},
		{`^(?!x)[[:alpha:]]+$`, false, "ab", "12"},
	} {
		m, err := compileRegex(c.pattern, false)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if _, linear := m.(*regexp.Regexp); linear != c.linear {
			t.Errorf("%s: linear = %v; want %v", c.pattern, linear, c.linear)
		}
		if c.pattern != `^a++ab` && !m.MatchString(c.match) {
			t.Errorf("%s does not match %q", c.pattern, c.match)
		}
		if m.MatchString(c.other) {
			t.Errorf("%s matches %q", c.pattern, c.other)
		}
	}
	for _, pattern := range []string{`(`, `(?=a)\h`, `(?!a)\Kb`, `(?R)`, `(?1)(a)`, `(?|(a)|b)\1`, `[`} {
		if m, err := compileRegex(pattern, false); err == nil {
			t.Errorf("%s compiles to %v; want an error", pattern, m)
		}
	}
	folded, err := compileRegex(`^(?!b)ABC`, true)
	if err != nil || !folded.MatchString("abc") {
		t.Errorf("case is not ignored: %v", err)
	}
}

// TestBacktrackingIsBounded runs a pattern that would take longer than anybody lives.
func TestBacktrackingIsBounded(t *testing.T) {
	m, err := compileRegex(`^(?!b)(a+)+$`, false)
	if err != nil {
		t.Fatal(err)
	}
	if !m.MatchString("aaaa") {
		t.Error("a short text does not match")
	}
	if m.MatchString(strings.Repeat("a", 60) + "!") {
		t.Error("a text that does not match matches")
	}
}
