// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// Path leads to a field of a JSON document, by the names of members. An array is passed through: the path goes on in each
// of its items. A path that ends at an object or an array stands for every string in it.
type Path []string

// Paths reads paths as APISIX's schemas write them: names with dots between them.
func Paths(dotted []string) []Path {
	paths := make([]Path, len(dotted))
	for i, text := range dotted {
		paths[i] = strings.Split(text, ".")
	}
	return paths
}

// EncryptFields returns doc with the strings at the paths encrypted. Everything else of its text stays as it is. What is
// no JSON document is returned as it is.
func (k *Keyring) EncryptFields(doc json.RawMessage, paths ...Path) json.RawMessage {
	if k == nil {
		return doc
	}
	return mapFields(doc, paths, k.Encrypt)
}

// EncryptPEM is EncryptFields for private keys in PEM: what does not look like PEM has been encrypted before and stays.
func (k *Keyring) EncryptPEM(doc json.RawMessage, paths ...Path) json.RawMessage {
	if k == nil {
		return doc
	}
	return mapFields(doc, paths, func(text string) string {
		if !strings.HasPrefix(strings.TrimSpace(text), "---") {
			return text
		}
		return k.Encrypt(text)
	})
}

// DecryptFields undoes EncryptFields.
func (k *Keyring) DecryptFields(doc json.RawMessage, paths ...Path) json.RawMessage {
	if k == nil {
		return doc
	}
	return mapFields(doc, paths, k.Decrypt)
}

// mapFields replaces the strings at the paths.
func mapFields(doc json.RawMessage, paths []Path, replace func(string) string) json.RawMessage {
	if !slices.ContainsFunc(paths, func(p Path) bool { return p.mayBeIn(doc) }) {
		return doc
	}
	m := mapper{doc: doc, d: json.NewDecoder(bytes.NewReader(doc)), replace: replace}
	m.d.UseNumber()
	if m.value(paths, false) != nil || m.out == nil {
		return doc
	}
	return append(m.out, doc[m.done:]...)
}

// mayBeIn looks for the words of the path: most documents have none of its fields, and finding that out this way is much
// faster than reading them. An escape could hide a word.
func (p Path) mayBeIn(doc []byte) bool {
	return bytes.IndexByte(doc, '\\') >= 0 ||
		!slices.ContainsFunc(p, func(name string) bool { return !bytes.Contains(doc, []byte(name)) })
}

// mapper copies doc to out, from one replaced string to the next.
type mapper struct {
	doc     []byte
	d       *json.Decoder
	replace func(string) string
	out     []byte
	// done is how much of doc is in out.
	done int
}

// value reads the next value. paths lead on from it; all says that one has ended at it or above it.
func (m *mapper) value(paths []Path, all bool) error {
	before := m.d.InputOffset()
	token, err := m.d.Token()
	if err != nil {
		return err
	}
	all = all || slices.ContainsFunc(paths, func(p Path) bool { return len(p) == 0 })
	switch token := token.(type) {
	case string:
		if all {
			m.put(int(before), token)
		}
	case json.Delim:
		for m.d.More() {
			inner := paths
			if token == '{' {
				name, err := m.d.Token()
				if err != nil {
					return err
				}
				inner = below(paths, name.(string))
			}
			if err := m.value(inner, all); err != nil {
				return err
			}
		}
		_, err = m.d.Token()
	}
	return err
}

// below returns the paths that go on in a member, without its name.
func below(paths []Path, name string) (rest []Path) {
	for _, p := range paths {
		if len(p) > 0 && p[0] == name {
			rest = append(rest, p[1:])
		}
	}
	return rest
}

// put replaces the string that has just been read. It begins at the first quote behind before.
func (m *mapper) put(before int, text string) {
	replaced := m.replace(text)
	if replaced == text {
		return
	}
	start := before + bytes.IndexByte(m.doc[before:], '"')
	m.out = append(m.out, m.doc[m.done:start]...)
	m.out = append(m.out, quote(replaced)...)
	m.done = int(m.d.InputOffset())
}

// quote returns text as a JSON string with nothing escaped that need not be.
func quote(text string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	// A string cannot fail to be encoded.
	_ = e.Encode(text)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
