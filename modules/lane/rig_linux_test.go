// SPDX-License-Identifier: Apache-2.0

package lane_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andogate/ando/modules/gateway"
	"github.com/andogate/ando/modules/lane"
	"github.com/andogate/ando/modules/lane/poll"
	"github.com/andogate/ando/modules/lane/ring"
	"github.com/andogate/ando/modules/nethttp"
)

// newLoops are the drivers; every test of a loop runs on each.
var newLoops = map[string]func(lane.Config) (lane.Loop, error){
	"poll": func(c lane.Config) (lane.Loop, error) { return poll.NewLoop(c) },
	"ring": func(c lane.Config) (lane.Loop, error) { return ring.NewLoop(c) },
}

// onEach runs a test on every driver that this system has.
func onEach(t *testing.T, test func(t *testing.T, driver string)) {
	for name := range newLoops {
		t.Run(name, func(t *testing.T) { test(t, name) })
		t.Run(name+" tls", func(t *testing.T) { test(t, name+" tls") })
	}
}

// onEveryWire is onEach with net/http as one more driver, as the listener wrapper has it.
func onEveryWire(t *testing.T, test func(t *testing.T, driver string)) {
	onEach(t, test)
	for _, name := range []string{netHTTP, netHTTP + " tls"} {
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

const netHTTP = "net_http"

// serveHTTP has net/http serve the gateway on strict connections.
func serveHTTP(t testing.TB, driver string, p plan) (addr string) {
	t.Helper()
	g, _ := p.open(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: nethttp.New(nethttp.Config{Gateway: g}), ConnContext: nethttp.ConnContext, MaxHeaderBytes: p.limits.HeadBytes,
		ErrorLog: log.New(io.Discard, "", 0),
	}
	conns := &handedOver{conns: make(chan net.Conn), closed: make(chan struct{})}
	go server.Serve(conns)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if strings.HasSuffix(driver, " tls") {
				conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
			}
			conns.give(lane.Strict(conn))
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		server.Close()
		g.Close()
	})
	return listener.Addr().String()
}

// certificate is good enough for a client that does not look.
var certificate = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
})

// dial connects to what start returned, for the same driver.
func dial(t testing.TB, driver, addr string) net.Conn {
	t.Helper()
	var conn net.Conn
	var err error
	if strings.HasSuffix(driver, " tls") {
		conn, err = tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	} else {
		conn, err = net.Dial("tcp", addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// gate is a loop behind a real listener.
type gate struct {
	t      testing.TB
	driver string
	addr   string
	loop   lane.Loop
	nodes  []*gateway.Node
	stop   func()
}

// start runs a loop, or net/http, in front of the given nodes and returns the address to talk to.
func start(t testing.TB, driver string, chain *gateway.Chain, timeout time.Duration, nodes ...string) string {
	t.Helper()
	p := plan{chain: chain, timeout: timeout, nodes: nodes}
	if strings.HasPrefix(driver, netHTTP) {
		return serveHTTP(t, driver, p)
	}
	return launch(t, driver, p, echo).addr
}

// launch runs a loop. handler serves what the loop hands over.
func launch(t testing.TB, driver string, p plan, handler http.HandlerFunc) *gate {
	t.Helper()
	g, nodes := p.open(t)
	loop, err := newLoops[strings.TrimSuffix(driver, " tls")](lane.Config{Limits: &p.limits, Timeouts: &p.timeouts})
	if strings.HasPrefix(driver, "ring") && errors.Is(err, ring.ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	handed := &handedOver{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: handler}
	go server.Serve(handed)
	site := &lane.Site{HandOver: handed.give}
	cert, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	site.Serve(&lane.Serving{Gateway: g, Log: p.log})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unlisten := func() {}
	if strings.HasSuffix(driver, " tls") {
		go serveTLS(listener, config, loop, site)
	} else if unlisten, err = lane.Listen(listener.(*net.TCPListener), []lane.Loop{loop}, site, net.KeepAliveConfig{Enable: true}); err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceFunc(func() {
		unlisten()
		listener.Close()
		loop.Close(0)
		server.Close()
		g.Close()
	})
	t.Cleanup(stop)
	return &gate{t, driver, listener.Addr().String(), loop, nodes, stop}
}

// serveTLS accepts connections and gives them to the loop after their handshake.
func serveTLS(listener net.Listener, config *tls.Config, loop lane.Loop, site *lane.Site) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			secure := tls.Server(&lane.Socket{TCPConn: conn.(*net.TCPConn)}, config)
			if secure.Handshake() != nil || !lane.Give(secure, loop, site) {
				conn.Close()
			}
		}()
	}
}

// dial connects to the gate.
func (g *gate) dial() net.Conn {
	g.t.Helper()
	conn := dial(g.t, g.driver, g.addr)
	g.t.Cleanup(func() { conn.Close() })
	return conn
}

// await waits until something has come true that only the loop can bring about.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("still waiting until %s", what)
		}
	}
}

// settles waits until the loop has that many connections and no attempt is under way.
func (g *gate) settles(conns int) {
	g.t.Helper()
	await(g.t, fmt.Sprintf("%d connections are left", conns), func() bool { return g.loop.Conns() == conns })
	await(g.t, "nothing is in flight", func() bool { return inFlight(g.nodes) == 0 })
}

// handedOver is a listener of connections that the lane gave away.
type handedOver struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (h *handedOver) give(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.closed:
		conn.Close()
	}
}

func (h *handedOver) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handedOver) Close() error   { h.once.Do(func() { close(h.closed) }); return nil }
func (h *handedOver) Addr() net.Addr { return &net.TCPAddr{} }

// rawNode serves canned bytes to every connection after it has read a request head, and counts requests.
func rawNode(t testing.TB, serve func(conn net.Conn, r *bufio.Reader)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn, bufio.NewReader(conn))
			}()
		}
	}()
	return listener.Addr().String()
}

// httpNode is a net/http server as a node.
func httpNode(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return listener.Addr().String()
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("X-Saw", r.Method+" "+r.RequestURI)
	w.Write(body)
}
