// SPDX-License-Identifier: Apache-2.0

package datamask

import (
	"net/url"
	"strings"
)

// maskArgs applies rules to the arguments of a query or form; others stay as they were written. Of more than most arguments
// the rest is left out when something was changed, unless most is 0.
func maskArgs(text string, rules []rule, most int) (masked string, changed bool) {
	if text == "" {
		return text, false
	}
	var kept []string
	n := 0
	for pair := range strings.SplitSeq(text, "&") {
		if n++; most > 0 && n > most {
			return strings.Join(kept, "&"), true
		}
		key, value, hasValue := strings.Cut(pair, "=")
		keep := true
		for i := range rules {
			if !keep || decode(key) != rules[i].name {
				continue
			}
			var masked string
			if masked, keep = rules[i].change(decode(value)); masked != decode(value) || !keep {
				value, hasValue, changed = escape(masked), true, true
			}
		}
		switch {
		case !keep:
		case hasValue:
			kept = append(kept, key+"="+value)
		default:
			kept = append(kept, key)
		}
	}
	if !changed {
		return text, false
	}
	return strings.Join(kept, "&"), true
}

func decode(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	return text
}

// escape is url.QueryEscape that leaves asterisks, with which people mask.
func escape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "%2A", "*") }
