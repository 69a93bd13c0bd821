// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"iter"
	"strings"
)

// maxName bounds the names for which the nearest is looked for, in bytes.
const maxName = 64

// Nearest returns the name that somebody who wrote word perhaps meant, or "" when none is near: at most a third of its
// letters may differ. Of two that are as near the first in the alphabet counts.
func Nearest(word string, names iter.Seq[string]) string {
	if len(word) > maxName {
		return ""
	}
	best, least := "", len(word)/3+1
	for name := range names {
		if len(name) > maxName {
			continue
		}
		d := distance(strings.ToLower(word), strings.ToLower(name))
		if d < least || d == least && best != "" && name < best {
			best, least = name, d
		}
	}
	return best
}

// distance is how many bytes have to be put in, taken out, replaced, or exchanged with their neighbour, to make b of a.
func distance(a, b string) int {
	var rows [3][maxName + 1]int
	before, last, row := &rows[0], &rows[1], &rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			changed := 1
			if a[i-1] == b[j-1] {
				changed = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+changed)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
