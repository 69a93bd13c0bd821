// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// held is how much a loop may keep of what one peer sent and another does not take: its bounds for output and input, and
// what the ring receives before it is told to stop.
const held = 6 << 20

// bulk is more than the loop and the buffers of four sockets, which the kernel makes as large as it is allowed to, can
// keep between them.
func bulk(t *testing.T) int64 {
	t.Helper()
	total := int64(held)
	for _, name := range []string{"rmem", "wmem"} {
		var least, usual, most int64
		text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_" + name)
		if err == nil {
			_, err = fmt.Sscan(string(text), &least, &usual, &most)
		}
		if err != nil {
			t.Fatal(err)
		}
		// A socket's size is doubled for the kernel's own use when a program sets it.
		total += 2 * max(most, 1<<20)
	}
	return total + total/4
}

// inKernel returns how many bytes the sockets of this process, which are those of client, loop and node, keep.
func inKernel(t *testing.T) (total int64) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		var fd int
		if _, err := fmt.Sscan(entry.Name(), &fd); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Getpeername(fd); err != nil {
			continue
		}
		for _, queue := range []uint{unix.SIOCINQ, unix.SIOCOUTQ} {
			n, err := unix.IoctlGetInt(fd, queue)
			if err != nil {
				t.Fatal(err)
			}
			total += int64(n)
		}
	}
	return total
}

// notHeld fails the test when of sent bytes, none of which has been read, the loop keeps too many. While it looks bytes may
// still move from a socket that it has not counted to one that it has, so it looks again before it complains.
func notHeld(t *testing.T, sent int64) {
	t.Helper()
	keeps := sent
	for range 100 {
		if keeps = min(keeps, sent-inKernel(t)); keeps <= held {
			return
		}
	}
	t.Errorf("the loop keeps %d of %d bytes that nobody takes", keeps, sent)
}

// write writes body to w, in pieces that frame makes, and returns its hash. As soon as not even a second makes room for a
// piece it calls stuck with how much has gone, once.
func write(t *testing.T, w io.Writer, body int64, frame func(piece []byte) []byte, stuck func(sent int64)) [32]byte {
	t.Helper()
	hash := sha256.New()
	piece := make([]byte, 32<<10)
	told := false
	for sent := int64(0); sent < body; sent += int64(len(piece)) {
		piece = piece[:min(body-sent, int64(len(piece)))]
		for i := range piece {
			piece[i] = byte(i) ^ byte(sent>>15)
		}
		hash.Write(piece)
		// A TLS connection cannot be written to after a deadline, so another goroutine writes.
		done := make(chan error, 1)
		go func() {
			_, err := w.Write(frame(piece))
			done <- err
		}()
		var err error
		if told {
			err = <-done
		} else {
			select {
			case err = <-done:
			case <-time.After(time.Second):
				told = true
				stuck(sent)
				err = <-done
			}
		}
		if err != nil {
			t.Errorf("after %d bytes: %v", sent, err)
			break
		}
	}
	if !told {
		t.Errorf("%d bytes were taken while nobody read", body)
		stuck(body)
	}
	return [32]byte(hash.Sum(nil))
}

// TestSlowReader: a node can send no more than a little ahead of what the client reads.
func TestSlowReader(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		body := bulk(t)
		stuck, sum := make(chan int64), make(chan [32]byte, 1)
		node := newBadNode(t, func(c *nodeConn) {
			c.request()
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", body)
			sum <- write(t, c, body, func(piece []byte) []byte { return piece }, func(sent int64) { stuck <- sent })
			c.serve()
		})
		g := launch(t, driver, plan{nodes: []string{node.addr}}, echo)
		conn := g.dial()
		io.WriteString(conn, get)
		notHeld(t, <-stuck)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.New()
		if n, err := io.Copy(hash, res.Body); n != body || err != nil {
			t.Fatalf("client read %d bytes, %v", n, err)
		}
		if [32]byte(hash.Sum(nil)) != <-sum {
			t.Error("client read something else than the node sent")
		}
		g.settles(2)
	})
}

// TestSlowNode: a client can send no more than a little ahead of what the node reads.
func TestSlowNode(t *testing.T) {
	onEach(t, func(t *testing.T, driver string) {
		start, sum := make(chan bool), make(chan [32]byte, 1)
		node := newBadNode(t, func(c *nodeConn) {
			req := c.request()
			<-start
			hash := sha256.New()
			io.Copy(hash, req.Body)
			sum <- [32]byte(hash.Sum(nil))
			c.say(okay)
			c.serve()
		})
		g := launch(t, driver, plan{nodes: []string{node.addr}}, echo)
		conn := g.dial()
		io.WriteString(conn, "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
		chunk := func(piece []byte) []byte { return fmt.Appendf(nil, "%x\r\n%s\r\n", len(piece), piece) }
		want := write(t, conn, bulk(t), chunk, func(sent int64) {
			notHeld(t, sent)
			close(start)
		})
		io.WriteString(conn, "0\r\n\r\n")
		r := bufio.NewReader(conn)
		if status, body, err := readFinal(r); status != 200 || body != "ok" || err != nil {
			t.Fatalf("%d %q %v", status, body, err)
		}
		if want != <-sum {
			t.Error("node read something else than the client sent")
		}
		io.WriteString(conn, get)
		if status, _, err := readFinal(r); status != 200 {
			t.Errorf("next answer: %d %v", status, err)
		}
	})
}
