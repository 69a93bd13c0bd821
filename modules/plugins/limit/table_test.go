// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"testing"
)

// TestTable is the table beside a map, with a clock that jumps.
func TestTable(t *testing.T) {
	type entry struct{ until, value int64 }
	var table Table[int64]
	twin := make(map[string]entry)
	scope := NewScope("s")
	random := rand.New(rand.NewPCG(1, 2))
	now := int64(1)
	for range 200_000 {
		now += random.Int64N(20)
		text := fmt.Sprint(random.IntN(3000))
		key := scope.Key(text)
		want, known := twin[text]
		known = known && want.until > now
		if random.IntN(4) == 0 {
			e := table.LockKnown(key, now)
			if (e != nil) != known || e != nil && e.State != want.value {
				t.Fatalf("known %v at %d: got %+v, want %+v", text, now, e, want)
			}
			if e != nil {
				table.Unlock(key)
			}
			continue
		}
		e := table.Lock(key, now)
		if !known {
			want = entry{}
		}
		if e.Until != want.until || e.State != want.value {
			t.Fatalf("%v at %d: got %+v, want %+v", text, now, *e, want)
		}
		if e.Until == 0 {
			e.Until = now + random.Int64N(10_000)
		}
		e.State++
		twin[text] = entry{e.Until, e.State}
		table.Unlock(key)
	}
	live := 0
	for _, e := range twin {
		if e.until > now {
			live++
		}
	}
	if got := table.Len(now); got != live || live == 0 {
		t.Errorf("%d entries, want %d", got, live)
	}
	slots := 0
	for i := range table.shards {
		slots += len(table.shards[i].slots)
	}
	if slots > 3000 {
		t.Errorf("%d slots were used for at most 3000 keys: expired ones are not used again", slots)
	}
}

// TestMillion: a million keys are held, whatever they are, and the memory is what MaxKeys says.
func TestMillion(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a table")
	}
	const million = 1_000_000
	type window [3]int64
	table := new(Table[window])
	scope := NewScope("million")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var text []byte
	for i := range int64(million) {
		text = fmt.Append(text[:0], "192.0.2.", i)
		key := scope.KeyOf(text)
		e := table.Lock(key, 1)
		e.Until, e.State[0] = 100, i
		table.Unlock(key)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	for i := range int64(million) {
		key := scope.Key(fmt.Sprint("192.0.2.", i))
		e := table.LockKnown(key, 1)
		if e == nil || e.State[0] != i {
			t.Fatalf("key %d was lost", i)
		}
		table.Unlock(key)
	}
	if size := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) >> 20; size > 80 {
		t.Errorf("a million keys take %d MB", size)
	}
}

// TestFull: a full table stays as large as it is, and gives up what would end soonest, roughly.
func TestFull(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a table")
	}
	table := new(Table[int64])
	scope := NewScope("full")
	random := rand.New(rand.NewPCG(3, 4))
	put := func(text string, until int64) {
		key := scope.Key(text)
		table.Lock(key, 1).Until = until
		table.Unlock(key)
	}
	const horizon = 1_000_000
	for i := range MaxKeys + MaxKeys/8 {
		put(strconv.Itoa(i), 2+random.Int64N(horizon))
	}
	for i := range MaxKeys / 2 {
		put("x"+strconv.Itoa(i), Forever)
	}
	if n := table.Len(1); n != MaxKeys {
		t.Errorf("%d keys, want %d", n, MaxKeys)
	}
	sum, n := int64(0), int64(0)
	for i := range table.shards {
		for j := range table.shards[i].slots {
			if until := table.shards[i].slots[j].Until; until <= 2+horizon {
				sum, n = sum+until, n+1
			}
		}
	}
	if mean := sum / n; mean < horizon*6/10 {
		t.Errorf("what is left ends at %d of %d on average: not what ends soonest was given up", mean, horizon)
	}
}

// TestHeld: what is held stays, and a table full of it takes no more.
func TestHeld(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a table")
	}
	table := new(Table[int64])
	scope := NewScope("held")
	full := 0
	for i := range MaxKeys + MaxKeys/4 {
		key := scope.Key(strconv.Itoa(i))
		e := table.Lock(key, 1)
		if e == nil {
			full++
			continue
		}
		e.Until = Held
		table.Unlock(key)
	}
	if n := table.Len(1); n != MaxKeys || full != MaxKeys/4 {
		t.Errorf("%d are held and %d were refused, want %d and %d", n, full, MaxKeys, MaxKeys/4)
	}
	key := scope.Key("0")
	table.LockKnown(key, 1).Until = 0
	table.Unlock(key)
	// A new key of the same shard finds the place: the search goes on where it ended.
	found := false
	for i := range 100 * shardCount {
		other := scope.Key(fmt.Sprint("x", i))
		if e := table.Lock(other, 1); e != nil {
			found = true
			table.Unlock(other)
			break
		}
	}
	if !found {
		t.Error("a key that was let go of has left no room")
	}
}

func TestTableInParallel(t *testing.T) {
	var table Table[int64]
	scope := NewScope("parallel")
	var all sync.WaitGroup
	const workers, rounds, keys = 8, 5000, 50
	for range workers {
		all.Go(func() {
			for i := range rounds {
				key := scope.Key(fmt.Sprint(i % keys))
				e := table.Lock(key, 1)
				e.Until = Forever
				e.State++
				table.Unlock(key)
			}
		})
	}
	all.Wait()
	for i := range keys {
		key := scope.Key(fmt.Sprint(i))
		if e := table.LockKnown(key, 1); e == nil || e.State != workers*rounds/keys {
			t.Errorf("key %d: %+v, want %d", i, e, workers*rounds/keys)
		} else {
			table.Unlock(key)
		}
	}
}

// TestScopes: equal texts are equal scopes, and neither scopes nor keys are mixed up.
func TestScopes(t *testing.T) {
	a, again, b := NewScope("a"), NewScope("a"), NewScope("b")
	if a.Key("x") != again.Key("x") || a.Key("x") != a.KeyOf([]byte("x")) {
		t.Error("one key is two")
	}
	seen := make(map[Key]string)
	for _, c := range []struct {
		scope *Scope
		key   string
	}{{&a, "x"}, {&a, "y"}, {&b, "x"}, {&b, "y"}, {&a, ""}, {&b, ""}, {&a, "a"}, {&a, "b"}, {&b, "a"}, {&b, "b"}} {
		text := c.scope.Text(c.key)
		if other := seen[c.scope.Key(c.key)]; other != "" {
			t.Errorf("%s has the key of %s", text, other)
		}
		seen[c.scope.Key(c.key)] = text
	}
}

func BenchmarkTable(b *testing.B) {
	for _, keys := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(keys), func(b *testing.B) {
			var table Table[[3]int64]
			scope := NewScope("bench")
			texts := make([]string, keys)
			for i := range texts {
				texts[i] = fmt.Sprint("192.0.2.", i)
				key := scope.Key(texts[i])
				table.Lock(key, 1).Until = Forever
				table.Unlock(key)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 7919) % keys
				key := scope.Key(texts[i])
				e := table.Lock(key, 1)
				e.Until = Forever
				e.State[0]++
				table.Unlock(key)
			}
		})
	}
}
