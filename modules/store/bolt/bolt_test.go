// SPDX-License-Identifier: Apache-2.0

package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/andogate/ando/modules/gateway"
)

func openAt(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func snapshot(t testing.TB, s *Store) (uint64, []gateway.Object) {
	t.Helper()
	rev, objects, err := s.Snapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(objects, func(a, b gateway.Object) int { return strings.Compare(a.Key(), b.Key()) })
	return rev, objects
}

func object(kind gateway.Kind, id, value string, rev uint64) gateway.Object {
	return gateway.Object{Kind: kind, ID: id, Value: []byte(value), Created: rev, Modified: rev}
}

func commit(t testing.TB, s *Store, changes ...gateway.Change) {
	t.Helper()
	rev, err := s.Commit(context.Background(), changes)
	if want := changes[len(changes)-1].Object.Modified; err != nil || rev != want {
		t.Fatalf("commit: revision %d, error %v, want %d", rev, err, want)
	}
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openAt(t, path)
	if rev, objects := snapshot(t, s); rev != 0 || len(objects) > 0 {
		t.Errorf("a new store has revision %d and %v", rev, objects)
	}
	want := []gateway.Object{
		object(gateway.Credentials, gateway.CredentialID("jack", "c1"), `{"a":"\u0000"}`, 1),
		object(gateway.Consumers, "jack", ` {"spaces" : "stay"} `, 2),
		object(gateway.Routes, "1", `{"uri":"/a"}`, 3),
		object(gateway.Routes, "2", ``, 4),
		object(gateway.Secrets, "vault/1", `{}`, 5),
		object(gateway.GraphQLCostDecorations, gateway.GraphQLCostDecorationID("s1", "d1"), `{}`, 6),
	}
	want[2].Created = 2
	want[4].Expires = time.UnixMilli(time.Now().Add(time.Hour).UnixMilli())
	var changes []gateway.Change
	for _, o := range want {
		changes = append(changes, gateway.Change{Object: o})
	}
	changes = append(changes, gateway.Change{Object: object(gateway.Routes, "3", "{}", 7)})
	commit(t, s, changes...)
	commit(t, s,
		gateway.Change{Object: object(gateway.Routes, "3", "", 8), Delete: true},
		gateway.Change{Object: object(gateway.Routes, "none", "", 9), Delete: true})

	slices.SortFunc(want, func(a, b gateway.Object) int { return strings.Compare(a.Key(), b.Key()) })
	check := func(s *Store) {
		t.Helper()
		rev, got := snapshot(t, s)
		if rev != 9 {
			t.Errorf("revision %d, want 9", rev)
		}
		if len(got) != len(want) {
			t.Fatalf("got %v", got)
		}
		for i := range got {
			if string(got[i].Value) != string(want[i].Value) {
				t.Errorf("%s: value %q, want %q", got[i].Key(), got[i].Value, want[i].Value)
			}
			got[i].Value, want[i].Value = nil, nil
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("got %+v, want %+v", got[i], want[i])
			}
			got[i].Value = want[i].Value
		}
	}
	values := make([][]byte, len(want))
	for i := range want {
		values[i] = want[i].Value
	}
	check(s)
	for i := range want {
		want[i].Value = values[i]
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(openAt(t, path))
}

func TestModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "store.db")
	openAt(t, path)
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700, filepath.Dir(filepath.Dir(path)): 0o700} {
		stat, err := os.Stat(name)
		if err != nil || stat.Mode().Perm() != want {
			t.Errorf("%s: mode %v, error %v, want %v", name, stat.Mode().Perm(), err, want)
		}
	}
}

func TestOpenTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openAt(t, path)
	_, err := open(path, time.Millisecond)
	wantError(t, err, path, "in use by another process", "stop that one")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openAt(t, path)
}

func wantError(t *testing.T, err error, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("error %v does not say %q", err, text)
		}
	}
}

func TestNewerFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openAt(t, path)
	err := s.db.Update(func(tx *bbolt.Tx) error { return putNumber(tx.Bucket(metaBucket), formatKey, format+1) })
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(path)
	wantError(t, err, path, "newer Ando", fmt.Sprintf("format %d", format+1), "upgrade")
}

func TestForeignFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("nosql")); return err })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = Open(path)
	if !errors.Is(err, errNotOurs) {
		t.Errorf("got %v", err)
	}
	wantError(t, err, path)
}

func TestNotBolt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	for name, content := range map[string]string{
		"text": strings.Repeat("routes:\n  - uri: /a\n", 1000), "short": "x", "zeros": string(make([]byte, 16384)),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path)
		wantError(t, err, path)
		var damaged *DamagedError
		if !errors.As(err, &damaged) {
			t.Errorf("%s: %v", name, err)
		}
		if kept, _ := os.ReadFile(path); string(kept) != content {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

func TestEmptyFileIsANewStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	commit(t, openAt(t, path), gateway.Change{Object: object(gateway.Routes, "1", "{}", 1)})
}

func TestWrongNumbers(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "store.db"))
	commit(t, s, gateway.Change{Object: object(gateway.Routes, "1", "{}", 5)})
	for _, changes := range [][]gateway.Change{
		{},
		{{Object: object(gateway.Routes, "2", "{}", 5)}},
		{{Object: object(gateway.Routes, "2", "{}", 7)}, {Object: object(gateway.Routes, "3", "{}", 6)}},
	} {
		if _, err := s.Commit(context.Background(), changes); err == nil {
			t.Errorf("%v was stored", changes)
		}
	}
	if rev, objects := snapshot(t, s); rev != 5 || len(objects) != 1 {
		t.Errorf("revision %d, objects %v", rev, objects)
	}
	commit(t, s, gateway.Change{Object: object(gateway.Routes, "2", "{}", 6)})
}

// TestFileMayNotGrow refuses commits for lack of room and wants the store to go on when there is some.
func TestFileMayNotGrow(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "store.db"))
	commit(t, s, gateway.Change{Object: object(gateway.Routes, "1", "{}", 1)})
	s.db.MaxSize = 1 << 16
	big := strings.Repeat("x", 1<<18)
	for range 3 {
		_, err := s.Commit(context.Background(), []gateway.Change{
			{Object: object(gateway.Routes, "1", "changed", 2)}, {Object: object(gateway.Routes, "2", big, 3)},
		})
		wantError(t, err, s.path, "size")
		if rev, objects := snapshot(t, s); rev != 1 || len(objects) != 1 || string(objects[0].Value) != "{}" {
			t.Fatalf("after a failed commit: revision %d, %v", rev, objects)
		}
	}
	s.db.MaxSize = 0
	commit(t, s, gateway.Change{Object: object(gateway.Routes, "2", big, 2)})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "store.db"))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int)
	go func() {
		n := 0
		for range s.Watch(ctx, 0) {
			n++
		}
		done <- n
	}()
	commit(t, s, gateway.Change{Object: object(gateway.Routes, "1", "{}", 1)})
	select {
	case <-done:
		t.Fatal("the watch ended by itself")
	default:
	}
	cancel()
	if n := <-done; n != 0 {
		t.Errorf("%d batches", n)
	}
}

// fill opens a store of n routes of about 300 bytes.
func fill(tb testing.TB, n int) *Store {
	tb.Helper()
	s := openAt(tb, filepath.Join(tb.TempDir(), "store.db"))
	changes := make([]gateway.Change, n)
	for i := range changes {
		value := fmt.Sprintf(`{"id":"%d","uri":"/api/%d/*","plugins":{"key-auth":{}},"desc":"%s"}`, i, i, strings.Repeat("x", 240))
		changes[i].Object = object(gateway.Routes, fmt.Sprint(i), value, uint64(i+1))
	}
	commit(tb, s, changes...)
	return s
}

func BenchmarkSnapshot10000(b *testing.B) {
	s := fill(b, 10000)
	b.ReportAllocs()
	for b.Loop() {
		if _, objects, err := s.Snapshot(context.Background()); err != nil || len(objects) != 10000 {
			b.Fatal(err)
		}
	}
}

func BenchmarkCommitAt10000(b *testing.B) {
	for _, batch := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			s := fill(b, 10000)
			rev := uint64(10000)
			for b.Loop() {
				changes := make([]gateway.Change, batch)
				for i := range changes {
					rev++
					changes[i].Object = object(gateway.Routes, fmt.Sprint(rev*7919%10000), strings.Repeat("y", 300), rev)
				}
				commit(b, s, changes...)
			}
		})
	}
}
