// SPDX-License-Identifier: Apache-2.0

package fields

// What may stand in a URI as it is, apart from '%', '?' and '#' (RFC 3986 section 3.3): nginx escapes the same.
var plain = func() (set [256]bool) {
	for c := byte('!'); c <= '~'; c++ {
		set[c] = true
	}
	for _, c := range []byte("\"#%<>?\\^`{|}") {
		set[c] = false
	}
	return set
}()

// AppendPath appends text as a path, percent-encoded: a '?' or '%' in it is one of the path.
func AppendPath(dst []byte, text string) []byte {
	for i := range len(text) {
		dst = appendByte(dst, text[i], plain[text[i]])
	}
	return dst
}

// AppendURI appends text that is encoded as far as whoever wrote it cared, and encodes what cannot stand in a request line
// or a field: spaces, line ends, anything but ASCII, and what some take for a slash.
func AppendURI(dst []byte, text string) []byte {
	for i := range len(text) {
		c := text[i]
		dst = appendByte(dst, c, plain[c] || c == '%' || c == '?' || c == '#')
	}
	return dst
}

func appendByte(dst []byte, c byte, plain bool) []byte {
	if plain {
		return append(dst, c)
	}
	const digits = "0123456789ABCDEF"
	return append(dst, '%', digits[c>>4], digits[c&15])
}
