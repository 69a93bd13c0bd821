// SPDX-License-Identifier: Apache-2.0

package bolt

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/andogate/ando/modules/gateway"
)

// TestDiskFull fills a file system of its own, which only root may mount.
func TestDiskFull(t *testing.T) {
	folder := t.TempDir()
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(folder, syscall.MNT_DETACH) })
	s := openAt(t, filepath.Join(folder, "store.db"))
	commit(t, s, gateway.Change{Object: object(gateway.Routes, "1", "{}", 1)})
	ballast := filepath.Join(folder, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 700<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 512<<10)
	for range 3 {
		_, err := s.Commit(context.Background(), []gateway.Change{
			{Object: object(gateway.Routes, "1", "changed", 2)}, {Object: object(gateway.Routes, "2", big, 3)},
		})
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("got %v", err)
		}
		if rev, objects := snapshot(t, s); rev != 1 || len(objects) != 1 || string(objects[0].Value) != "{}" {
			t.Fatalf("after a failed commit: revision %d, %v", rev, objects)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	commit(t, s, gateway.Change{Object: object(gateway.Routes, "2", big, 2)})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if rev, objects := snapshot(t, openAt(t, s.path)); rev != 2 || len(objects) != 2 {
		t.Errorf("after opening again: revision %d, %d objects", rev, len(objects))
	}
}
