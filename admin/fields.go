// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"encoding/json"
	"iter"
	"strings"
)

// field is one member of a JSON object as text: key with its quotes.
type field struct{ key, value []byte }

func (f field) is(name string) bool {
	if bytes.IndexByte(f.key, '\\') < 0 {
		return string(f.key[1:len(f.key)-1]) == name
	}
	return unquote(f.key) == name
}

// fields is a JSON object taken apart, for edits that leave the rest of its text alone.
type fields []field

// parseFields takes apart a valid JSON object. The fields share its memory.
func parseFields(object []byte) fields {
	var fs fields
	for f := range eachField(object) {
		fs = append(fs, f)
	}
	return fs
}

func (fs fields) find(name string) int {
	// Of two members with one name the last is the one that readers see.
	for i := len(fs) - 1; i >= 0; i-- {
		if fs[i].is(name) {
			return i
		}
	}
	return -1
}

// get returns the value of a member, or nil.
func (fs fields) get(name string) json.RawMessage {
	if i := fs.find(name); i >= 0 {
		return fs[i].value
	}
	return nil
}

// set gives a member its value: where it is, or at the end.
func (fs *fields) set(name string, value []byte) {
	if i := fs.find(name); i >= 0 {
		(*fs)[i].value = value
		return
	}
	*fs = append(*fs, field{quote(name), value})
}

func (fs *fields) remove(name string) {
	kept := (*fs)[:0]
	for _, f := range *fs {
		if !f.is(name) {
			kept = append(kept, f)
		}
	}
	*fs = kept
}

// text puts the object together again.
func (fs fields) text() json.RawMessage {
	n := len("{}")
	for _, f := range fs {
		n += len(f.key) + len(":,") + len(f.value)
	}
	out := append(make([]byte, 0, n), '{')
	for i, f := range fs {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, f.key...)
		out = append(out, ':')
		out = append(out, f.value...)
	}
	return append(out, '}')
}

// eachField yields the members of a valid JSON object; anything else has none.
func eachField(object []byte) iter.Seq[field] {
	return func(yield func(field) bool) {
		i := skipSpace(object, 0)
		if i == len(object) || object[i] != '{' {
			return
		}
		i = skipSpace(object, i+1)
		for i < len(object) && object[i] == '"' {
			keyEnd := skipValue(object, i)
			valueStart := skipSpace(object, skipSpace(object, keyEnd)+len(":"))
			valueEnd := skipValue(object, valueStart)
			if !yield(field{object[i:keyEnd], object[valueStart:valueEnd]}) {
				return
			}
			i = skipSpace(object, skipSpace(object, valueEnd)+len(","))
		}
	}
}

// eachItem yields the elements of a valid JSON array; anything else has none.
func eachItem(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		i := skipSpace(array, 0)
		if i == len(array) || array[i] != '[' {
			return
		}
		i = skipSpace(array, i+1)
		for i < len(array) && array[i] != ']' {
			end := skipValue(array, i)
			if !yield(array[i:end]) {
				return
			}
			i = skipSpace(array, skipSpace(array, end)+len(","))
		}
	}
}

// lookup follows member names into a valid JSON document. It returns nil when there is no such member.
func lookup(doc []byte, path ...string) json.RawMessage {
	for _, name := range path {
		var value []byte
		for f := range eachField(doc) {
			if f.is(name) {
				value = f.value
			}
		}
		if value == nil {
			return nil
		}
		doc = value
	}
	return doc
}

func skipSpace(doc []byte, i int) int {
	for i < len(doc) && isSpace(doc[i]) {
		i++
	}
	return i
}

// skipValue returns where the value that starts at i ends. The document is valid from there on.
func skipValue(doc []byte, i int) int {
	depth := 0
	for i < len(doc) {
		switch doc[i] {
		case '"':
			for i++; i < len(doc) && doc[i] != '"'; i++ {
				if doc[i] == '\\' {
					i++
				}
			}
			i++
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\n', '\r':
			i++
			continue
		default:
			for i < len(doc) && bytes.IndexByte([]byte(",:]} \t\n\r"), doc[i]) < 0 {
				i++
			}
		}
		if depth == 0 {
			break
		}
	}
	return min(i, len(doc))
}

func isObject(value []byte) bool { return len(value) > 0 && value[0] == '{' }

func isArray(value []byte) bool { return len(value) > 0 && value[0] == '[' }

// stringOf returns the text of a JSON string; ok is false for any other value, and for nil.
func stringOf(value []byte) (text string, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	return unquote(value), true
}

// quote returns text as a JSON string, with nothing escaped that need not be.
func quote(text string) []byte {
	if strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) < 0 {
		quoted := make([]byte, 0, len(text)+len(`""`))
		return append(append(append(quoted, '"'), text...), '"')
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	// A string cannot fail to be encoded.
	_ = encoder.Encode(text)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
