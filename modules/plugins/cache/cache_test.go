// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func none(string) string { return "" }

func response(body string) *Entry {
	return &Entry{
		Status: 200, Fields: []Field{{"Content-Type", "text/plain"}, {"X-A", ""}}, Body: []byte(body),
		Stored: time.Unix(1_790_000_000, 5), Fresh: time.Minute,
	}
}

// zones are one of each kind.
func zones(t *testing.T, limit int64) map[string]*Zone {
	t.Helper()
	configs := []ZoneConfig{
		{Name: t.Name() + " memory", MemorySize: limit},
		{Name: t.Name() + " disk", Path: t.TempDir(), DiskSize: limit},
	}
	if err := Define(configs...); err != nil {
		t.Fatal(err)
	}
	return map[string]*Zone{"memory": Find(configs[0].Name), "disk": Find(configs[1].Name)}
}

func TestZone(t *testing.T) {
	for kind, z := range zones(t, 1<<20) {
		t.Run(kind, func(t *testing.T) {
			if z.OnDisk() != (kind == "disk") {
				t.Error("OnDisk")
			}
			if z.Get("a", none) != nil || z.Remove("a") {
				t.Error("something is there")
			}
			z.Put("a", response("one"), nil, none)
			z.Put("b", response(""), nil, none)
			if got := z.Get("a", none); !reflect.DeepEqual(got, response("one")) {
				t.Errorf("got %+v", got)
			}
			if got := z.Get("b", none); got == nil || len(got.Body) != 0 {
				t.Errorf("got %+v", got)
			}
			z.Put("a", response("two"), nil, none)
			if got := z.Get("a", none); string(got.Body) != "two" {
				t.Errorf("got %s", got.Body)
			}
			if !z.Remove("a") || z.Get("a", none) != nil || z.Get("b", none) == nil {
				t.Error("Remove")
			}
		})
	}
}

func TestVary(t *testing.T) {
	for kind, z := range zones(t, 1<<20) {
		t.Run(kind, func(t *testing.T) {
			in := func(language string) func(string) string {
				return func(name string) string { return map[string]string{"accept-language": language}[name] }
			}
			vary := []string{"accept-language"}
			z.Put("a", response("hello"), vary, in("en"))
			z.Put("a", response("hallo"), vary, in("de"))
			for language, want := range map[string]string{"en": "hello", "de": "hallo", "fr": ""} {
				got := z.Get("a", in(language))
				if (got == nil) != (want == "") || got != nil && string(got.Body) != want {
					t.Errorf("%s: got %+v", language, got)
				}
			}
			if !z.Remove("a") || z.Get("a", in("en")) != nil {
				t.Error("a variant is left")
			}
			// What was removed does not come back with another variant.
			z.Put("a", response("salut"), vary, in("fr"))
			if z.Get("a", in("en")) != nil || z.Get("a", in("fr")) == nil {
				t.Error("a removed variant is back")
			}
		})
	}
}

// TestBound: a zone takes no more than it may, and what is used stays longest.
func TestBound(t *testing.T) {
	const limit = 256 << 10
	for kind, z := range zones(t, limit) {
		t.Run(kind, func(t *testing.T) {
			z.Put("used", response("used"), nil, none)
			body := strings.Repeat("x", 1000)
			for i := range 1000 {
				z.Put(fmt.Sprint(i), response(body), nil, none)
				if z.Get("used", none) == nil {
					t.Fatalf("what is used is gone after %d others", i)
				}
			}
			left := 0
			for i := range 1000 {
				if z.Get(fmt.Sprint(i), none) != nil {
					left++
				}
			}
			if left < 100 || left > limit/1000 {
				t.Errorf("%d of 1000 are left", left)
			}
			z.Put("large", response(strings.Repeat("x", limit)), nil, none)
			if z.Get("large", none) != nil {
				t.Error("what is larger than the zone is in it")
			}
		})
	}
}

func TestDiskSurvivesRestart(t *testing.T) {
	folder := t.TempDir()
	before := &Zone{store: &disk{folder: folder, limit: 1 << 20}}
	for i := range 20 {
		before.Put(fmt.Sprint(i), response(fmt.Sprint("body ", i)), nil, none)
	}
	after := &Zone{store: &disk{folder: folder, limit: 1 << 20}}
	for i := range 20 {
		if got := after.Get(fmt.Sprint(i), none); got == nil || string(got.Body) != fmt.Sprint("body ", i) {
			t.Errorf("%d: got %+v", i, got)
		}
	}
	if size, again := before.store.(*disk).size, after.store.(*disk).size; size != again || size == 0 {
		t.Errorf("%d bytes before, %d after", size, again)
	}
	small := &disk{folder: folder, limit: 500}
	z := &Zone{store: small}
	z.Put("one more", response("x"), nil, none)
	if small.size > 500 || z.Get("one more", none) == nil {
		t.Errorf("%d bytes in a smaller zone", small.size)
	}
}

// TestDamage: a file that was changed, in whatever way, is a miss.
func TestDamage(t *testing.T) {
	folder := t.TempDir()
	d := &disk{folder: folder, limit: 1 << 20}
	z := &Zone{store: d}
	z.Put("a", response("some body"), nil, none)
	path := d.path(fileName("a"))
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := [][]byte{nil, good[:len(good)-1], append(append([]byte(nil), good...), 0), []byte(magic), response("x").encode("b")}
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1 << (i % 8)
		damaged = append(damaged, bad)
	}
	for _, bad := range damaged {
		z.Put("a", response("some body"), nil, none)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := z.Get("a", none); got != nil {
			t.Fatalf("%q is read as %+v", bad, got)
		}
	}
	z.Put("a", response("some body"), nil, none)
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if z.Get("a", none) != nil {
		t.Error("a file that is gone is read")
	}
	z.Put("a", response("again"), nil, none)
	if z.Get("a", none) == nil {
		t.Error("the folder is not made again")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(response("body").encode("key"))
	f.Add((&Entry{Vary: []string{"a", "b"}, Mark: 7}).encode(""))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		key, e, err := decode(b)
		if err != nil {
			return
		}
		again, same, err := decode(e.encode(key))
		if err != nil || again != key || !reflect.DeepEqual(same, e) {
			t.Errorf("%+v becomes %+v, %v", e, same, err)
		}
	})
}

func TestDiskWithoutPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	z := &Zone{store: &disk{folder: file, limit: 1 << 20}}
	z.Put("a", response("x"), nil, none)
	if z.Get("a", none) != nil {
		t.Error("it is there")
	}
}

func TestDefine(t *testing.T) {
	for _, bad := range []ZoneConfig{{}, {Name: "a", MemorySize: -1}, {Name: "a", Fresh: -1}} {
		if Define(bad) == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	if Find("nobody's") != nil {
		t.Error("an unknown zone is there")
	}
	c := ZoneConfig{Name: "defined", MemorySize: 1 << 20}
	if err := Define(c); err != nil {
		t.Fatal(err)
	}
	z := Find("defined")
	z.Put("a", response("x"), nil, none)
	if err := Define(c); err != nil || Find("defined") != z {
		t.Errorf("the same zone is another, %v", err)
	}
	c.MemorySize = 2 << 20
	if err := Define(c); err != nil || Find("defined") == z {
		t.Errorf("another zone is the same, %v", err)
	}
	if z := Find(DefaultMemoryZone); z == nil || z.OnDisk() {
		t.Error(DefaultMemoryZone)
	}
	if z := Find(DefaultDiskZone); z == nil || !z.OnDisk() || z.Fresh() != 10*time.Second {
		t.Error(DefaultDiskZone)
	}
}

func TestFlights(t *testing.T) {
	z := new(Zone)
	var led atomic.Int32
	var all sync.WaitGroup
	started := make(chan bool, 64)
	release := make(chan bool)
	for range 64 {
		all.Go(func() {
			if z.Lead("a") {
				led.Add(1)
				started <- true
				<-release
				z.Land("a")
				return
			}
			started <- true
			z.Await(context.Background(), "a")
		})
	}
	for range 64 {
		<-started
	}
	close(release)
	all.Wait()
	if led.Load() != 1 || len(z.under) != 0 {
		t.Errorf("%d led, %d are left", led.Load(), len(z.under))
	}
	if !z.Lead("a") {
		t.Error("nobody leads any more")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	z.Await(ctx, "a")
}

func BenchmarkMemoryGet(b *testing.B) {
	m := newMemory(1 << 30)
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("shop.example.com/some/path/%d", i)
		m.put(keys[i], response("body"))
	}
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if m.get(keys[rand.IntN(len(keys))]) == nil {
				b.Fail()
			}
		}
	})
}
