// SPDX-License-Identifier: Apache-2.0

package table

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// randomKey makes keys that share prefixes, some longer than a label.
func randomKey(r *rand.Rand) string {
	key := strings.Repeat(pick(r, []string{"", "a", "/long/"}), r.IntN(12))
	for range r.IntN(5) {
		key += string(rune('a' + r.IntN(26)))
	}
	return key
}

// TestTreeAgainstMap changes a tree and a map alike. Every version of the tree has to stay as it was.
func TestTreeAgainstMap(t *testing.T) {
	type versions struct {
		tree *tree[string]
		want map[string]string
	}
	r := rand.New(rand.NewPCG(1, 1))
	var current versions
	current.want = map[string]string{}
	var all []versions
	for i := range 3000 {
		key := randomKey(r)
		current.want = maps.Clone(current.want)
		if r.IntN(3) == 0 {
			delete(current.want, key)
			current.tree = current.tree.without(key)
		} else {
			value := key + "="
			current.want[key] = value
			current.tree = current.tree.with(key, &value)
		}
		if i%100 == 0 {
			all = append(all, current)
		}
	}
	for _, v := range append(all, current) {
		var got []string
		v.tree.each(func(value *string) bool {
			got = append(got, *value)
			return true
		})
		want := slices.Collect(maps.Values(v.want))
		slices.SortFunc(want, func(a, b string) int { return strings.Compare(a[:len(a)-1], b[:len(b)-1]) })
		if !slices.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		for range 200 {
			key := randomKey(r)
			value := v.tree.get(key)
			if want, ok := v.want[key]; ok != (value != nil) || ok && *value != want {
				t.Fatalf("get %q: got %v, want %q", key, value, want)
			}
			compareUnder(t, v.tree, want, key)
		}
	}
	for key := range current.want {
		current.tree = current.tree.without(key)
	}
	if current.tree != nil {
		t.Error("an empty tree is not nil")
	}
}

func compareUnder(t *testing.T, whole *tree[string], values []string, prefix string) {
	t.Helper()
	var got, want []string
	whole.under(prefix).each(func(value *string) bool {
		got = append(got, *value)
		return true
	})
	for _, value := range values {
		if strings.HasPrefix(value[:len(value)-1], prefix) {
			want = append(want, value)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("under %q: got %q, want %q", prefix, got, want)
	}
}

func TestTreeSharesWhatDidNotChange(t *testing.T) {
	value := "v"
	var before *tree[string]
	for _, key := range []string{"/a/1", "/a/2", "/b/1", "/b/2"} {
		before = before.with(key, &value)
	}
	after := before.with("/a/3", &value)
	if &before.child('b').children[0] != &after.child('b').children[0] {
		t.Error("a change below /a copied what is below /b")
	}
}

func TestHashMapAgainstMap(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	var m, old hashMap[string]
	want := map[string]string{}
	var oldWant map[string]string
	for i := range 20000 {
		key := randomKey(r)
		if r.IntN(3) == 0 {
			delete(want, key)
			m = m.without(key)
		} else {
			value := key + "="
			want[key] = value
			m = m.with(key, value)
		}
		if i == 10000 {
			old, oldWant = m, maps.Clone(want)
		}
	}
	compareHashMap(t, r, m, want)
	compareHashMap(t, r, old, oldWant)
	for key := range want {
		m = m.without(key)
	}
	if len(m.slots) != 0 || m.used != 0 {
		t.Error("an emptied map is not the empty one")
	}
}

func compareHashMap(t *testing.T, r *rand.Rand, m hashMap[string], want map[string]string) {
	t.Helper()
	keys := slices.Collect(maps.Keys(want))
	for range 2000 {
		keys = append(keys, randomKey(r))
	}
	for _, key := range keys {
		value, ok := want[key]
		held, got := m.find(key)
		if ok != (got != nil) || ok && (*got != value || held != key) {
			t.Fatalf("find %q: got %q, %v, want %q", key, held, got, value)
		}
	}
}

// TestHashMapCollision drives the node that keys share when all the bits of their hashes are the same.
func TestHashMapCollision(t *testing.T) {
	a, b := "a", "b"
	m := hashMap[string]{}.put(hashSlot[string]{key: a, value: a}, 0, 0).put(hashSlot[string]{key: b, value: b}, 0, 0)
	m = m.put(hashSlot[string]{key: a, value: b}, 0, 0)
	if len(m.slots) != 2 || m.slots[m.index(a)].value != b || m.slots[m.index(b)].value != b {
		t.Fatalf("got %+v", m)
	}
	if m = m.drop(a, 0, 0); len(m.slots) != 1 || m.slots[0].key != b {
		t.Fatalf("after drop: %+v", m)
	}
}
