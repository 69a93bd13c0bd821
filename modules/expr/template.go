// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// Template is text with variables in it: $name, ${name}, and \$ for a dollar sign. Variables that are absent or unknown are
// empty. It is immutable.
type Template struct{ parts []templatePart }

// templatePart is a variable, or text when read is nil.
type templatePart struct {
	text string
	read Var
}

// ParseTemplate compiles a template. Every text is one: a dollar sign that no name follows stands for itself.
func ParseTemplate(text string) *Template {
	t := new(Template)
	for text != "" {
		i := strings.IndexByte(text, '$')
		if i < 0 {
			break
		}
		if i > 0 && text[i-1] == '\\' {
			t.literal(text[:i-1] + "$")
			text = text[i+1:]
			continue
		}
		name, rest := cutName(text[i+1:])
		if name == "" {
			t.literal(text[:i+1])
			text = text[i+1:]
			continue
		}
		t.literal(text[:i])
		t.parts = append(t.parts, templatePart{read: Variable(name)})
		text = rest
	}
	t.literal(text)
	return t
}

func (t *Template) literal(text string) {
	if text == "" {
		return
	}
	if last := len(t.parts) - 1; last >= 0 && t.parts[last].read == nil {
		t.parts[last].text += text
		return
	}
	t.parts = append(t.parts, templatePart{text: text})
}

// cutName takes a variable's name off the text behind a dollar sign. A dot ends a name that stands without braces, so that
// "$host.example.com" means what it seems to, but for post_arg, which is nothing without one.
func cutName(text string) (name, rest string) {
	if inner, ok := strings.CutPrefix(text, "{"); ok {
		name, rest, ok = strings.Cut(inner, "}")
		if !ok || nameLength(name, "._-[]*") != len(name) {
			return "", ""
		}
		return name, rest
	}
	n := nameLength(text, "_")
	if text[:n] == "post_arg" && n < len(text) && text[n] == '.' {
		n = len(strings.TrimRight(text[:nameLength(text, "._[]*")], "."))
	}
	return text[:n], text[n:]
}

// nameLength counts the letters, digits and characters of also that text begins with.
func nameLength(text, also string) int {
	for i := range len(text) {
		c := text[i]
		isLetter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !isLetter && !isDigit(c) && strings.IndexByte(also, c) < 0 {
			return i
		}
	}
	return len(text)
}

// Append appends the text to dst.
func (t *Template) Append(dst []byte, x *gateway.Exchange) []byte {
	for i := range t.parts {
		if read := t.parts[i].read; read != nil {
			text, _ := read(x)
			dst = append(dst, text...)
			continue
		}
		dst = append(dst, t.parts[i].text...)
	}
	return dst
}

// String returns the text. It may be a part of the exchange: clone what must outlive it.
func (t *Template) String(x *gateway.Exchange) string {
	switch {
	case len(t.parts) == 0:
		return ""
	case len(t.parts) > 1:
		return string(t.Append(nil, x))
	case t.parts[0].read != nil:
		text, _ := t.parts[0].read(x)
		return text
	}
	return t.parts[0].text
}

// Const returns the text of a template without variables.
func (t *Template) Const() (text string, ok bool) {
	switch {
	case len(t.parts) == 0:
		return "", true
	case len(t.parts) > 1 || t.parts[0].read != nil:
		return "", false
	}
	return t.parts[0].text, true
}
