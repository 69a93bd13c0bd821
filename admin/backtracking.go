// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/andogate/ando/admin/schema"
	"github.com/andogate/ando/modules/gateway"
)

// backtrackingField says, in the answer to a write, where the object has patterns that only a backtracking engine
// understands: JSON pointers, separated by commas. Their searches are bounded in time, and cost more than those of others.
const backtrackingField = "X-Ando-Backtracking"

// warnOfPatterns sets backtrackingField when there is something to say.
func warnOfPatterns(w http.ResponseWriter, o gateway.Object) {
	if !mayBacktrack(string(o.Value)) {
		return
	}
	value, err := schema.Decode(o.Value)
	if err != nil {
		return
	}
	if at := backtracking(nil, "", value); len(at) > 0 {
		w.Header().Set(backtrackingField, strings.Join(at, ", "))
	}
}

// maxPointers bounds how many places are told.
const maxPointers = 20

// backtracking appends the places in value, which is at a JSON pointer, where such patterns are.
func backtracking(found []string, at string, value any) []string {
	if len(found) >= maxPointers {
		return found
	}
	switch value := value.(type) {
	case string:
		if mayBacktrack(value) && schema.NeedsBacktracking(value) {
			found = append(found, at)
		}
	case []any:
		for i, element := range value {
			found = backtracking(found, fmt.Sprint(at, "/", i), element)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			found = backtracking(found, at+"/"+pointerEscape.Replace(name), value[name])
		}
	}
	return found
}

// pointerEscape escapes a member's name as RFC 6901 does, and what has no place in a field of a head.
var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1", "\r", " ", "\n", " ", "\x00", " ")

// mayBacktrack reports whether a text, or JSON with it, has what only patterns for a backtracking engine have. Where a
// field's text is no pattern it hardly ever has.
func mayBacktrack(text string) bool {
	for _, mark := range []string{"(?=", "(?!", "(?<=", "(?<!", "(?>", "*+", "++", "?+", "}+"} {
		if strings.Contains(text, mark) {
			return true
		}
	}
	for i := strings.IndexByte(text, '\\'); i >= 0 && i+1 < len(text); {
		next := text[i+1]
		if next >= '1' && next <= '9' {
			return true
		}
		more := strings.IndexByte(text[i+1:], '\\')
		if more < 0 {
			return false
		}
		i += 1 + more
	}
	return false
}
