// SPDX-License-Identifier: Apache-2.0

package andocaddy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// endurance is what TestEndurance does. Each number can be given by an environment variable; ANDO_ENDURANCE=full stands for
// 200 reloads and 5000 writes under 200 keep-alive clients and 20 that make a connection for each request.
type endurance struct{ reloads, writes, clients, freshClients, idle int }

func newEndurance(t *testing.T) (e endurance) {
	t.Helper()
	e = endurance{reloads: 8, writes: 100, clients: 16, freshClients: 2, idle: 4}
	if os.Getenv("ANDO_ENDURANCE") == "full" {
		e = endurance{reloads: 200, writes: 5000, clients: 200, freshClients: 20, idle: 20}
	}
	for name, n := range map[string]*int{
		"ANDO_RELOADS": &e.reloads, "ANDO_WRITES": &e.writes, "ANDO_CLIENTS": &e.clients, "ANDO_FRESH_CLIENTS": &e.freshClients,
	} {
		if text := os.Getenv(name); text != "" {
			var err error
			if *n, err = strconv.Atoi(text); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	return e
}

// echoing is a node that says hello, and on a WebSocket whatever it hears.
func echoing(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "hello")
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	_, _ = io.Copy(conn, buffered)
}

// TestEndurance reloads the config and writes to the Admin API under load. No request fails, no connection is closed, idle
// ones and WebSockets included, and each request has its line in the access log.
func TestEndurance(t *testing.T) {
	size := newEndurance(t)
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	node := httptest.NewServer(http.HandlerFunc(echoing))
	defer node.Close()
	nodeAddr := strings.TrimPrefix(node.URL, "http://")
	for _, lane := range []string{"auto", "poll", "off"} {
		t.Run(lane, func(t *testing.T) {
			b := &bench{
				t: t, endurance: size, lane: lane, node: nodeAddr, log: filepath.Join(t.TempDir(), "access.log"),
				plain: freePort(t), secure: freePort(t), admin: freePort(t),
			}
			b.load(0)
			defer caddy.Stop()
			waitForCertificate(t, b.secure)
			b.run()
		})
	}
}

type bench struct {
	endurance
	t                    *testing.T
	lane, node, log      string
	plain, secure, admin int

	// own is for requests between reloads.
	own    http.Transport
	over   atomic.Bool
	served atomic.Int64
}

func (b *bench) load(mark int) {
	b.t.Helper()
	server := func(port int, more string) string {
		return fmt.Sprintf(`{"listen": ["ando/127.0.0.1:%d"], "protocols": ["h1", "h2"], "listener_wrappers": [{"wrapper": "ando"}],
			"automatic_https": {"disable": true}, "logs": {}, "routes": [{"handle": [{"handler": "ando"}]}]%s}`, port, more)
	}
	err := caddy.Load(fmt.Appendf(nil, `{
		"admin": {"disabled": true, "config": {"persist": false}},
		"logging": {"logs": {"default": {"level": "PANIC"}, "file": {"include": ["http.log.access"],
			"writer": {"output": "file", "filename": %q, "roll": false}, "encoder": {"format": "json"}}}},
		"apps": {
			"ando": {"lane": %q, "store": {"module": "memory"}, "admin": {"listen": "127.0.0.1:%d"}, "objects": [
				{"kind": "routes", "id": "r", "value": {"uri": "/*", "enable_websocket": true, "labels": {"mark": "%d"},
					"upstream": {"nodes": {%q: 1}}}}]},
			"tls": {"automation": {"policies": [{"issuers": [{"module": "internal"}]}]}, "certificates": {"automate": ["localhost"]}},
			"pki": {"certificate_authorities": {"local": {"install_trust": false}}},
			"http": {"http_port": 1, "servers": {"plain": %s, "secure": %s}}}}`,
		b.log, b.lane, b.admin, mark, b.node, server(b.plain, ""), server(b.secure, `, "tls_connection_policies": [{}]`)), true)
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) run() {
	t := b.t
	var idle, sockets []*talk
	for i := range b.idle {
		idle = append(idle, b.dial(i%2 == 1))
		idle[i].ask(t)
		sockets = append(sockets, b.dial(i%2 == 1))
		sockets[i].upgrade(t)
	}
	b.served.Add(int64(b.idle))
	var clients, changes sync.WaitGroup
	for i := range b.clients + b.freshClients {
		transport := &http.Transport{
			DisableKeepAlives: i >= b.clients, ForceAttemptHTTP2: i%4 == 3,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"},
		}
		transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if i < b.clients && err == nil {
				conn = &keptConn{Conn: conn, t: t, closed: make(chan struct{})}
			}
			return conn, err
		}
		url := fmt.Sprintf("http://localhost:%d/", b.plain)
		if i%2 == 1 {
			url = fmt.Sprintf("https://localhost:%d/", b.secure)
		}
		clients.Go(func() {
			defer transport.CloseIdleConnections()
			for !b.over.Load() {
				b.post(transport, url)
			}
		})
	}
	visits := int64(0)
	visit := func() {
		for i := range b.idle {
			idle[i].ask(t)
			sockets[i].say(t, "still there")
		}
		visits++
	}
	// Reloads and writes go on side by side, and requests between any two of them.
	changes.Go(func() {
		for i := range b.reloads {
			b.load(i + 1)
			b.progress()
			if i%10 == 9 {
				// Idle for longer than a minute they would rightly be closed.
				visit()
			}
		}
	})
	const writers = 4
	for w := range writers {
		changes.Go(func() {
			for i := w; i < b.writes; i += writers {
				b.write(i)
			}
		})
	}
	changes.Wait()
	b.over.Store(true)
	clients.Wait()
	b.own.CloseIdleConnections()
	visit()
	for i := range b.idle {
		idle[i].conn.Close()
		sockets[i].conn.Close()
	}
	b.served.Add(visits * int64(b.idle))
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(b.log)
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range bytes.Lines(text) {
		// WebSockets are logged when they end.
		if !bytes.Contains(line, []byte(`"Upgrade":["websocket"]`)) {
			lines++
		}
	}
	if n := int(b.served.Load()); lines != n {
		t.Errorf("%d lines for %d requests", lines, n)
	}
	t.Logf("%d requests over %d reloads and %d writes", b.served.Load(), b.reloads, b.writes)
}

// post makes one request. It is one that a client does not quietly repeat.
func (b *bench) post(transport *http.Transport, url string) {
	res, err := (&http.Client{Transport: transport}).Post(url, "text/plain", strings.NewReader("x"))
	var body []byte
	if err == nil {
		body, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if err == nil && (res.StatusCode != 200 || string(body) != "hello") {
		err = fmt.Errorf("%s %q", res.Status, body)
	}
	if err != nil {
		b.t.Errorf("%s: %v", url, err)
		b.over.Store(true)
		return
	}
	b.served.Add(1)
}

// progress waits for some requests.
func (b *bench) progress() {
	for before := b.served.Load(); b.served.Load() < before+int64(b.clients) && !b.over.Load(); {
		b.post(&b.own, fmt.Sprintf("http://localhost:%d/", b.plain))
	}
}

// write puts, and now and then deletes, a route beside that of the load.
func (b *bench) write(i int) {
	url := fmt.Sprintf("http://127.0.0.1:%d/apisix/admin/routes/w%d", b.admin, i%50)
	value := fmt.Sprintf(`{"uri":"/w/%d/*","desc":"%d","upstream":{"nodes":{%q:1}}}`, i%50, i, b.node)
	method := "PUT"
	if i%10 == 9 {
		method, value = "DELETE", ""
	}
	req, err := http.NewRequest(method, url, strings.NewReader(value))
	if err != nil {
		b.t.Error(err)
		return
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Errorf("%s %s: %v", method, url, err)
		return
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	if res.StatusCode/100 != 2 && !(method == "DELETE" && res.StatusCode == 404) {
		b.t.Errorf("%s %s: %s %s", method, url, res.Status, text)
	}
}

// keptConn is a connection that only the client may close. Go's client does so now and then under load: when it has the
// answer, but its own goroutine has not yet said for 50 ms that the request is written.
type keptConn struct {
	net.Conn
	t      *testing.T
	once   sync.Once
	closed chan struct{}
}

// Read waits with an end for the client's own: over TLS the client says that it closes before it does.
func (c *keptConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		select {
		case <-c.closed:
		case <-time.After(5 * time.Second):
			c.t.Errorf("a keep-alive connection ends: %v", err)
		}
	}
	return n, err
}

func (c *keptConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// talk is a connection that a test itself speaks on.
type talk struct {
	conn net.Conn
	r    *bufio.Reader
}

func (b *bench) dial(secure bool) *talk {
	b.t.Helper()
	var conn net.Conn
	var err error
	if secure {
		conn, err = tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.secure), &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
	} else {
		conn, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.plain))
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return &talk{conn, bufio.NewReader(conn)}
}

func (c *talk) ask(t *testing.T) {
	t.Helper()
	io.WriteString(c.conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Errorf("the connection that was idle: %v", err)
		return
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "hello" {
		t.Errorf("the connection that was idle: %q, %v", body, err)
	}
}

func (c *talk) upgrade(t *testing.T) {
	t.Helper()
	io.WriteString(c.conn, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	res, err := http.ReadResponse(c.r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("no WebSocket: %v, %v", res, err)
	}
	c.say(t, "hello")
}

func (c *talk) say(t *testing.T, text string) {
	t.Helper()
	io.WriteString(c.conn, text)
	heard := make([]byte, len(text))
	if _, err := io.ReadFull(c.r, heard); err != nil || string(heard) != text {
		t.Errorf("on the WebSocket: %q, %v", heard, err)
	}
}
