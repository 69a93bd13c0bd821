// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andogate/ando/modules/lane"
)

// TestChaos has many clients and nodes do everything wrong at once, at random, for ANDO_CHAOS on each driver. What gets
// through is right, no unsafe request is sent twice, and afterwards nothing is left. ANDO_CHAOS_SEED repeats a run as far as
// the network does.
func TestChaos(t *testing.T) {
	length := 5 * time.Second
	if text := os.Getenv("ANDO_CHAOS"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if testing.Short() {
		length = time.Second
	}
	seed := uint64(number(t, "ANDO_CHAOS_SEED", 1))
	onEach(t, func(t *testing.T, driver string) {
		goroutines, files := runtime.NumGoroutine(), openFiles(t)
		c := &chaos{seen: map[string]int{}, answers: map[string]int{}}
		var nodes []string
		var listeners []net.Listener
		for i := range 3 {
			listener := c.node(t, seed*100+uint64(i))
			listeners = append(listeners, listener)
			nodes = append(nodes, listener.Addr().String())
		}
		timeouts := lane.Timeouts{Idle: 5, Head: 1, Body: 1, Write: 1, Linger: 1}
		g := launch(t, driver, plan{nodes: nodes, timeout: time.Second, timeouts: timeouts}, echo)
		var clients sync.WaitGroup
		end := time.Now().Add(length)
		for i := range 60 {
			clients.Go(func() {
				random := rand.New(rand.NewPCG(seed, uint64(i)))
				for n := 0; time.Now().Before(end); n++ {
					c.client(t, g, random, fmt.Sprintf("%d-%d", i, n))
				}
			})
		}
		clients.Wait()
		await(t, "nothing is in flight", func() bool { return inFlight(g.nodes) == 0 })
		for _, listener := range listeners {
			listener.Close()
		}
		c.close()
		g.settles(0)
		g.stop()
		await(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= goroutines })
		await(t, "all files are closed", func() bool { return openFiles(t) <= files })
		for id, n := range c.seen {
			if n > 1 && strings.HasPrefix(id, "POST") {
				t.Errorf("nodes saw %s %d times", id, n)
			}
			// Each node once, and once more on a fresh connection for a stale one.
			if n > 6 {
				t.Errorf("nodes saw %s %d times", id, n)
			}
		}
		t.Logf("%d requests got to nodes, clients saw %v", len(c.seen), c.answers)
		if c.answers["200"] == 0 || c.answers["502"] == 0 {
			t.Error("nothing happened")
		}
	})
}

func openFiles(t testing.TB) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

type chaos struct {
	mu sync.Mutex
	// seen counts the requests that nodes have read, answers what clients read.
	seen, answers map[string]int
	conns         []net.Conn
}

func (c *chaos) note(counts map[string]int, what string) {
	c.mu.Lock()
	counts[what]++
	c.mu.Unlock()
}

// close ends the nodes' connections.
func (c *chaos) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
}

func (c *chaos) node(t testing.TB, seed uint64) net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for n := uint64(0); ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			c.conns = append(c.conns, conn)
			c.mu.Unlock()
			go c.serve(conn.(*net.TCPConn), rand.New(rand.NewPCG(seed, n)))
		}
	}()
	return listener
}

// serve answers on one connection until it does something that ends it.
func (c *chaos) serve(conn *net.TCPConn, random *rand.Rand) {
	defer conn.Close()
	if random.IntN(20) == 0 {
		return
	}
	r := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		c.note(c.seen, req.Method+" "+req.URL.Path)
		early := random.IntN(10) == 0
		if !early {
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
		}
		// The body says again and again whom it is for.
		body := strings.Repeat(req.URL.Path+"\n", 1+random.IntN(5)*random.IntN(2000))
		if random.IntN(100) == 0 {
			body = strings.Repeat(body, 20)
		}
		if req.Method == "HEAD" {
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
			continue
		}
		sized := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
		switch random.IntN(24) {
		case 0:
			return
		case 1:
			conn.SetLinger(0)
			return
		case 2:
			io.WriteString(conn, "HTTP/1.1 200 O")
			return
		case 3:
			io.WriteString(conn, sized+body[:len(body)/2])
			conn.SetLinger(random.IntN(2) - 1)
			return
		case 4:
			for _, b := range []byte(sized) {
				conn.Write([]byte{b})
			}
			io.WriteString(conn, body)
		case 5:
			io.WriteString(conn, sized+body+"surplus")
		case 6:
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"+body)
			return
		case 7:
			io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: l\r\n\r\n"+sized+body)
		case 8:
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(body), body)
			return
		case 9:
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
			return
		case 10:
			// It answers, and closes just when the next request may come.
			io.WriteString(conn, sized+body)
			return
		case 11:
			if random.IntN(10) == 0 {
				// It does not say another word.
				io.Copy(io.Discard, r)
				return
			}
			fallthrough
		case 12, 13, 14:
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			for rest := body; rest != ""; {
				n := min(1+random.IntN(20_000), len(rest))
				fmt.Fprintf(conn, "%x\r\n%s\r\n", n, rest[:n])
				rest = rest[n:]
			}
			io.WriteString(conn, "0\r\nX-Trailer: t\r\n\r\n")
		default:
			io.WriteString(conn, sized+body)
		}
		if early {
			return
		}
	}
}

// client makes one connection, a few requests on it, and leaves in some way.
func (c *chaos) client(t testing.TB, g *gate, random *rand.Rand, id string) {
	conn := dial(t, g.driver, g.addr)
	defer conn.Close()
	if random.IntN(4) == 0 {
		tcp(conn).SetLinger(0)
	}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	var in bytes.Buffer
	var sent []*http.Request
	for i := range 1 + random.IntN(6) {
		path := fmt.Sprintf("/%s-%d", id, i)
		body := strings.Repeat("b", random.IntN(2)*random.IntN(60_000))
		method := []string{"GET", "HEAD", "POST", "PUT", "POST"}[random.IntN(5)]
		if random.IntN(20) == 0 {
			path = "/none" + path
		}
		fmt.Fprintf(&in, "%s %s HTTP/1.1\r\nHost: h\r\n", method, path)
		switch {
		case method == "GET" || method == "HEAD":
			in.WriteString("\r\n")
		case random.IntN(2) == 0 && body != "":
			fmt.Fprintf(&in, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body)
		default:
			fmt.Fprintf(&in, "Content-Length: %d\r\n\r\n%s", len(body), body)
		}
		req, _ := http.NewRequest(method, path, nil)
		sent = append(sent, req)
	}
	whole := in.Len()
	leaves := random.IntN(10)
	if leaves == 0 {
		in.Truncate(random.IntN(whole))
	}
	var writer sync.WaitGroup
	defer writer.Wait()
	defer conn.Close()
	piece := 1 + random.IntN(in.Len()+1)
	writer.Go(func() {
		for in.Len() > 0 {
			if _, err := conn.Write(in.Next(piece)); err != nil {
				return
			}
		}
		if leaves == 1 || leaves == 0 {
			conn.(interface{ CloseWrite() error }).CloseWrite()
		}
	})
	r := bufio.NewReader(conn)
	for i, req := range sent {
		if leaves == 2 && i == len(sent)/2 {
			return
		}
		res, err := http.ReadResponse(r, req)
		for err == nil && res.StatusCode < 200 {
			res, err = http.ReadResponse(r, req)
		}
		if err != nil {
			c.note(c.answers, "end")
			return
		}
		if leaves == 3 && i == len(sent)-1 {
			io.CopyN(io.Discard, res.Body, 100)
			return
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			c.note(c.answers, "cut")
			return
		}
		c.note(c.answers, fmt.Sprint(res.StatusCode))
		switch {
		case res.StatusCode == 200 && req.Method != "HEAD" && strings.ReplaceAll(string(body), req.URL.Path+"\n", "") != "":
			t.Errorf("the answer to %s %s is %d bytes that are not its own: %.100q", req.Method, req.URL.Path, len(body), body)
			return
		case res.StatusCode == 408 || res.StatusCode == 400:
			return
		}
	}
}
