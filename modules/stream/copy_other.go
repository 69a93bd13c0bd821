// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package stream

// copy forwards what comes until it ends.
func (c *conn) copy(to, from halfCloser) error { return c.copyBuffered(to, from) }
