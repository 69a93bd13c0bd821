// SPDX-License-Identifier: Apache-2.0

package table

import (
	"bytes"
	"slices"
	"strings"
)

// tree is an immutable map from text to *T, ordered by key: a radix tree with compressed edges. A change copies the
// nodes on the way to the key and shares all others. The nil tree is empty.
//
// A walk through a large table is a chain of cache misses, so a node is made to cost one: children stand in their
// parent's array, and labels and the children's first bytes in the node.
type tree[T any] struct {
	value    *T
	children []tree[T]
	// first holds the first byte of each child's label, ascending, while there are no more children than it has room
	// for.
	first [16]byte
	size  uint8
	text  [maxLabel]byte
}

// maxLabel is the longest label. Longer ones take several nodes.
const maxLabel = 31

func newNode[T any](key string, value *T) tree[T] {
	n := tree[T]{size: uint8(min(len(key), maxLabel))}
	copy(n.text[:], key)
	if len(key) <= maxLabel {
		n.value = value
		return n
	}
	n.setChildren([]tree[T]{newNode(key[maxLabel:], value)})
	return n
}

func (n *tree[T]) label() []byte { return n.text[:n.size] }

func (n *tree[T]) setLabel(label []byte) {
	// label may be part of n.text.
	n.size = uint8(copy(n.text[:], label))
	clear(n.text[n.size:])
}

func (n *tree[T]) setChildren(children []tree[T]) {
	n.children = children
	clear(n.first[:])
	for i := range children[:min(len(children), len(n.first))] {
		n.first[i] = children[i].text[0]
	}
}

// find returns the place of the child whose label begins with b, or where it would be inserted.
func (n *tree[T]) find(b byte) (int, bool) {
	if count := len(n.children); count <= len(n.first) {
		i := bytes.IndexByte(n.first[:count], b)
		if i >= 0 {
			return i, true
		}
	}
	return slices.BinarySearchFunc(n.children, b, func(child tree[T], b byte) int { return int(child.text[0]) - int(b) })
}

// child returns the child whose label begins with b, or nil.
func (n *tree[T]) child(b byte) *tree[T] {
	if count := len(n.children); count <= len(n.first) {
		for i, c := range n.first[:count] {
			if c == b {
				return &n.children[i]
			}
		}
		return nil
	}
	low, high := 0, len(n.children)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if n.children[middle].text[0] < b {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low < len(n.children) && n.children[low].text[0] == b {
		return &n.children[low]
	}
	return nil
}

// cut returns what follows the node's label in s. ok is false when s does not begin with it.
func (n *tree[T]) cut(s string) (rest string, ok bool) {
	size := int(n.size)
	if len(s) < size || s[:size] != string(n.text[:size]) {
		return "", false
	}
	return s[size:], true
}

// with returns the tree with value under key.
func (n *tree[T]) with(key string, value *T) *tree[T] {
	if n == nil {
		changed := newNode(key, value)
		return &changed
	}
	changed := n.put(key, value)
	return &changed
}

func (n *tree[T]) put(key string, value *T) tree[T] {
	shared := sharedPrefix(n.label(), key)
	rest := key[shared:]
	changed := *n
	if shared < int(n.size) {
		lower := *n
		lower.setLabel(n.text[shared:n.size])
		changed = newNode[T](key[:shared], nil)
		changed.setChildren([]tree[T]{lower})
	}
	if rest == "" {
		changed.value = value
		return changed
	}
	i, ok := changed.find(rest[0])
	if ok {
		children := slices.Clone(changed.children)
		children[i] = children[i].put(rest, value)
		changed.setChildren(children)
		return changed
	}
	children := make([]tree[T], len(changed.children)+1)
	copy(children, changed.children[:i])
	children[i] = newNode(rest, value)
	copy(children[i+1:], changed.children[i:])
	changed.setChildren(children)
	return changed
}

// without returns the tree without key, and the same tree when it was not there.
func (n *tree[T]) without(key string) *tree[T] {
	if n == nil || n.get(key) == nil {
		return n
	}
	changed, empty := n.drop(key)
	if empty {
		return nil
	}
	return &changed
}

// drop removes a key that is there. empty says that nothing is left.
func (n *tree[T]) drop(key string) (changed tree[T], empty bool) {
	changed = *n
	rest, _ := n.cut(key)
	if rest == "" {
		changed.value = nil
	} else {
		i, _ := n.find(rest[0])
		if child, gone := n.children[i].drop(rest); gone {
			changed.setChildren(slices.Concat(n.children[:i], n.children[i+1:]))
		} else {
			children := slices.Clone(n.children)
			children[i] = child
			changed.setChildren(children)
		}
	}
	if changed.value != nil || len(changed.children) > 1 {
		return changed, false
	}
	if len(changed.children) == 0 {
		return changed, true
	}
	only := changed.children[0]
	if label := slices.Concat(n.label(), only.label()); len(label) <= maxLabel {
		only.setLabel(label)
		return only, false
	}
	return changed, false
}

// get returns what is under key, or nil.
func (n *tree[T]) get(key string) *T {
	for n != nil {
		rest, ok := n.cut(key)
		if !ok {
			return nil
		}
		if rest == "" {
			return n.value
		}
		n, key = n.child(rest[0]), rest
	}
	return nil
}

// each calls yield for every value in the order of their keys until it returns false, and reports whether it never did.
func (n *tree[T]) each(yield func(*T) bool) bool {
	if n == nil {
		return true
	}
	if n.value != nil && !yield(n.value) {
		return false
	}
	for i := range n.children {
		if !n.children[i].each(yield) {
			return false
		}
	}
	return true
}

// under returns the part of the tree whose keys begin with prefix.
func (n *tree[T]) under(prefix string) *tree[T] {
	for n != nil {
		if strings.HasPrefix(string(n.label()), prefix) {
			return n
		}
		rest, ok := n.cut(prefix)
		if !ok {
			return nil
		}
		n, prefix = n.child(rest[0]), rest
	}
	return nil
}

func sharedPrefix(a []byte, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
