// SPDX-License-Identifier: Apache-2.0

package stream

import "golang.org/x/sys/unix"

// pipe is where bytes are between two sockets.
type pipe struct{ r, w int }

const (
	// pipeSize is what a pipe is asked to hold, in bytes. It may be refused, and then is the system's 64 KiB.
	pipeSize = 256 << 10
	// sparePipes bounds the pipes that are kept for the next who needs one.
	sparePipes = 64
)

var pipes = make(chan *pipe, sparePipes)

// getPipe returns nil when the system has none.
func getPipe() *pipe {
	select {
	case p := <-pipes:
		return p
	default:
	}
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil
	}
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize)
	return &pipe{fds[0], fds[1]}
}

// putPipe gives a pipe back, or closes it unless it is empty.
func putPipe(p *pipe, empty bool) {
	if empty {
		select {
		case pipes <- p:
			return
		default:
		}
	}
	p.close()
}

func (p *pipe) close() {
	_ = unix.Close(p.r)
	_ = unix.Close(p.w)
}
