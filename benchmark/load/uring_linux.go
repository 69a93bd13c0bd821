// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What of <linux/io_uring.h> is used here.
const (
	opAccept = 13
	opSend   = 26
	opRecv   = 27

	setupFlags = 1<<3 | 1<<4 | 1<<7 | 1<<12 | 1<<13 // CQSIZE, CLAMP, SUBMIT_ALL, SINGLE_ISSUER, DEFER_TASKRUN

	enterGetEvents = 1 << 0
	enterExtArg    = 1 << 3

	selectBuffer    = 1 << 5
	multishotAccept = 1 << 0
	multishotRecv   = 1 << 1

	hasBuffer = 1 << 0
	hasMore   = 1 << 1

	registerBufferRing = 22
	offsetEntries      = 0x10000000

	ringSize    = 4096
	bufferSize  = 64 << 10
	bufferCount = 512
)

type submission struct {
	op, flags   uint8
	ioprio      uint16
	fd          int32
	off, addr   uint64
	length      uint32
	opFlags     uint32
	data        uint64
	bufferGroup uint16
	_           [22]byte
}

type completed struct {
	data  uint64
	res   int32
	flags uint32
}

// setup is struct io_uring_params.
type setup struct {
	sqEntries, cqEntries, flags, _, _, features, _ uint32
	_                                              [3]uint32
	sq, cq                                         [10]uint32
}

// The low bits of a submission's data say what it was; the others are the connection's slot.
const (
	didRecv = iota
	didSend
	didAccept
)

// uring is the wire for io_uring: one call submits all that a wake-up caused and waits for the next.
type uring struct {
	engine   *engine
	fd       int
	listener int

	sqHead, sqTail, cqHead, cqTail *uint32
	sqMask, cqMask                 uint32
	array                          []uint32
	entries                        []submission
	results                        []completed
	tail                           uint32

	mapped     [][]byte
	buffers    []byte
	bufferRing []byte
	bufferTail uint16
	timeout    *unix.Timespec
	// argument is struct io_uring_getevents_arg.
	argument *[3]uint64

	slots []*conn
	free  []int
}

func newUring(e *engine) (*uring, error) {
	p := &setup{flags: setupFlags, cqEntries: ringSize * 4}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, ringSize, uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return nil, os.NewSyscallError("io_uring_setup", errno)
	}
	u := &uring{engine: e, fd: int(fd), listener: -1, timeout: &unix.Timespec{Nsec: 50e6}}
	u.argument = &[3]uint64{0, 0, uint64(uintptr(unsafe.Pointer(u.timeout)))}
	rings := u.mmap(int(fd), 0, max(int(p.cq[5])+int(p.cqEntries)*int(unsafe.Sizeof(completed{})), int(p.sq[6])+int(p.sqEntries)*4))
	entries := u.mmap(int(fd), offsetEntries, int(p.sqEntries)*int(unsafe.Sizeof(submission{})))
	u.buffers = u.mmap(-1, 0, bufferCount*bufferSize)
	u.bufferRing = u.mmap(-1, 0, bufferCount*16)
	if rings == nil || entries == nil || u.buffers == nil || u.bufferRing == nil {
		u.close()
		return nil, errors.New("io_uring: no memory")
	}
	at := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&rings[offset])) }
	u.sqHead, u.sqTail, u.sqMask = at(p.sq[0]), at(p.sq[1]), *at(p.sq[2])
	u.cqHead, u.cqTail, u.cqMask = at(p.cq[0]), at(p.cq[1]), *at(p.cq[2])
	u.array = unsafe.Slice(at(p.sq[6]), p.sqEntries)
	u.results = unsafe.Slice((*completed)(unsafe.Pointer(&rings[p.cq[5]])), p.cqEntries)
	u.entries = unsafe.Slice((*submission)(unsafe.Pointer(&entries[0])), p.sqEntries)
	registration := &[5]uint64{uint64(uintptr(unsafe.Pointer(&u.bufferRing[0]))), bufferCount}
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, fd, registerBufferRing,
		uintptr(unsafe.Pointer(registration)), 1, 0, 0); errno != 0 {
		u.close()
		return nil, os.NewSyscallError("io_uring_register", errno)
	}
	for id := range uint16(bufferCount) {
		u.recycle(id)
	}
	return u, nil
}

// mmap returns nil when there is no memory. Without a file it is memory alone.
func (u *uring) mmap(fd int, offset int64, length int) []byte {
	flags := unix.MAP_SHARED | unix.MAP_POPULATE
	if fd < 0 {
		flags = unix.MAP_PRIVATE | unix.MAP_ANON
	}
	b, err := unix.Mmap(fd, offset, length, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil
	}
	u.mapped = append(u.mapped, b)
	return b
}

func (u *uring) name() string { return "io_uring" }

// recycle gives a buffer to the kernel.
func (u *uring) recycle(id uint16) {
	slot := unsafe.Pointer(&u.bufferRing[int(u.bufferTail%bufferCount)*16])
	*(*uint64)(slot) = uint64(uintptr(unsafe.Pointer(&u.buffers[int(id)*bufferSize])))
	*(*uint32)(unsafe.Add(slot, 8)) = bufferSize
	*(*uint16)(unsafe.Add(slot, 12)) = id
	u.bufferTail++
	// The ring's tail lies beside the first slot's id, and is stored with it so that the store can be atomic.
	shared := unsafe.Pointer(&u.bufferRing[12])
	atomic.StoreUint32((*uint32)(shared), uint32(u.bufferTail)<<16|uint32(*(*uint16)(shared)))
}

// submit returns an entry to fill in.
func (u *uring) submit(op uint8, fd, slot, kind int) *submission {
	for u.tail-atomic.LoadUint32(u.sqHead) >= uint32(len(u.entries)) {
		u.enter(0, 0)
	}
	i := u.tail & u.sqMask
	u.array[i] = i
	u.tail++
	s := &u.entries[i]
	*s = submission{op: op, fd: int32(fd), data: uint64(slot)<<2 | uint64(kind)}
	return s
}

// enter submits what is queued and waits until so many submissions have completed, or the timeout.
func (u *uring) enter(least, flags uintptr) unix.Errno {
	atomic.StoreUint32(u.sqTail, u.tail)
	queued := u.tail - atomic.LoadUint32(u.sqHead)
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(u.fd), uintptr(queued), least, flags|enterGetEvents|enterExtArg,
		uintptr(unsafe.Pointer(u.argument)), unsafe.Sizeof(*u.argument))
	return errno
}

func (u *uring) listen(fd int) error {
	u.listener = fd
	s := u.submit(opAccept, fd, 0, didAccept)
	s.ioprio = multishotAccept
	s.opFlags = unix.SOCK_CLOEXEC
	return nil
}

func (u *uring) add(c *conn) {
	if n := len(u.free); n > 0 {
		c.wire.slot = u.free[n-1]
		u.free = u.free[:n-1]
		u.slots[c.wire.slot] = c
	} else {
		c.wire.slot = len(u.slots)
		u.slots = append(u.slots, c)
	}
	u.receive(c)
}

func (u *uring) receive(c *conn) {
	c.wire.ops++
	s := u.submit(opRecv, c.fd, c.wire.slot, didRecv)
	s.flags = selectBuffer
	s.ioprio = multishotRecv
}

func (u *uring) send(c *conn, b []byte) {
	c.wire.ops++
	c.wire.unsent = b
	s := u.submit(opSend, c.fd, c.wire.slot, didSend)
	s.addr = uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	s.length = uint32(len(b))
	s.opFlags = unix.MSG_NOSIGNAL | unix.MSG_WAITALL
}

func (u *uring) drop(c *conn) {
	if c.dropped {
		return
	}
	c.dropped = true
	// What is under way ends with it, and then the descriptor may be used again.
	_ = unix.Shutdown(c.fd, unix.SHUT_RDWR)
	u.finish(c)
}

// finish closes a dropped connection when nothing of it is under way.
func (u *uring) finish(c *conn) {
	if !c.dropped || c.wire.ops > 0 || c.fd < 0 {
		return
	}
	unix.Close(c.fd)
	c.fd = -1
	u.slots[c.wire.slot] = nil
	u.free = append(u.free, c.wire.slot)
}

func (u *uring) wait() error {
	switch errno := u.enter(1, 0); errno {
	case 0, unix.EINTR, unix.ETIME, unix.EBUSY, unix.EAGAIN:
	default:
		return os.NewSyscallError("io_uring_enter", errno)
	}
	u.engine.tick()
	h, tail := atomic.LoadUint32(u.cqHead), atomic.LoadUint32(u.cqTail)
	for ; h != tail; h++ {
		done := u.results[h&u.cqMask]
		atomic.StoreUint32(u.cqHead, h+1)
		u.handle(done)
	}
	return nil
}

func (u *uring) handle(done completed) {
	kind := done.data & 3
	if kind == didAccept {
		if done.flags&hasMore == 0 {
			_ = u.listen(u.listener)
		}
		if done.res >= 0 {
			u.engine.accepted(int(done.res))
		}
		return
	}
	c := u.slots[done.data>>2]
	if kind == didSend {
		c.wire.ops--
		if !c.dropped && int(done.res) == len(c.wire.unsent) {
			u.engine.sent(c)
		}
		// A send that failed shows when the socket is read.
		u.finish(c)
		return
	}
	if done.flags&hasMore == 0 {
		c.wire.ops--
	}
	if done.res > 0 {
		id := uint16(done.flags >> 16)
		if !c.dropped {
			start := int(id) * bufferSize
			u.engine.received(c, u.buffers[start:start+int(done.res)])
		}
		u.recycle(id)
	} else if done.flags&hasBuffer != 0 {
		u.recycle(uint16(done.flags >> 16))
	}
	switch {
	case c.dropped:
		u.finish(c)
	case done.res > 0 || done.res == -int32(unix.ENOBUFS):
		if done.flags&hasMore == 0 {
			u.receive(c)
		}
	default:
		u.engine.closed(c)
	}
}

func (u *uring) close() {
	// What is under way holds its socket, and with that its port, for a while after the ring has been closed.
	if u.listener >= 0 {
		_ = unix.Shutdown(u.listener, unix.SHUT_RDWR)
		unix.Close(u.listener)
	}
	for _, c := range u.slots {
		if c != nil {
			_ = unix.Shutdown(c.fd, unix.SHUT_RDWR)
			unix.Close(c.fd)
		}
	}
	unix.Close(u.fd)
	for _, b := range u.mapped {
		_ = unix.Munmap(b)
	}
}
