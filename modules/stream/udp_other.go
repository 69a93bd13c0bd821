// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package stream

import (
	"net"
	"net/netip"
)

// controlSize is 0: nothing is told.
const controlSize = 0

// tellLocal does nothing: a socket for all addresses answers from the one that the system chooses.
func tellLocal(*net.UDPConn) {}

func toldLocal([]byte) netip.Addr { return netip.Addr{} }

func answerFrom(*Datagrams, netip.Addr) []byte { return nil }

// datagramReader reads what a node sends.
type datagramReader struct {
	conn   *net.UDPConn
	buffer []byte
}

func newDatagramReader(conn *net.UDPConn) (*datagramReader, error) {
	return &datagramReader{conn, make([]byte, maxDatagram)}, nil
}

// read waits for a datagram and calls use with it.
func (r *datagramReader) read(use func(b []byte)) error {
	n, err := r.conn.Read(r.buffer)
	if err == nil {
		use(r.buffer[:n])
	}
	return err
}
