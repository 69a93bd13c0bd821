// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"errors"
	"io"
	"sync"
)

// The sizes of what is read at once. A connection that waits has a small buffer, unless the system lets it wait without any;
// one that fills it gets a large one for as long as it does.
const (
	smallRead = 2 << 10
	largeRead = 32 << 10
)

var largeBuffers = sync.Pool{New: func() any { return new([largeRead]byte) }}

// copyBuffered forwards what comes until it ends; nil is the end that the sender has announced.
func (c *conn) copyBuffered(to io.Writer, from io.Reader) error {
	small := make([]byte, smallRead)
	buffer := small
	var large *[largeRead]byte
	defer func() {
		if large != nil {
			largeBuffers.Put(large)
		}
	}()
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			c.touch()
			if _, err := to.Write(buffer[:n]); err != nil {
				return err
			}
			c.touch()
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case large == nil && n == len(small):
			large = largeBuffers.Get().(*[largeRead]byte)
			buffer = large[:]
		case large != nil && n < len(small):
			largeBuffers.Put(large)
			large, buffer = nil, small
		}
	}
}
