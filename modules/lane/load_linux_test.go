// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/andogate/ando/modules/lane"
)

// number is how much of something a test uses: more with an environment variable.
func number(t testing.TB, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// TestSlowHeads: clients that send their heads a byte at a time are done with when their time is over, and take nothing
// from others. ANDO_SLOW_CLIENTS is how many there are.
func TestSlowHeads(t *testing.T) {
	if testing.Short() {
		t.Skip("a load test")
	}
	slowClients := number(t, "ANDO_SLOW_CLIENTS", 500)
	onEach(t, func(t *testing.T, driver string) {
		timeouts := lane.DefaultTimeouts
		timeouts.Head, timeouts.Linger = 2, 1
		node := newBadNode(t, (*nodeConn).serve)
		g := launch(t, driver, plan{nodes: []string{node.addr}, timeouts: timeouts}, echo)
		var slow, normal sync.WaitGroup
		var over atomic.Bool
		var refused, closed, worked atomic.Int64
		for range slowClients {
			conn := g.dial()
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nX: ")
			slow.Go(func() {
				text, _ := io.ReadAll(conn)
				switch {
				case bytes.HasPrefix(text, []byte("HTTP/1.1 408 ")):
					refused.Add(1)
				case len(text) == 0:
					closed.Add(1)
				default:
					t.Errorf("a slow client hears %q", text)
				}
				conn.Close()
			})
			slow.Go(func() {
				for {
					if _, err := io.WriteString(conn, "x"); err != nil {
						return
					}
					// A byte at a time, and each in a round of its own.
					g.loop.Conns()
				}
			})
		}
		for range 10 {
			conn := g.dial()
			normal.Go(func() {
				r := bufio.NewReader(conn)
				for !over.Load() {
					io.WriteString(conn, get)
					if status, body, err := readFinal(r); status != 200 || body != "ok" || err != nil {
						t.Errorf("a normal client gets %d %q %v", status, body, err)
						return
					}
					worked.Add(1)
				}
			})
		}
		slow.Wait()
		over.Store(true)
		normal.Wait()
		if n := refused.Load() + closed.Load(); int(n) != slowClients || refused.Load() == 0 || worked.Load() == 0 {
			t.Errorf("%d refused, %d closed, %d exchanges of others", refused.Load(), closed.Load(), worked.Load())
		}
		t.Logf("%d refused, %d closed, %d exchanges of others", refused.Load(), closed.Load(), worked.Load())
	})
}

// TestManySlowReaders: what waits for clients that do not read leaves buffers for those that do.
func TestManySlowReaders(t *testing.T) {
	if testing.Short() {
		t.Skip("a load test")
	}
	onEach(t, func(t *testing.T, driver string) {
		readers, size := 300, 2<<20
		if raceDetector {
			readers = 64
		}
		text := strings.Repeat("0123456789abcdef", size/16)
		began := make(chan bool, readers)
		node := newBadNode(t, func(c *nodeConn) {
			for req := c.request(); req != nil; req = c.request() {
				if req.URL.Path != "/large" {
					c.say(okay)
					continue
				}
				c.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, text[:64<<10]))
				began <- true
				c.say(text[64<<10:])
			}
		})
		g := launch(t, driver, plan{nodes: []string{node.addr}, timeout: time.Minute}, echo)
		var slow []net.Conn
		for range readers {
			conn := g.dial()
			tcp(conn).SetReadBuffer(64 << 10)
			io.WriteString(conn, strings.Replace(get, "/", "/large", 1))
			slow = append(slow, conn)
		}
		for range readers {
			<-began
		}
		conn := g.dial()
		r := bufio.NewReader(conn)
		for range 200 {
			io.WriteString(conn, get)
			if status, body, err := readFinal(r); status != 200 || body != "ok" || err != nil {
				t.Fatalf("%d %q %v", status, body, err)
			}
		}
		for _, conn := range slow {
			if status, body, err := readFinal(bufio.NewReader(conn)); status != 200 || body != text || err != nil {
				t.Fatalf("%d, %d bytes, %v", status, len(body), err)
			}
			conn.Close()
		}
	})
}

// TestIdleMemory states what an idle keep-alive connection costs. ANDO_IDLE_CONNECTIONS is how many there are. The clients
// are another process, the test itself with ANDO_IDLE_CLIENT set.
func TestIdleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("a load test")
	}
	connections := 1000
	if raceDetector {
		connections = 100
	}
	connections = number(t, "ANDO_IDLE_CONNECTIONS", connections)
	if to := os.Getenv("ANDO_IDLE_CLIENT"); to != "" {
		driver, addr, _ := strings.Cut(to, "@")
		for _, conn := range connect(t, driver, addr, connections) {
			defer conn.Close()
		}
		fmt.Println("connected")
		io.Copy(io.Discard, os.Stdin)
		return
	}
	onEach(t, func(t *testing.T, driver string) {
		if os.Getenv("ANDO_IDLE_ALONE") == "" {
			// What other tests have left of the process's memory would be in the way.
			_, name, _ := strings.Cut(t.Name(), "/")
			alone := exec.Command(os.Args[0], "-test.v", "-test.run=^TestIdleMemory$/^"+name+"$")
			alone.Env = append(os.Environ(), "ANDO_IDLE_ALONE=1")
			out, err := alone.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
			return
		}
		node := newBadNode(t, (*nodeConn).serve)
		g := launch(t, driver, plan{nodes: []string{node.addr}}, echo)
		// What comes with the first connections is not theirs.
		for _, conn := range connect(t, driver, g.addr, 50) {
			conn.Close()
		}
		g.settles(1)
		heap, resident := memory(t)
		client := exec.Command(os.Args[0], "-test.run=^TestIdleMemory$")
		client.Env = append(os.Environ(), "ANDO_IDLE_CLIENT="+driver+"@"+g.addr)
		client.Stderr = os.Stderr
		in, _ := client.StdinPipe()
		out, err := client.StdoutPipe()
		if err == nil {
			err = client.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "connected\n" {
			t.Fatalf("the clients say %q, %v", line, err)
		}
		if n := g.loop.Conns(); n != connections+1 {
			t.Errorf("%d connections", n)
		}
		heapNow, residentNow := memory(t)
		perHeap, perResident := (heapNow-heap)/connections, (residentNow-resident)/connections
		t.Logf("%d idle connections: %d bytes of heap and %d bytes resident each", connections, perHeap, perResident)
		limit := 10_000
		if strings.HasSuffix(driver, " tls") {
			// crypto/tls keeps the state of its handshake and a buffer of its own.
			limit = 16_000
		}
		// A race detector shadows memory, and so few connections are lost in what else happens.
		if perHeap > limit && !raceDetector || perResident > limit && !raceDetector {
			t.Errorf("an idle connection takes %d bytes of heap and %d bytes resident, want at most %d", perHeap, perResident, limit)
		}
		in.Close()
		if err := client.Wait(); err != nil {
			t.Error(err)
		}
		g.settles(1)
	})
}

// connect makes connections that have served a request each.
func connect(t testing.TB, driver, addr string, n int) (conns []net.Conn) {
	t.Helper()
	for range n {
		conn := dial(t, driver, addr)
		// The head comes in two pieces, as now and then it does.
		io.WriteString(conn, get[:10])
		io.WriteString(conn, get[10:])
		if status, _, err := readFinal(bufio.NewReader(conn)); status != 200 {
			t.Fatalf("%d, %v", status, err)
		}
		conns = append(conns, conn)
	}
	return conns
}

// memory returns what the heap holds and what of the process is in memory.
func memory(t testing.TB) (heap, resident int) {
	t.Helper()
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int
	fmt.Sscan(string(text), &size, &pages)
	return int(stats.HeapAlloc), pages * os.Getpagesize()
}
