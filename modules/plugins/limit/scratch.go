// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"strconv"
	"strings"
	"sync"
)

// Scratch is memory to put texts together in. It belongs to one goroutine between Borrow and Return.
type Scratch struct {
	// Bytes is a buffer with nothing in it.
	Bytes []byte
	texts strings.Builder
}

// textBlock is how many bytes of texts are allocated at once.
const textBlock = 4096

var scratches = sync.Pool{New: func() any { return &Scratch{Bytes: make([]byte, 0, 128)} }}

// Borrow returns a Scratch for the goroutine alone.
func Borrow() *Scratch { return scratches.Get().(*Scratch) }

// Return gives it back. Texts that it made stay as they are.
func (s *Scratch) Return() {
	if cap(s.Bytes) > 64<<10 {
		return
	}
	s.Bytes = s.Bytes[:0]
	scratches.Put(s)
}

// Integer returns a number as text. Texts are cut from blocks, so that some hundred of them share one allocation.
func (s *Scratch) Integer(n int64) string {
	var digits [20]byte
	return s.text(strconv.AppendInt(digits[:0], n, 10))
}

// Seconds returns a time in nanoseconds as seconds with at most two decimals, rounded up: whoever comes back then does
// not come too early.
func (s *Scratch) Seconds(ns int64) string {
	var digits [24]byte
	return s.text(appendSeconds(digits[:0], ns))
}

const hundredth = 10_000_000

func appendSeconds(dst []byte, ns int64) []byte {
	n := max(0, ns)
	n = n/hundredth + min(1, n%hundredth)
	dst = strconv.AppendInt(dst, n/100, 10)
	if n %= 100; n > 0 {
		dst = append(dst, '.', byte('0'+n/10))
		if n %= 10; n > 0 {
			dst = append(dst, byte('0'+n))
		}
	}
	return dst
}

func (s *Scratch) text(b []byte) string {
	if s.texts.Cap()-s.texts.Len() < len(b) {
		s.texts.Reset()
		s.texts.Grow(textBlock)
	}
	from := s.texts.Len()
	s.texts.Write(b)
	return s.texts.String()[from:]
}
