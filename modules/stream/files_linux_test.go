// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"testing"

	"golang.org/x/sys/unix"
)

// openFiles is how many files a process may have open.
func openFiles(t testing.TB) int {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return int(min(limit.Cur, 1<<20))
}
