// SPDX-License-Identifier: Apache-2.0

package andocaddy

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync/atomic"

	"go.uber.org/zap"

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

// take moves a connection into a loop; see lane.Give.
func (s *laneSet) take(conn net.Conn, site *lane.Site) bool {
	return lane.Give(conn, s.loops[int(s.next.Add(1))%len(s.loops)], site)
}

// listen has the loops accept what comes to ln; see lane.Listen.
func (s *laneSet) listen(ln *net.TCPListener, site *lane.Site, alive net.KeepAliveConfig) (stop func(), err error) {
	return lane.Listen(ln, s.loops, site, alive)
}

// drainSocket closes a listening socket and returns who waited in its queue; see lane.Drain.
func drainSocket(ln *net.TCPListener) ([]*net.TCPConn, error) { return lane.Drain(ln) }
