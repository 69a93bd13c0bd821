// SPDX-License-Identifier: Apache-2.0

package oasvalidator

import (
	"net/url"
	"strconv"
	"strings"
)

var escapeToken = strings.NewReplacer("~", "~0", "/", "~1")

var unescapeToken = strings.NewReplacer("~1", "/", "~0", "~")

// join returns the JSON pointer (RFC 6901) to a part of what is at a pointer.
func join(at string, tokens ...string) string {
	for _, token := range tokens {
		at += "/" + escapeToken.Replace(token)
	}
	return at
}

// lookup returns what a reference into the document means, and its pointer; nil when there is nothing.
func lookup(root any, reference string) (at string, value any) {
	fragment, ok := strings.CutPrefix(reference, "#/")
	if !ok {
		return "", nil
	}
	value = root
	for token := range strings.SplitSeq(fragment, "/") {
		if decoded, err := url.PathUnescape(token); err == nil {
			token = decoded
		}
		token = unescapeToken.Replace(token)
		switch v := value.(type) {
		case map[string]any:
			value = v[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(v) {
				return "", nil
			}
			value = v[i]
		default:
			return "", nil
		}
		at = join(at, token)
	}
	return at, value
}

// escapePercent makes a pointer part of a reference: what is no escape in it must not be taken for one.
func escapePercent(pointer string) string { return strings.ReplaceAll(pointer, "%", "%25") }
