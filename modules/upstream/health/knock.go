// SPDX-License-Identifier: Apache-2.0

package health

import (
	"net"
	"net/netip"
	"os"
	"time"
)

// knock is a connection that is made for a tcp probe and closed at once.
type knock struct {
	to       netip.AddrPort
	deadline time.Time
	// doubt says that it makes a difference whether the node answers.
	doubt bool
	// done is told how it went, on the knocker's goroutine. A deadline that has passed is os.ErrDeadlineExceeded.
	done func(error)

	fd int
}

// knockAt returns where a tcp probe of a target knocks. A name has to be dialled.
func (t *target) knockAt() (netip.AddrPort, bool) {
	a := &t.record.version.config.Active
	addr, err := netip.ParseAddr(t.node.Host)
	if a.Type != "tcp" || err != nil || addr.Zone() != "" {
		return netip.AddrPort{}, false
	}
	port := a.Port
	if port == 0 {
		port = t.node.Port
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), true
}

// failed is the error of a system call for a connection, in the form that package net gives it.
func (k *knock) failed(call string, err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(k.to), Err: os.NewSyscallError(call, err)}
}
