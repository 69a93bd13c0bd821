// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"cmp"
	"regexp"
	"regexp/syntax"
	"strings"
)

// PatternSet searches a text for many patterns at once. It is immutable.
//
// Most patterns in such lists are plain words, or have a word in them without which they cannot match. Of each word a few
// bytes, those that the fewest other words have, stand in an index, so that one walk over the text finds the patterns
// worth a try. Ten thousand of them cost about what ten do.
type PatternSet struct {
	// words is the index, by how many bytes its entries have: 1 to maxGram.
	words [maxGram + 1]map[gram][]candidate
	// seen says which grams there may be, so that nearly every byte of a text is passed over without a look at the index.
	seen [maxGram + 1]gramFilter
	// others have no word: they are tried on every text.
	others []*Pattern
}

// gram is up to maxGram bytes in lower case, the first in the highest place.
type gram uint32

const maxGram = 4

// candidate is a pattern that may match when its gram was found. A plain word has no pattern: it is found when it begins
// before bytes before the gram.
type candidate struct {
	word    string
	before  int
	pattern *Pattern
}

// CompilePatternSet compiles patterns, each as CompilePattern does. The error is that of the first that is none.
func CompilePatternSet(patterns []string, foldCase bool) (*PatternSet, error) {
	type entry struct {
		pattern *Pattern
		word    string
		whole   bool
	}
	entries := make([]entry, len(patterns))
	frequency := make(map[gram]int)
	for i, text := range patterns {
		pattern, err := CompilePattern(text, foldCase)
		if err != nil {
			return nil, err
		}
		entries[i].pattern = pattern
		if pattern.linear == nil {
			continue
		}
		entries[i].word, entries[i].whole = requiredWord(pattern.linear)
		for at := range eachGram(entries[i].word) {
			frequency[gramAt(entries[i].word, at, maxGram)]++
		}
	}
	set := new(PatternSet)
	for _, e := range entries {
		if e.word == "" {
			set.others = append(set.others, e.pattern)
			continue
		}
		size := min(len(e.word), maxGram)
		best := 0
		for at := range eachGram(e.word) {
			if frequency[gramAt(e.word, at, maxGram)] < frequency[gramAt(e.word, best, maxGram)] {
				best = at
			}
		}
		c := candidate{word: e.word, before: best}
		if !e.whole {
			c.pattern = e.pattern
		}
		key := gramAt(e.word, best, size)
		if set.words[size] == nil {
			set.words[size] = make(map[gram][]candidate)
		}
		set.words[size][key] = append(set.words[size][key], c)
		set.seen[size].add(key)
	}
	set.others = joined(set.others)
	return set, nil
}

// eachGram yields where the grams of maxGram bytes begin in a word; a shorter one has none.
func eachGram(word string) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for at := 0; at+maxGram <= len(word); at++ {
			if !yield(at) {
				return
			}
		}
	}
}

// gramAt returns up to size bytes from at on.
func gramAt(text string, at, size int) (g gram) {
	for i := at; i < min(at+size, len(text)); i++ {
		g = g<<8 | gram(lower(text[i]))
	}
	return g
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// gramFilter is a set of grams that may say yes by mistake.
type gramFilter struct {
	bits [1 << 10]uint64
	any  bool
}

func (f *gramFilter) add(g gram) {
	h := hashGram(g)
	f.bits[h>>6] |= 1 << (h & 63)
	f.any = true
}

func (f *gramFilter) has(g gram) bool {
	h := hashGram(g)
	return f.bits[h>>6]&(1<<(h&63)) != 0
}

// hashGram takes the 16 upper bits of a product with 2^32 divided by the golden ratio.
func hashGram(g gram) uint32 { return uint32(g) * 0x9e3779b9 >> 16 }

// Search reports whether any of the patterns is found in the text. It allocates nothing unless a pattern needs backtracking.
// The error is ErrTooSlow, when one has not decided in time and no other matches.
func (s *PatternSet) Search(text string) (bool, error) {
	for size := 1; size <= maxGram; size++ {
		if s.seen[size].any && s.searchWords(text, size) {
			return true, nil
		}
	}
	var slow error
	for _, pattern := range s.others {
		found, err := pattern.Search(text)
		if found {
			return true, nil
		}
		slow = cmp.Or(slow, err)
	}
	return false, slow
}

func (s *PatternSet) searchWords(text string, size int) bool {
	mask := gram(1<<(8*size) - 1)
	var g gram
	for i := range len(text) {
		g = (g<<8 | gram(lower(text[i]))) & mask
		if i < size-1 || !s.seen[size].has(g) {
			continue
		}
		for _, c := range s.words[size][g] {
			if c.matches(text, i-size+1) {
				return true
			}
		}
	}
	return false
}

// matches reports whether the candidate matches a text in which its gram is found at that place.
func (c *candidate) matches(text string, at int) bool {
	if c.pattern != nil {
		return c.pattern.linear.MatchString(text)
	}
	start := at - c.before
	return start >= 0 && strings.HasPrefix(text[start:], c.word)
}

// requiredWord returns the longest word that every match of the pattern contains, if there is one, in whatever case. whole
// says that the pattern is that word to the letter and nothing else.
func requiredWord(pattern *regexp.Regexp) (word string, whole bool) {
	tree, err := syntax.Parse(pattern.String(), syntax.Perl)
	if err != nil {
		return "", false
	}
	whole = tree.Op == syntax.OpLiteral && tree.Flags&syntax.FoldCase == 0
	return wordOf(tree.Simplify()), whole
}

func wordOf(tree *syntax.Regexp) string {
	switch tree.Op {
	case syntax.OpLiteral:
		word := string(tree.Rune)
		if tree.Flags&syntax.FoldCase != 0 && !foldsPlainly(word) {
			return ""
		}
		return word
	case syntax.OpCapture, syntax.OpPlus:
		return wordOf(tree.Sub[0])
	case syntax.OpConcat:
		longest := ""
		for _, sub := range tree.Sub {
			if word := wordOf(sub); len(word) > len(longest) {
				longest = word
			}
		}
		return longest
	}
	return ""
}

// foldsPlainly reports whether the other case of every letter is ASCII too: "k" and "s" have cousins elsewhere in Unicode.
func foldsPlainly(word string) bool {
	for i := range len(word) {
		if c := lower(word[i]); c >= 0x80 || c == 'k' || c == 's' {
			return false
		}
	}
	return true
}

// joined makes one pattern of all that run in linear time: they share a walk. The others stay as they are.
func joined(patterns []*Pattern) []*Pattern {
	var linear []string
	var rest []*Pattern
	for _, p := range patterns {
		if p.linear != nil {
			linear = append(linear, "(?:"+p.linear.String()+")")
		} else {
			rest = append(rest, p)
		}
	}
	if len(linear) < 2 {
		return patterns
	}
	one, err := regexp.Compile(strings.Join(linear, "|"))
	if err != nil {
		// Together they may be larger than the engine allows.
		return patterns
	}
	return append([]*Pattern{{linear: one}}, rest...)
}
