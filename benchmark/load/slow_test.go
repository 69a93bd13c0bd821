// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"
)

// TestDawdle: slow clients begin a request, go on a byte at a time, never end it, and come again.
func TestDawdle(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	over, done := make(chan time.Time), make(chan error, 1)
	go func() { done <- dawdle(config{target: ln.Addr().String(), connections: 3}, over) }()
	// The first three, and one in the place of the first.
	for i := range 4 {
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if i > 1 && i < 3 {
			continue
		}
		r := bufio.NewReader(conn)
		if line, err := r.ReadString('\n'); err != nil || line != "GET /slow HTTP/1.1\r\n" {
			t.Errorf("connection %d: %q, %v", i, line, err)
		}
		if _, err := r.ReadString('\n'); err != nil {
			t.Error(err)
		}
		more := make([]byte, len("X-Slow: x"))
		if n, err := r.Read(more); err != nil || !strings.HasPrefix("X-Slow: x", string(more[:n])) {
			t.Errorf("connection %d: %q, %v", i, more[:n], err)
		}
		conn.Close()
	}
	close(over)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
