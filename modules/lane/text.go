// SPDX-License-Identifier: Apache-2.0

//go:build !ando_safe

package lane

import "unsafe"

// text returns b as a string without copying it. The caller keeps b unchanged for as long as the exchange lasts that
// the string becomes part of; Exchange's contract says that nothing of it lives longer.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
