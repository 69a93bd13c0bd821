// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"net"
	"time"
)

// dawdle keeps connections on which a head never ends: each sends a byte a second, and connects again when it is closed. It
// says so on standard output when all are connected.
func dawdle(c config, over <-chan time.Time) error {
	conns := make([]net.Conn, c.connections)
	var err error
	for i := range conns {
		if conns[i], err = begin(c.target); err != nil {
			return err
		}
	}
	fmt.Printf("%d slow connections\n", len(conns))
	// A share of them each tick, so that they do not all come at once.
	const shares = 50
	tick := time.NewTicker(time.Second / shares)
	defer tick.Stop()
	for share := 0; ; share = (share + 1) % shares {
		select {
		case <-over:
			return nil
		case <-tick.C:
		}
		for i := share; i < len(conns); i += shares {
			if conns[i] != nil {
				if _, err := conns[i].Write([]byte("x")); err == nil {
					continue
				}
				_ = conns[i].Close()
			}
			// The next round tries again.
			conns[i], _ = begin(c.target)
		}
	}
}

// begin connects and sends how a request begins.
func begin(target string) (net.Conn, error) {
	conn, err := net.DialTimeout("tcp", target, time.Second)
	if err != nil {
		return nil, err
	}
	_, err = conn.Write([]byte("GET /slow HTTP/1.1\r\nHost: host0.example.com\r\nX-Slow: "))
	return conn, err
}
