// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"math/bits"
	"sync"
)

const (
	shardBits  = 8
	shardCount = 1 << shardBits
	// shardSlots is so much above a million keys by shards that an uneven spread does not reach it.
	shardSlots = 4608
	// firstSlots is what a shard begins with.
	firstSlots = 16
	// swept is how many slots are looked at for an expired one before a new one is taken.
	swept = 4
	// weighed is how many slots of a full shard are compared to find the one to give up, and tried how many are looked at
	// for so many that are not held.
	weighed, tried = 8, 256
)

// MaxKeys is how many keys a [Table] holds at most: 1 179 648. Each takes 24 bytes, the state's size, and up to 12 bytes of
// index; with a state of 24 bytes that is at most 71 MB. An empty table takes 32 KB.
const MaxKeys = shardCount * shardSlots

// Forever as an entry's Until keeps it until it is given up for another key.
const Forever = 1<<63 - 2

// Held as an entry's Until keeps it, whatever happens.
const Held = 1<<63 - 1

// Table keeps a state for each of many keys until its time is over. It is safe for concurrent use: keys are spread over
// shards, each with its own lock, held for some ten nanoseconds at a time. Nothing in it is seen by the garbage collector
// as long as S has no pointers.
//
// Memory is bounded by [MaxKeys]. New keys take the places of expired ones. When there is none, the one of eight that
// would expire first is forgotten before its time: it counts from zero when it comes again. Entries that are Held never
// are. Memory that was once used is kept for later keys.
type Table[S any] struct{ shards [shardCount]shard[S] }

// Entry is the state of one key. It belongs to whoever has locked it.
type Entry[S any] struct {
	key Key
	// Until is the time, in nanoseconds since 1970, at which the entry expires. 0 says that it is new: State is zero, and
	// whoever locked it sets both.
	Until int64
	State S
}

// shard is a hash table with chains. Shards do not share a cache line, and with a small state neither do two entries more
// than they must: what links them is apart, and looked at only when two keys meet.
type shard[S any] struct {
	mu sync.Mutex
	// buckets holds the place, from 1, of each chain's first entry; its length is a power of two. next holds the place of
	// the one after each entry.
	buckets, next []uint32
	slots         []Entry[S]
	// hand is where the next search for a place begins.
	hand int
	_    [128 - 8 - 3*24 - 8]byte
}

func (t *Table[S]) shard(key Key) *shard[S] { return &t.shards[key.a>>(64-shardBits)] }

// Lock returns the entry of a key, which may be new, and keeps everybody else from it until Unlock. It returns nil, and
// nothing is locked, when the table is full and hardly anything in it is not Held.
func (t *Table[S]) Lock(key Key, now int64) *Entry[S] {
	s := t.shard(key)
	s.mu.Lock()
	if e := s.find(key); e != nil {
		if e.Until <= now {
			var zero S
			e.Until, e.State = 0, zero
		}
		return e
	}
	e := s.add(key, now)
	if e == nil {
		s.mu.Unlock()
	}
	return e
}

// LockKnown is Lock for a key that has not expired; for another it returns nil, and nothing is locked.
func (t *Table[S]) LockKnown(key Key, now int64) *Entry[S] {
	s := t.shard(key)
	s.mu.Lock()
	if e := s.find(key); e != nil && e.Until > now {
		return e
	}
	s.mu.Unlock()
	return nil
}

// Unlock ends what Lock or LockKnown of the same key began.
func (t *Table[S]) Unlock(key Key) { t.shard(key).mu.Unlock() }

// Len counts the entries that have not expired.
func (t *Table[S]) Len(now int64) (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for j := range s.slots {
			if s.slots[j].Until > now {
				n++
			}
		}
		s.mu.Unlock()
	}
	return n
}

func (s *shard[S]) bucket(key Key) *uint32 { return &s.buckets[key.b&uint64(len(s.buckets)-1)] }

func (s *shard[S]) find(key Key) *Entry[S] {
	if len(s.buckets) == 0 {
		return nil
	}
	for place := *s.bucket(key); place != 0; {
		e := &s.slots[place-1]
		if e.key == key {
			return e
		}
		place = s.next[place-1]
	}
	return nil
}

// add returns a new entry for a key that has none.
func (s *shard[S]) add(key Key, now int64) *Entry[S] {
	at := s.expired(now)
	switch {
	case at >= 0:
		s.unlink(at)
	case len(s.slots) < shardSlots:
		at = s.grow()
	default:
		if at = s.victim(); at < 0 {
			return nil
		}
		s.unlink(at)
	}
	e := &s.slots[at]
	*e = Entry[S]{key: key}
	s.link(at)
	return e
}

// expired looks at the next few slots and returns one that has expired, or -1.
func (s *shard[S]) expired(now int64) int {
	for range min(swept, len(s.slots)) {
		at := s.turn()
		if s.slots[at].Until <= now {
			return at
		}
	}
	return -1
}

// victim returns the one of the next few slots that would expire first and is not held, or -1.
func (s *shard[S]) victim() int {
	best, seen := -1, 0
	for range tried {
		at := s.turn()
		if s.slots[at].Until == Held {
			continue
		}
		if best < 0 || s.slots[at].Until < s.slots[best].Until {
			best = at
		}
		if seen++; seen == weighed {
			break
		}
	}
	return best
}

func (s *shard[S]) turn() int {
	at := s.hand
	if at >= len(s.slots) {
		at = 0
	}
	s.hand = at + 1
	return at
}

// link makes a slot the first of its chain.
func (s *shard[S]) link(at int) {
	first := s.bucket(s.slots[at].key)
	s.next[at] = *first
	*first = uint32(at + 1)
}

// unlink takes a slot out of its chain.
func (s *shard[S]) unlink(at int) {
	place := s.bucket(s.slots[at].key)
	for *place != uint32(at+1) {
		place = &s.next[*place-1]
	}
	*place = s.next[at]
}

// grow adds a slot, and returns it.
func (s *shard[S]) grow() int {
	n := len(s.slots)
	if n == cap(s.slots) {
		size := min(shardSlots, max(firstSlots, 2*n))
		slots, next := make([]Entry[S], n, size), make([]uint32, size)
		copy(slots, s.slots)
		s.slots, s.next = slots, next
		s.buckets = make([]uint32, 1<<bits.Len(uint(size)))
		for at := range s.slots {
			s.link(at)
		}
	}
	s.slots = s.slots[:n+1]
	return n
}
