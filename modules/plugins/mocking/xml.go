// SPDX-License-Identifier: Apache-2.0

package mocking

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// writeXML writes a made-up value as an element "data": members are elements of their name, and so are the items of a list,
// one after the other.
func writeXML(value any) []byte {
	var b bytes.Buffer
	writeElement(&b, "data", value, 0)
	return b.Bytes()
}

func writeElement(b *bytes.Buffer, name string, value any, depth int) {
	if items, ok := value.([]any); ok {
		for _, item := range items {
			writeElement(b, name, item, depth)
		}
		return
	}
	name = elementName(name)
	indent(b, depth)
	b.WriteString("<" + name + ">")
	if members, ok := value.(object); ok {
		b.WriteByte('\n')
		for _, m := range members {
			writeElement(b, m.name, m.value, depth+1)
		}
		indent(b, depth)
	} else {
		// A Buffer takes all that is written to it.
		_ = xml.EscapeText(b, fmt.Append(nil, value))
	}
	b.WriteString("</" + name + ">\n")
}

func indent(b *bytes.Buffer, depth int) {
	for range depth {
		b.WriteString("  ")
	}
}

// elementName makes a name of whatever a member is called.
func elementName(text string) string {
	name := []byte(text)
	for i, c := range name {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c >= 0x80
		digit := '0' <= c && c <= '9' || c == '-' || c == '.'
		if !letter && (!digit || i == 0) {
			name[i] = '_'
		}
	}
	if len(name) == 0 {
		return "_"
	}
	return string(name)
}
