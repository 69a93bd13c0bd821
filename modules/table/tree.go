// SPDX-License-Identifier: Apache-2.0

package table

import (
	"slices"
	"strings"
)

// tree is an immutable map from text to *T, ordered by key: a radix tree with compressed edges. A change copies the
// nodes on the way to the key and shares all others. The nil tree is empty.
type tree[T any] struct {
	label string
	value *T
	// first holds the first byte of each child's label, ascending, in the order of children.
	first    string
	children []*tree[T]
}

// with returns the tree with value under key.
func (n *tree[T]) with(key string, value *T) *tree[T] {
	if n == nil {
		return &tree[T]{label: key, value: value}
	}
	shared := sharedPrefix(n.label, key)
	rest := key[shared:]
	if shared < len(n.label) {
		lower := *n
		lower.label = n.label[shared:]
		upper := &tree[T]{label: n.label[:shared], first: lower.label[:1], children: []*tree[T]{&lower}}
		if rest == "" {
			upper.value = value
			return upper
		}
		return upper.withChild(&tree[T]{label: rest, value: value})
	}
	if rest == "" {
		changed := *n
		changed.value = value
		return &changed
	}
	i := strings.IndexByte(n.first, rest[0])
	if i < 0 {
		return n.withChild(&tree[T]{label: rest, value: value})
	}
	changed := *n
	changed.children = slices.Clone(n.children)
	changed.children[i] = n.children[i].with(rest, value)
	return &changed
}

func (n *tree[T]) withChild(child *tree[T]) *tree[T] {
	changed := *n
	i := 0
	for i < len(n.first) && n.first[i] < child.label[0] {
		i++
	}
	changed.first = n.first[:i] + child.label[:1] + n.first[i:]
	changed.children = make([]*tree[T], len(n.children)+1)
	copy(changed.children, n.children[:i])
	changed.children[i] = child
	copy(changed.children[i+1:], n.children[i:])
	return &changed
}

// without returns the tree without key, and the same tree when it was not there.
func (n *tree[T]) without(key string) *tree[T] {
	if n == nil || !strings.HasPrefix(key, n.label) {
		return n
	}
	rest := key[len(n.label):]
	changed := *n
	if rest == "" {
		if n.value == nil {
			return n
		}
		changed.value = nil
		return changed.compact()
	}
	i := strings.IndexByte(n.first, rest[0])
	if i < 0 {
		return n
	}
	child := n.children[i].without(rest)
	if child == n.children[i] {
		return n
	}
	if child != nil {
		changed.children = slices.Clone(n.children)
		changed.children[i] = child
		return &changed
	}
	changed.first = n.first[:i] + n.first[i+1:]
	changed.children = slices.Concat(n.children[:i], n.children[i+1:])
	return changed.compact()
}

// compact returns n as it has to look after it lost its value or a child. It may change n.
func (n *tree[T]) compact() *tree[T] {
	switch {
	case n.value != nil || len(n.children) > 1:
		return n
	case len(n.children) == 0:
		return nil
	}
	only := *n.children[0]
	only.label = n.label + only.label
	return &only
}

// get returns what is under key, or nil.
func (n *tree[T]) get(key string) *T {
	for n != nil {
		if len(key) < len(n.label) || key[:len(n.label)] != n.label {
			return nil
		}
		key = key[len(n.label):]
		if key == "" {
			return n.value
		}
		n = n.child(key[0])
	}
	return nil
}

func (n *tree[T]) child(first byte) *tree[T] {
	i := strings.IndexByte(n.first, first)
	if i < 0 {
		return nil
	}
	return n.children[i]
}

// each calls yield for every value in the order of their keys until it returns false, and reports whether it never did.
func (n *tree[T]) each(yield func(*T) bool) bool {
	if n == nil {
		return true
	}
	if n.value != nil && !yield(n.value) {
		return false
	}
	for _, child := range n.children {
		if !child.each(yield) {
			return false
		}
	}
	return true
}

// under returns the part of the tree whose keys begin with prefix.
func (n *tree[T]) under(prefix string) *tree[T] {
	for n != nil {
		if strings.HasPrefix(n.label, prefix) {
			return n
		}
		if !strings.HasPrefix(prefix, n.label) {
			return nil
		}
		prefix = prefix[len(n.label):]
		n = n.child(prefix[0])
	}
	return nil
}

func sharedPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
