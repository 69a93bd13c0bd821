// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"iter"
	"slices"
)

// Field is one header field line. The name keeps the case it was received or set with.
type Field struct{ Name, Value string }

// Header is an ordered list of field lines. Names compare without regard to ASCII case. It belongs to one goroutine;
// the zero value is empty and ready. Reset keeps its memory, so that a reused Header allocates nothing.
type Header struct{ fields []Field }

// Len returns the number of field lines.
func (h *Header) Len() int { return len(h.fields) }

// All yields the field lines in order. The header must not be changed meanwhile.
func (h *Header) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for i := range h.fields {
			if !yield(h.fields[i].Name, h.fields[i].Value) {
				return
			}
		}
	}
}

// Get returns the first value of name, or "".
func (h *Header) Get(name string) string {
	value, _ := h.Lookup(name)
	return value
}

// Lookup returns the first value of name, and whether there is one.
func (h *Header) Lookup(name string) (string, bool) {
	for i := range h.fields {
		if EqualFold(h.fields[i].Name, name) {
			return h.fields[i].Value, true
		}
	}
	return "", false
}

// Values yields the values of name in order.
func (h *Header) Values(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range h.fields {
			if EqualFold(h.fields[i].Name, name) && !yield(h.fields[i].Value) {
				return
			}
		}
	}
}

// ValuesByAlias yields the values of every field whose name equals name when case is ignored and '-' and '_' are the
// same character: the rule by which $http_x_y names a field.
func (h *Header) ValuesByAlias(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range h.fields {
			if equalAlias(h.fields[i].Name, name) && !yield(h.fields[i].Value) {
				return
			}
		}
	}
}

// Add appends a field line.
func (h *Header) Add(name, value string) {
	h.fields = append(h.fields, Field{name, value})
}

// Set gives name one value, in the place of its first line, and removes its other lines.
func (h *Header) Set(name, value string) {
	for i := range h.fields {
		if !EqualFold(h.fields[i].Name, name) {
			continue
		}
		h.fields[i].Value = value
		rest := h.fields[i+1:]
		kept := slices.DeleteFunc(rest, func(f Field) bool { return EqualFold(f.Name, name) })
		h.fields = h.fields[:i+1+len(kept)]
		return
	}
	h.Add(name, value)
}

// Del removes every line of name.
func (h *Header) Del(name string) {
	h.fields = slices.DeleteFunc(h.fields, func(f Field) bool { return EqualFold(f.Name, name) })
}

// DelAliases removes every line that a node might read as name: case is ignored and '-' and '_' are the same. CGI and
// its descendants fold them together, so "X_Consumer_Username" would pass for a field that the gateway alone may set.
func (h *Header) DelAliases(name string) {
	h.fields = slices.DeleteFunc(h.fields, func(f Field) bool { return equalAlias(f.Name, name) })
}

// DelFunc removes every line for which drop returns true.
func (h *Header) DelFunc(drop func(name, value string) bool) {
	h.fields = slices.DeleteFunc(h.fields, func(f Field) bool { return drop(f.Name, f.Value) })
}

// Reset removes every line and keeps the memory.
func (h *Header) Reset() {
	clear(h.fields)
	h.fields = h.fields[:0]
}

var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			t[i] += 'a' - 'A'
		}
	}
	return t
}()

// EqualFold reports whether a and b are equal when ASCII case is ignored (RFC 9110 section 5.1).
func EqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower[a[i]] != lower[b[i]] {
			return false
		}
	}
	return true
}

func equalAlias(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := lower[a[i]], lower[b[i]]
		if x == '_' {
			x = '-'
		}
		if y == '_' {
			y = '-'
		}
		if x != y {
			return false
		}
	}
	return true
}
