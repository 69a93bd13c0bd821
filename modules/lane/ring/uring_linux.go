// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The parts of io_uring's interface that a loop uses; io_uring_setup(2) and io_uring_enter(2) explain them.
const (
	opPollAdd     = 6
	opSendMsg     = 9
	opAccept      = 13
	opAsyncCancel = 14
	opConnect     = 16
	opClose       = 19
	opRead        = 22
	opSend        = 26
	opRecv        = 27

	setupCQSize       = 1 << 3
	setupClamp        = 1 << 4
	setupSubmitAll    = 1 << 7
	setupSingleIssuer = 1 << 12
	setupDeferTaskrun = 1 << 13
	setupNoSQArray    = 1 << 16

	enterGetEvents = 1 << 0
	enterExtArg    = 1 << 3

	sqeBufferSelect = 1 << 5
	recvPollFirst   = 1 << 0
	recvMultishot   = 1 << 1

	cqeBuffer = 1 << 0
	cqeMore   = 1 << 1

	pollMulti = 1 << 0

	cancelAll = 1 << 0
	cancelFD  = 1 << 1

	registerPbufRing = 22

	mmapSQEs = 0x10000000
)

// entry is a submission queue entry.
type entry struct {
	op, flags   uint8
	ioprio      uint16
	fd          int32
	off         uint64
	addr        uint64
	length      uint32
	opFlags     uint32
	data        uint64
	bufferGroup uint16
	personality uint16
	file        int32
	addr3       uint64
	_           uint64
}

// completion is a completion queue entry.
type completion struct {
	data  uint64
	res   int32
	flags uint32
}

// params is struct io_uring_params.
type params struct {
	sqEntries, cqEntries, flags, cpu, idle, features, wq uint32
	_                                                    [3]uint32
	sq                                                   struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

// uring is one io_uring with a ring of provided buffers. It belongs to the thread that made it.
type uring struct {
	fd             int
	sqHead, sqTail *uint32
	cqHead, cqTail *uint32
	sqMask, cqMask uint32
	entries        []entry
	completions    []completion
	tail           uint32

	queues, entryMemory []byte

	buffers, bufferRing []byte
	bufferMask          uint16
	bufferTail          uint16

	wait    *waitArg
	timeout *unix.Timespec
}

// waitArg is struct io_uring_getevents_arg.
type waitArg struct {
	sigmask     uint64
	sigmaskSize uint32
	minWait     uint32
	timespec    uint64
}

// ErrUnavailable says that this kernel or container does not offer what a ring loop needs.
var ErrUnavailable = errors.New("io_uring is not available")

func newUring(size uint32) (*uring, error) {
	p := &params{
		flags: setupCQSize | setupClamp | setupSubmitAll | setupSingleIssuer | setupDeferTaskrun | setupNoSQArray,
		// Every connection may complete several things between two looks.
		cqEntries: size * 4,
	}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(size), uintptr(unsafe.Pointer(p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, os.NewSyscallError("io_uring_setup", errno))
	}
	r := &uring{fd: int(fd), wait: new(waitArg), timeout: &unix.Timespec{Sec: 1}}
	r.wait.timespec = uint64(uintptr(unsafe.Pointer(r.timeout)))
	length := max(int(p.cq.cqes+p.cqEntries*uint32(unsafe.Sizeof(completion{}))), int(p.sq.tail)+4, int(p.cq.tail)+4)
	var err error
	if r.queues, err = mapRing(r.fd, 0, length); err != nil {
		return nil, errors.Join(err, r.close())
	}
	if r.entryMemory, err = mapRing(r.fd, mmapSQEs, int(p.sqEntries)*int(unsafe.Sizeof(entry{}))); err != nil {
		return nil, errors.Join(err, r.close())
	}
	at := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.queues[offset])) }
	r.sqHead, r.sqTail, r.sqMask = at(p.sq.head), at(p.sq.tail), *at(p.sq.mask)
	r.cqHead, r.cqTail, r.cqMask = at(p.cq.head), at(p.cq.tail), *at(p.cq.mask)
	r.entries = unsafe.Slice((*entry)(unsafe.Pointer(&r.entryMemory[0])), p.sqEntries)
	r.completions = unsafe.Slice((*completion)(unsafe.Pointer(&r.queues[p.cq.cqes])), p.cqEntries)
	if err := r.provideBuffers(); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func mapRing(fd int, offset int64, length int) ([]byte, error) {
	b, err := unix.Mmap(fd, offset, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	return b, os.NewSyscallError("mmap", err)
}

// The provided buffers of a loop: what the kernel puts received bytes in. They are touched, and so take memory, only as
// far as they are in use at once.
const (
	bufferSize  = 64 << 10
	bufferCount = 256
)

func (r *uring) provideBuffers() (err error) {
	const anonymous = unix.MAP_ANON | unix.MAP_PRIVATE
	if r.buffers, err = unix.Mmap(-1, 0, bufferCount*bufferSize, unix.PROT_READ|unix.PROT_WRITE, anonymous); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	if r.bufferRing, err = unix.Mmap(-1, 0, bufferCount*16, unix.PROT_READ|unix.PROT_WRITE, anonymous); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	r.bufferMask = bufferCount - 1
	registration := &struct {
		addr         uint64
		entries      uint32
		group, flags uint16
		_            [3]uint64
	}{addr: uint64(uintptr(unsafe.Pointer(&r.bufferRing[0]))), entries: bufferCount}
	if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), registerPbufRing,
		uintptr(unsafe.Pointer(registration)), 1, 0, 0); errno != 0 {
		return fmt.Errorf("%w: %w", ErrUnavailable, os.NewSyscallError("io_uring_register", errno))
	}
	for id := range uint16(bufferCount) {
		r.recycle(id)
	}
	r.publish()
	return nil
}

// buffer returns the first n bytes of a provided buffer.
func (r *uring) buffer(id uint16, n int) []byte {
	start := int(id) * bufferSize
	return r.buffers[start : start+n : start+bufferSize]
}

// recycle gives a buffer back to the kernel, once publish has been called.
func (r *uring) recycle(id uint16) {
	slot := unsafe.Pointer(&r.bufferRing[int(r.bufferTail&r.bufferMask)*16])
	*(*uint64)(slot) = uint64(uintptr(unsafe.Pointer(&r.buffers[int(id)*bufferSize])))
	*(*uint32)(unsafe.Add(slot, 8)) = bufferSize
	*(*uint16)(unsafe.Add(slot, 12)) = id
	r.bufferTail++
}

// publish lets the kernel see what was recycled. The ring's tail shares its aligned 32 bits with the id of the first
// slot, so both are stored at once.
func (r *uring) publish() {
	first := *(*uint16)(unsafe.Pointer(&r.bufferRing[12]))
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&r.bufferRing[12])), uint32(r.bufferTail)<<16|uint32(first))
}

// next returns an empty submission entry.
func (r *uring) next() *entry {
	for r.tail-atomic.LoadUint32(r.sqHead) >= uint32(len(r.entries)) {
		r.submit()
	}
	e := &r.entries[r.tail&r.sqMask]
	r.tail++
	*e = entry{}
	return e
}

// submit hands over what is queued without waiting.
func (r *uring) submit() {
	atomic.StoreUint32(r.sqTail, r.tail)
	queued := r.tail - atomic.LoadUint32(r.sqHead)
	_, _, _ = unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(queued), 0, enterGetEvents, 0, 0)
}

// submitAndWait hands over what is queued and waits for a completion, at most a second.
func (r *uring) submitAndWait() {
	atomic.StoreUint32(r.sqTail, r.tail)
	queued := r.tail - atomic.LoadUint32(r.sqHead)
	_, _, _ = unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(queued), 1, enterGetEvents|enterExtArg,
		uintptr(unsafe.Pointer(r.wait)), unsafe.Sizeof(waitArg{}))
}

// completed calls f for what has completed.
func (r *uring) completed(f func(*completion)) {
	head, tail := atomic.LoadUint32(r.cqHead), atomic.LoadUint32(r.cqTail)
	for ; head != tail; head++ {
		f(&r.completions[head&r.cqMask])
		// What f submits may need room in the completion queue.
		atomic.StoreUint32(r.cqHead, head+1)
	}
}

func (r *uring) close() error {
	err := unix.Close(r.fd)
	for _, memory := range [][]byte{r.queues, r.entryMemory, r.bufferRing, r.buffers} {
		if memory != nil {
			err = errors.Join(err, unix.Munmap(memory))
		}
	}
	return err
}
