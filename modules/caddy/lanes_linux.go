// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/andogate/ando/modules/lane"
	"github.com/andogate/ando/modules/lane/poll"
	"github.com/andogate/ando/modules/lane/ring"
)

// laneSet is one event loop for each processor.
type laneSet struct {
	loops []lane.Loop
	next  atomic.Uint32
}

// drivers are the ways to run a loop, the best first.
var drivers = []struct {
	name string
	open func(lane.Config) (lane.Loop, error)
}{
	{"ring", func(c lane.Config) (lane.Loop, error) { return ring.NewLoop(c) }},
	{"poll", func(c lane.Config) (lane.Loop, error) { return poll.NewLoop(c) }},
}

// openLanes starts the loops: with the first driver that works, or the one that kind names.
func openLanes(kind string, log *zap.Logger) (*laneSet, error) {
	config := lane.Config{Limits: &lane.DefaultLimits, Timeouts: &lane.DefaultTimeouts}
	var errs []error
	for _, driver := range drivers {
		if kind != "auto" && kind != driver.name {
			continue
		}
		set := new(laneSet)
		var err error
		for len(set.loops) < runtime.GOMAXPROCS(0) && err == nil {
			var loop lane.Loop
			if loop, err = driver.open(config); err == nil {
				set.loops = append(set.loops, loop)
			}
		}
		if err == nil {
			log.Info("event loops serve plain HTTP/1.1",
				zap.String("lane", driver.name), zap.Int("loops", len(set.loops)), zap.Errors("unavailable", errs))
			return set, nil
		}
		for _, loop := range set.loops {
			loop.Close(0)
		}
		errs = append(errs, fmt.Errorf("%s: %w", driver.name, err))
	}
	return nil, errors.Join(errs...)
}

// take moves a connection into a loop. It reports false, and leaves the connection as it is, when it is no plain TCP
// connection.
func (s *laneSet) take(conn net.Conn, site *lane.Site) bool {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return false
	}
	remote, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return false
	}
	local, ok := conn.LocalAddr().(*net.TCPAddr)
	if !ok {
		return false
	}
	fd, err := duplicate(tcp)
	if err != nil {
		return false
	}
	// The copy keeps the connection; Go's poller must not watch it as well.
	_ = tcp.Close()
	loop := s.loops[int(s.next.Add(1))%len(s.loops)]
	loop.Accept(fd, remote.AddrPort(), local.AddrPort(), site)
	return true
}

func duplicate(conn syscall.Conn) (fd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	controlErr := raw.Control(func(f uintptr) { fd, err = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 0) })
	if err == nil {
		err = controlErr
	}
	return fd, err
}
