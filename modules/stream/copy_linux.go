// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// copy forwards what comes until it ends. Between two TCP sockets bytes do not pass through this process when there are many
// of them, and a way that waits has neither a buffer nor a pipe.
func (c *conn) copy(to, from halfCloser) error {
	source, ok := from.(*net.TCPConn)
	sink, also := to.(*net.TCPConn)
	if !ok || !also {
		return c.copyBuffered(to, from)
	}
	s := &splicer{moved: c.touch, to: sink}
	var err error
	if s.source, err = source.SyscallConn(); err != nil {
		return err
	}
	if s.sink, err = sink.SyscallConn(); err != nil {
		return err
	}
	return s.run()
}

// splicer is one way between two TCP sockets. It belongs to one goroutine.
type splicer struct {
	moved        func()
	source, sink syscall.RawConn
	to           *net.TCPConn

	// bulk says that the last read filled its buffer, so that the next goes through a pipe.
	bulk bool
	// What the last read gave: n bytes in the buffer, or in the pipe. Neither is held while there is nothing to read.
	n      int
	buffer *[largeRead]byte
	pipe   *pipe
	err    error
}

// spliceUnavailable is set when the system has no splice for sockets.
var spliceUnavailable atomic.Bool

func (s *splicer) run() error {
	// As values, so that waiting allocates nothing.
	read, write := s.read, s.write
	defer s.release()
	for {
		if err := s.source.Read(read); err != nil {
			return err
		}
		if s.err != nil || s.n == 0 {
			return s.err
		}
		s.moved()
		if s.buffer != nil {
			s.bulk = s.n == len(s.buffer)
			if _, err := s.to.Write(s.buffer[:s.n]); err != nil {
				return err
			}
		} else {
			// Few bytes are cheaper to copy.
			s.bulk = s.n >= largeRead
			if err := s.sink.Write(write); err != nil {
				return err
			}
			if s.err != nil {
				return s.err
			}
		}
		s.moved()
		if !s.bulk {
			s.release()
		}
	}
}

// release gives back what holds bytes. A pipe that has any left is of no use to anybody.
func (s *splicer) release() {
	if s.buffer != nil {
		largeBuffers.Put(s.buffer)
		s.buffer = nil
	}
	if s.pipe != nil {
		putPipe(s.pipe, s.n == 0)
		s.pipe = nil
	}
}

// read reads what there is. It reports false when there is nothing yet.
func (s *splicer) read(fd uintptr) bool {
	if s.bulk && s.pipe == nil && !spliceUnavailable.Load() {
		if pipe := getPipe(); pipe != nil {
			s.release()
			s.pipe = pipe
		}
	}
	if s.pipe == nil && s.buffer == nil {
		s.buffer = largeBuffers.Get().(*[largeRead]byte)
	}
	for {
		if s.pipe != nil {
			var n int64
			n, s.err = unix.Splice(int(fd), nil, s.pipe.w, nil, pipeSize, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
			s.n = int(n)
		} else {
			s.n, s.err = unix.Read(int(fd), s.buffer[:])
		}
		switch {
		case s.err == nil:
			return true
		case errors.Is(s.err, unix.EINTR):
		case errors.Is(s.err, unix.EAGAIN):
			s.n, s.err, s.bulk = 0, nil, false
			s.release()
			return false
		case s.pipe != nil && errors.Is(s.err, unix.EINVAL):
			spliceUnavailable.Store(true)
			s.n, s.err = 0, nil
			s.release()
			s.buffer = largeBuffers.Get().(*[largeRead]byte)
		default:
			s.n = 0
			return true
		}
	}
}

// write moves the pipe's bytes on. It reports false when the socket takes no more at present.
func (s *splicer) write(fd uintptr) bool {
	for s.n > 0 {
		n, err := unix.Splice(s.pipe.r, nil, int(fd), nil, s.n, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return false
		case err != nil:
			s.err = err
			return true
		default:
			s.n -= int(n)
			s.moved()
		}
	}
	return true
}
