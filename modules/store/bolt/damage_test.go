// SPDX-License-Identifier: Apache-2.0

package bolt

import (
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// TestDamage overwrites and cuts a store's file in many places. Whatever is left either is refused with an error that
// names the file, or is read as it was written; nothing panics, and the file can be opened again.
func TestDamage(t *testing.T) {
	s := fill(t, 300)
	_, before := snapshot(t, s)
	commit(t, s, gateway.Change{Object: object(gateway.Routes, "7", "", 301), Delete: true})
	_, after := snapshot(t, s)
	// Without the head of its last transaction the file is what it was one before: bbolt cannot tell this from a
	// process that died while it wrote the head.
	good := map[uint64]map[string]string{300: values(before), 301: values(after)}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	path := filepath.Join(t.TempDir(), "damaged.db")
	refused := 0
	for range 150 {
		damaged := append([]byte(nil), whole...)
		switch random.IntN(3) {
		case 0:
			damaged = damaged[:random.IntN(len(damaged))]
		case 1:
			page := damaged[random.IntN(len(damaged)/4096)*4096:][:4096]
			for i := range page[:random.IntN(4096)] {
				page[i] = byte(random.Uint32())
			}
		default:
			// The head of a page is where bbolt finds its way.
			page := damaged[random.IntN(len(damaged)/4096)*4096:]
			page[random.IntN(64)] ^= byte(1 + random.IntN(255))
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if !useDamaged(t, path, good) {
			refused++
		}
	}
	if refused < 25 {
		t.Errorf("only %d of the damaged files were refused", refused)
	}
}

func values(objects []gateway.Object) map[string]string {
	values := make(map[string]string, len(objects))
	for _, o := range objects {
		values[o.Key()] = string(o.Value)
	}
	return values
}

// useDamaged reports whether the file could be used. good is what it may hold at which revision.
func useDamaged(t *testing.T, path string, good map[uint64]map[string]string) bool {
	t.Helper()
	s, err := open(path, time.Millisecond)
	if err != nil {
		if !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "in use") {
			t.Errorf("open: %v", err)
		}
		return false
	}
	defer func() { _ = s.Close() }()
	rev, objects, err := s.Snapshot(context.Background())
	if err == nil {
		if got := values(objects); !maps.Equal(got, good[rev]) {
			t.Errorf("revision %d came back with %d objects, want %d", rev, len(got), len(good[rev]))
		}
		_, err = s.Commit(context.Background(), []gateway.Change{{Object: object(gateway.Routes, "new", "{}", 302)}})
	}
	if err != nil && !strings.Contains(err.Error(), path) {
		t.Errorf("use: %v", err)
	}
	return err == nil
}

// TestStuck uses a store after bbolt has panicked with its lock held.
func TestStuck(t *testing.T) {
	s := fill(t, 10)
	err := s.use(func() error {
		if _, err := s.db.Begin(true); err != nil {
			return err
		}
		panic("page 7 already freed")
	})
	wantError(t, err, s.path, "damaged", "page 7 already freed")
	_, err = s.Commit(context.Background(), []gateway.Change{{Object: object(gateway.Routes, "1", "{}", 11)}})
	wantError(t, err, s.path, "page 7 already freed")
	_, _, err = s.Snapshot(context.Background())
	wantError(t, err, s.path, "page 7 already freed")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	again, err := open(s.path, time.Millisecond)
	if err != nil {
		t.Fatalf("the file is still locked: %v", err)
	}
	if _, objects := snapshot(t, again); len(objects) != 10 {
		t.Errorf("%d objects", len(objects))
	}
	_ = again.Close()
}
