// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"container/list"
	"hash/maphash"
	"sync"
)

// memory keeps entries in shards, each with a lock and a list of its own.
type memory struct {
	seed   maphash.Seed
	shards [16]shard
}

type shard struct {
	mu sync.Mutex
	// The rest is guarded by mu. recent has *item, the most recently used first.
	items       map[string]*list.Element
	recent      list.List
	size, limit int64
}

type item struct {
	key   string
	entry *Entry
}

func newMemory(limit int64) *memory {
	m := &memory{seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].items = make(map[string]*list.Element)
		m.shards[i].limit = limit / int64(len(m.shards))
	}
	return m
}

func (m *memory) shard(key string) *shard {
	return &m.shards[maphash.String(m.seed, key)%uint64(len(m.shards))]
}

func (m *memory) get(key string) *Entry {
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.items[key]
	if e == nil {
		return nil
	}
	s.recent.MoveToFront(e)
	return e.Value.(*item).entry
}

func (m *memory) put(key string, entry *Entry) {
	s := m.shard(key)
	size := entry.size() + int64(len(key))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(s.items[key])
	if size > s.limit {
		return
	}
	s.items[key] = s.recent.PushFront(&item{key, entry})
	s.size += size
	for s.size > s.limit {
		s.drop(s.recent.Back())
	}
}

func (m *memory) remove(key string) *Entry {
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.items[key]
	if e == nil {
		return nil
	}
	s.drop(e)
	return e.Value.(*item).entry
}

// drop needs the lock.
func (s *shard) drop(e *list.Element) {
	if e == nil {
		return
	}
	i := s.recent.Remove(e).(*item)
	delete(s.items, i.key)
	s.size -= i.entry.size() + int64(len(i.key))
}
