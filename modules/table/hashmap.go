// SPDX-License-Identifier: Apache-2.0

package table

import (
	"hash/maphash"
	"math/bits"
	"slices"
)

// hashMap is an immutable map from text to *T: a hash trie with 64 ways. A change copies one node per level and shares
// all others. The nil map is empty.
type hashMap[T any] struct {
	// used has a bit for each slot that is there. Nodes below the last level keep all their slots in a row instead.
	used  uint64
	slots []hashSlot[T]
}

// hashSlot is a pair, or a node of the next level when next is not nil.
type hashSlot[T any] struct {
	key   string
	value *T
	next  *hashMap[T]
}

const (
	hashStep = 6
	hashBits = 60
)

var hashSeed = maphash.MakeSeed()

func hashOf(key string) uint64 { return maphash.String(hashSeed, key) }

// get returns what is under key, or nil.
func (m *hashMap[T]) get(key string) *T {
	if m == nil {
		return nil
	}
	hash := hashOf(key)
	for range hashBits / hashStep {
		bit := uint64(1) << (hash & (1<<hashStep - 1))
		if m.used&bit == 0 {
			return nil
		}
		slot := &m.slots[bits.OnesCount64(m.used&(bit-1))]
		if slot.next == nil {
			if slot.key != key {
				return nil
			}
			return slot.value
		}
		m = slot.next
		hash >>= hashStep
	}
	if i := m.index(key); i >= 0 {
		return m.slots[i].value
	}
	return nil
}

// index finds key in a node below the last level.
func (m *hashMap[T]) index(key string) int {
	return slices.IndexFunc(m.slots, func(s hashSlot[T]) bool { return s.key == key })
}

// with returns the map with value under key.
func (m *hashMap[T]) with(key string, value *T) *hashMap[T] {
	return m.withHash(hashSlot[T]{key: key, value: value}, hashOf(key), hashBits)
}

func (m *hashMap[T]) withHash(slot hashSlot[T], hash uint64, left int) *hashMap[T] {
	if m == nil {
		m = &hashMap[T]{}
	}
	if left == 0 {
		if i := m.index(slot.key); i >= 0 {
			return m.replaced(i, slot)
		}
		return &hashMap[T]{slots: append(slices.Clip(m.slots), slot)}
	}
	bit := uint64(1) << (hash & (1<<hashStep - 1))
	i := bits.OnesCount64(m.used & (bit - 1))
	if m.used&bit == 0 {
		return &hashMap[T]{used: m.used | bit, slots: slices.Insert(slices.Clip(m.slots), i, slot)}
	}
	old := m.slots[i]
	if old.next == nil && old.key == slot.key {
		return m.replaced(i, slot)
	}
	next := old.next
	if next == nil {
		next = next.withHash(old, hashOf(old.key)>>(hashBits-left+hashStep), left-hashStep)
	}
	return m.replaced(i, hashSlot[T]{next: next.withHash(slot, hash>>hashStep, left-hashStep)})
}

func (m *hashMap[T]) replaced(i int, slot hashSlot[T]) *hashMap[T] {
	changed := &hashMap[T]{used: m.used, slots: slices.Clone(m.slots)}
	changed.slots[i] = slot
	return changed
}

// without returns the map without key, and the same map when it was not there.
func (m *hashMap[T]) without(key string) *hashMap[T] {
	return m.withoutHash(key, hashOf(key), hashBits)
}

func (m *hashMap[T]) withoutHash(key string, hash uint64, left int) *hashMap[T] {
	if m == nil {
		return nil
	}
	var i int
	var bit uint64
	if left == 0 {
		if i = m.index(key); i < 0 {
			return m
		}
	} else {
		bit = uint64(1) << (hash & (1<<hashStep - 1))
		if m.used&bit == 0 {
			return m
		}
		i = bits.OnesCount64(m.used & (bit - 1))
	}
	slot := m.slots[i]
	if slot.next == nil {
		if slot.key != key {
			return m
		}
		return m.removed(i, bit)
	}
	next := slot.next.withoutHash(key, hash>>hashStep, left-hashStep)
	switch {
	case next == slot.next:
		return m
	case next == nil:
		return m.removed(i, bit)
	case len(next.slots) == 1 && next.slots[0].next == nil:
		return m.replaced(i, next.slots[0])
	}
	return m.replaced(i, hashSlot[T]{next: next})
}

func (m *hashMap[T]) removed(i int, bit uint64) *hashMap[T] {
	if len(m.slots) == 1 {
		return nil
	}
	return &hashMap[T]{used: m.used &^ bit, slots: slices.Concat(m.slots[:i], m.slots[i+1:])}
}
