// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package andocaddy

import (
	"errors"
	"net"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/lane"
)

// laneSet is empty here: event loops exist on Linux alone.
type laneSet struct{}

func openLanes(string, *zap.Logger) (*laneSet, error) {
	return nil, errors.New("event loops are not available on this system")
}

func (*laneSet) take(net.Conn, *lane.Site) bool { return false }

func (*laneSet) listen(*net.TCPListener, *lane.Site, net.KeepAliveConfig) (stop func(), err error) {
	return nil, errors.ErrUnsupported
}

// drainSocket closes a listening socket. Who waits in its queue is lost.
func drainSocket(ln *net.TCPListener) ([]*net.TCPConn, error) { return nil, ln.Close() }
