// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

func TestPatternReplace(t *testing.T) {
	for _, c := range []struct{ pattern, with, text, want string }{
		{`^/a/(.*)`, "/b/$1", "/a/c", "/b/c"},
		{`^/a/(.*)`, "/b/$1", "/x", "/x"},
		{`(\w+)-(\w+)`, "${2}0$1$0$3", "=a-b=", "=b0aa-b="},
		{`(\w+)-(\w+)`, "${2}_$1", "=a-b=", "=b_a="},
		{`a`, "$$1 $ $x ${ ${y}", "a", "$1 $ $x ${ ${y}"},
		{`(a)|(b)`, "[$1$2]", "ab", "[a]b"},
		{`(?<=x)(a)|(b)`, "[$1$2]", "ab", "a[b]"},
		{`(?<n>é)(?=x)`, "[$1]", "\xffaéx", "\xffa[é]x"},
	} {
		p, err := CompilePattern(c.pattern, false)
		if err != nil {
			t.Fatal(err)
		}
		got, match, err := p.Replace(c.text, ParseReplacement(c.with))
		if err != nil || got != c.want || (match == nil) != (got == c.text) {
			t.Errorf("%s with %s in %q: got %q, match %v (%v); want %q", c.pattern, c.with, c.text, got, match, err, c.want)
		}
	}
}

func TestPatternTooSlow(t *testing.T) {
	p, err := CompilePattern(`^(?!b)(a+)+$`, false)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("a", 60) + "!"
	if _, err := p.Search(text); err != ErrTooSlow {
		t.Errorf("Search: got error %v, want %v", err, ErrTooSlow)
	}
	if _, _, err := p.Replace(text, ParseReplacement("")); err != ErrTooSlow {
		t.Errorf("Replace: got error %v, want %v", err, ErrTooSlow)
	}
	set, err := CompilePatternSet([]string{`^(?!b)(a+)+$`, "!"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := set.Search(text); !found || err != nil {
		t.Errorf("a set in which another pattern matches: got %v, %v", found, err)
	}
	if _, err := set.Search(strings.Repeat("a", 60) + "?"); err != ErrTooSlow {
		t.Errorf("a set: got error %v, want %v", err, ErrTooSlow)
	}
}

// TestPatternSet compares sets with their patterns tried one by one.
func TestPatternSet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abAB1/"[rng.IntN(6)]
		}
		return string(b)
	}
	shapes := []func() string{
		func() string { return word(1 + rng.IntN(7)) },
		func() string { return word(3) + `\d+` + word(2) },
		func() string { return "^" + word(3) },
		func() string { return "(?:" + word(2) + "|" + word(3) + ")" },
		func() string { return "(" + word(2) + ")+" + word(1) + "$" },
		func() string { return "(?i)" + word(4) },
		func() string { return word(3) + "(?!" + word(1) + ")" },
		func() string { return word(2) + "(" + word(2) + ")?" },
	}
	hits := 0
	for round := range 300 {
		foldCase := round%2 == 0
		patterns := make([]string, 1+rng.IntN(6))
		for i := range patterns {
			patterns[i] = shapes[rng.IntN(len(shapes))]()
		}
		set, err := CompilePatternSet(patterns, foldCase)
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			text, want := word(rng.IntN(12)), false
			for _, pattern := range patterns {
				p, err := CompilePattern(pattern, foldCase)
				if err != nil {
					t.Fatal(err)
				}
				found, _ := p.Search(text)
				want = want || found
			}
			if want {
				hits++
			}
			if got, err := set.Search(text); got != want || err != nil {
				t.Fatalf("%q (folded: %v) in %q: got %v (%v), want %v", patterns, foldCase, text, got, err, want)
			}
		}
	}
	if hits < 300 {
		t.Errorf("only %d searches found something", hits)
	}
	if _, err := CompilePatternSet([]string{"a", "("}, false); err == nil {
		t.Error("a set with a broken pattern compiles")
	}
	if found, err := new(PatternSet).Search("a"); found || err != nil {
		t.Errorf("no patterns: got %v, %v", found, err)
	}
}

func TestRequiredWord(t *testing.T) {
	for pattern, want := range map[string]string{
		"abc": "abc", "a.bcd": "bcd", "(abc)+d": "abc", "a|b": "", "(?i)abc": "ABC", "(?i)ask": "", "a*": "", "x(?:ab){2}": "ab",
	} {
		if got, _ := requiredWord(regexp.MustCompile(pattern)); !strings.EqualFold(got, want) {
			t.Errorf("%s: got %q, want %q", pattern, got, want)
		}
	}
}

// TestPatternSetChoice: what has a word is in the index, what has none is tried every time, in one walk.
func TestPatternSetChoice(t *testing.T) {
	set, err := CompilePatternSet([]string{"word", `w\d+ord`, `\d+`, `[ab]`, `(?=a)b`}, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(set.words[4]) != 1 || len(set.words[3]) != 1 || len(set.others) != 2 {
		t.Errorf("got %d, %d words and %d others; want 1, 1 and 2", len(set.words[4]), len(set.words[3]), len(set.others))
	}
}

const benchAgent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"

func BenchmarkPatternSet(b *testing.B) {
	for _, size := range []int{10, 10_000} {
		patterns := make([]string, size)
		for i := range patterns {
			patterns[i] = fmt.Sprintf("bot-%d", i)
			if i%3 == 0 {
				patterns[i] = fmt.Sprintf(`(crawl%d)/(\d+)\.(\d+)`, i)
			}
		}
		set, err := CompilePatternSet(patterns, false)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if found, _ := set.Search(benchAgent); found {
					b.Fatal("found")
				}
			}
		})
	}
}
