// SPDX-License-Identifier: Apache-2.0

package table

import (
	"hash/maphash"
	"math/bits"
	"slices"
)

// hashMap is an immutable map from text to T: a hash trie with 64 ways. A change copies one node per level and shares
// all others. The zero value is empty. Nodes and values stand in their parent's array, so that each level costs one cache miss.
type hashMap[T any] struct {
	// used has a bit for each slot that is there. Nodes below the last level keep all their slots in a row instead.
	used  uint64
	slots []hashSlot[T]
}

// hashSlot is a pair, or a node of the next level when next has slots.
type hashSlot[T any] struct {
	key   string
	next  hashMap[T]
	value T
}

func (s *hashSlot[T]) isNode() bool { return len(s.next.slots) > 0 }

const (
	hashStep = 6
	hashBits = 60
)

var hashSeed = maphash.MakeSeed()

func hashOf(key string) uint64 { return maphash.String(hashSeed, key) }

// get returns what is under key, or nil. It must not be changed.
func (m *hashMap[T]) get(key string) *T {
	_, value := m.find(key)
	return value
}

// find is get that also returns the key as the map holds it.
func (m *hashMap[T]) find(key string) (held string, value *T) {
	if len(m.slots) == 0 {
		return "", nil
	}
	hash := hashOf(key)
	for range hashBits / hashStep {
		bit := uint64(1) << (hash & (1<<hashStep - 1))
		if m.used&bit == 0 {
			return "", nil
		}
		slot := &m.slots[bits.OnesCount64(m.used&(bit-1))]
		if !slot.isNode() {
			if slot.key != key {
				return "", nil
			}
			return slot.key, &slot.value
		}
		m = &slot.next
		hash >>= hashStep
	}
	if i := m.index(key); i >= 0 {
		return m.slots[i].key, &m.slots[i].value
	}
	return "", nil
}

// index finds key in a node below the last level.
func (m *hashMap[T]) index(key string) int {
	return slices.IndexFunc(m.slots, func(s hashSlot[T]) bool { return s.key == key })
}

// with returns the map with value under key.
func (m hashMap[T]) with(key string, value T) hashMap[T] {
	return m.put(hashSlot[T]{key: key, value: value}, hashOf(key), hashBits)
}

// put inserts a pair; hash is what is left of its key's after the levels above, left how many bits of it count.
func (m hashMap[T]) put(pair hashSlot[T], hash uint64, left int) hashMap[T] {
	if left == 0 {
		if i := m.index(pair.key); i >= 0 {
			return m.replaced(i, pair)
		}
		return hashMap[T]{slots: append(slices.Clip(m.slots), pair)}
	}
	bit := uint64(1) << (hash & (1<<hashStep - 1))
	i := bits.OnesCount64(m.used & (bit - 1))
	if m.used&bit == 0 {
		slots := make([]hashSlot[T], len(m.slots)+1)
		copy(slots, m.slots[:i])
		slots[i] = pair
		copy(slots[i+1:], m.slots[i:])
		return hashMap[T]{used: m.used | bit, slots: slots}
	}
	old := m.slots[i]
	if !old.isNode() {
		if old.key == pair.key {
			return m.replaced(i, pair)
		}
		old = hashSlot[T]{next: hashMap[T]{}.put(old, hashOf(old.key)>>(hashBits-left+hashStep), left-hashStep)}
	}
	return m.replaced(i, hashSlot[T]{next: old.next.put(pair, hash>>hashStep, left-hashStep)})
}

func (m hashMap[T]) replaced(i int, slot hashSlot[T]) hashMap[T] {
	changed := hashMap[T]{used: m.used, slots: slices.Clone(m.slots)}
	changed.slots[i] = slot
	return changed
}

// without returns the map without key.
func (m hashMap[T]) without(key string) hashMap[T] {
	if m.get(key) == nil {
		return m
	}
	return m.drop(key, hashOf(key), hashBits)
}

// drop removes a key that is there.
func (m hashMap[T]) drop(key string, hash uint64, left int) hashMap[T] {
	if left == 0 {
		i := m.index(key)
		return hashMap[T]{slots: slices.Concat(m.slots[:i], m.slots[i+1:])}
	}
	bit := uint64(1) << (hash & (1<<hashStep - 1))
	i := bits.OnesCount64(m.used & (bit - 1))
	if !m.slots[i].isNode() {
		return hashMap[T]{used: m.used &^ bit, slots: slices.Concat(m.slots[:i], m.slots[i+1:])}
	}
	next := m.slots[i].next.drop(key, hash>>hashStep, left-hashStep)
	if len(next.slots) == 1 && !next.slots[0].isNode() {
		return m.replaced(i, next.slots[0])
	}
	return m.replaced(i, hashSlot[T]{next: next})
}
