// SPDX-License-Identifier: Apache-2.0

package poll

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// These calls never wait, so they skip the bookkeeping by which Go's scheduler learns that a thread might.

// read reads from a socket; the kernel has less to do for recvfrom than for read.
func read(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// accept accepts a connection and leaves the address of its peer in remote.
func accept(fd int, remote *unix.RawSockaddrInet6) (int, unix.Errno) {
	size := uint32(unix.SizeofSockaddrInet6)
	conn, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(remote)),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(conn), errno
}

func write(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// writeBoth writes a and then b with one call.
func writeBoth(fd int, a, b []byte) (int, unix.Errno) {
	if len(a) == 0 {
		return write(fd, b)
	}
	vector := [2]unix.Iovec{
		{Base: unsafe.SliceData(a), Len: uint64(len(a))},
		{Base: unsafe.SliceData(b), Len: uint64(len(b))},
	}
	message := unix.Msghdr{Iov: &vector[0], Iovlen: 2}
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&message)),
		unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	return int(n), errno
}

// pollNow returns the events that are there already.
func pollNow(epoll int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}
