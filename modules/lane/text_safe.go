// SPDX-License-Identifier: Apache-2.0

//go:build ando_safe

package lane

func text(b []byte) string { return string(b) }
