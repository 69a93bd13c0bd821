// SPDX-License-Identifier: Apache-2.0

package health

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// dialer asks for no TCP keep-alive: the probes are that.
var dialer = net.Dialer{KeepAlive: -1, KeepAliveConfig: net.KeepAliveConfig{Enable: false}}

const (
	// maxHead bounds the head of a response.
	maxHead = 64 << 10
	// maxKept is how many probes one connection carries: a node that accepts no more connections is found out. maxIdle is
	// the longest interval for which one is kept.
	maxKept = 16
	maxIdle = 5 * time.Second
)

// kept is a connection between two probes. It belongs to one target.
type kept struct {
	// raw is what was dialled, and conn what is spoken on, which is TLS over it or the same.
	raw, conn net.Conn
	// limited counts what may still be read of a head, and in reads from it.
	limited io.LimitedReader
	in      *bufio.Reader
	used    int
}

func (k *kept) close() {
	if k != nil {
		_ = k.raw.Close()
	}
}

// flight lets whoever has no use for a probe any more end it.
type flight struct {
	over atomic.Bool
	conn atomic.Pointer[kept]
}

// on says which connection the probe waits for; nil is none. It returns false when the probe has been ended.
func (f *flight) on(k *kept) bool {
	f.conn.Store(k)
	return !f.over.Load()
}

func (f *flight) end() {
	f.over.Store(true)
	f.conn.Load().close()
}

// probe probes a node once, on the connection of the probe before if there is one, which it takes over. It returns what
// that counts as, with a limit of 0 for a status in neither list, what happened, and the connection if it can carry
// another probe.
func (c *Checker) probe(ctx context.Context, f *flight, node *gateway.Node, before *kept) (event, string, *kept) {
	a := &c.config.Active
	deadline := time.Now().Add(a.Timeout)
	status, after, err := c.ask(ctx, f, node, before, deadline)
	if err != nil && before != nil && !isTimeout(err) {
		// The node may have closed a connection that it took for idle.
		status, after, err = c.ask(ctx, f, node, nil, deadline)
	}
	if err != nil {
		after = nil
	}
	e, reason := c.outcome(status, err)
	return e, reason, after
}

// outcome returns what a probe counts as and what happened. status is that of an http probe without an error.
func (c *Checker) outcome(status int, err error) (event, string) {
	a := &c.config.Active
	switch {
	case err == nil && a.Type == "tcp":
		return event{success, a.successes}, "connected"
	case err == nil:
		return a.status(status), "status " + strconv.Itoa(status)
	case errors.Is(err, errNotHTTP):
		return event{httpFailure, a.httpFailures}, err.Error()
	case isTimeout(err):
		return event{timeoutFailure, a.timeouts}, fmt.Sprintf("no answer within %v", a.Timeout)
	}
	return event{tcpFailure, a.tcpFailures}, err.Error()
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

var (
	errNotHTTP = errors.New("the answer is not HTTP")
	errClosed  = errors.New("the connection closed before an answer")
)

// ask connects, unless there is a connection, and returns the status that the node answers with.
func (c *Checker) ask(ctx context.Context, f *flight, node *gateway.Node, k *kept, deadline time.Time) (status int, after *kept, err error) {
	a := &c.config.Active
	if k == nil {
		conn, err := dial(ctx, node, a.Port, deadline)
		if err != nil {
			return 0, nil, err
		}
		if a.Type == "tcp" {
			return 0, nil, conn.Close()
		}
		k = &kept{raw: conn, conn: conn}
	}
	defer func() {
		if f.on(nil); after == nil {
			k.close()
		}
	}()
	if !f.on(k) {
		return 0, nil, net.ErrClosed
	}
	if err := k.conn.SetDeadline(deadline); err != nil {
		return 0, nil, err
	}
	if k.in == nil {
		if err := c.prepare(ctx, node, k); err != nil {
			return 0, nil, err
		}
	}
	if _, err := k.conn.Write(c.requestFor(node)); err != nil {
		return 0, nil, err
	}
	k.limited.N = maxHead
	status, whole, err := c.readResponse(k)
	if err != nil {
		return 0, nil, err
	}
	if k.used++; whole && k.used < maxKept && a.HealthyInterval <= maxIdle {
		after = k
	}
	return status, after, nil
}

// prepare makes a new connection ready for requests.
func (c *Checker) prepare(ctx context.Context, node *gateway.Node, k *kept) error {
	if c.tls != nil {
		secure := tls.Client(k.raw, c.tlsFor(node))
		if err := secure.HandshakeContext(ctx); err != nil {
			return err
		}
		k.conn = secure
	}
	k.limited.R = k.conn
	k.in = bufio.NewReaderSize(&k.limited, 2048)
	return nil
}

// readResponse returns the status of a response, and whether all of it has been read so that another can follow.
func (c *Checker) readResponse(k *kept) (status int, whole bool, err error) {
	if _, err := k.in.Peek(1); err != nil {
		return 0, false, c.unreadable(k, err)
	}
	here, _ := k.in.Peek(k.in.Buffered())
	if status := wholeResponse(here); status != 0 && c.asked.Method != http.MethodHead {
		_, _ = k.in.Discard(len(here))
		return status, true, nil
	}
	r, err := http.ReadResponse(k.in, c.asked)
	for err == nil && r.StatusCode < 200 && r.StatusCode != http.StatusSwitchingProtocols {
		r, err = http.ReadResponse(k.in, c.asked)
	}
	if err != nil {
		return 0, false, c.unreadable(k, err)
	}
	return r.StatusCode, !r.Close && k.drained(r), nil
}

// unreadable says why there is no response: what came is not one, or nothing more came.
func (c *Checker) unreadable(k *kept, err error) error {
	var network net.Error
	switch {
	case k.limited.N <= 0:
		return errNotHTTP
	case errors.As(err, &network):
		return err
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errClosed
	}
	return errNotHTTP
}

// wholeResponse returns the status of the response that b is, when it is one of those that nearly all are: final, with a
// Content-Length and nothing said about the connection. Otherwise it returns 0.
func wholeResponse(b []byte) int {
	const version = "HTTP/1.1 "
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < len(version)+3 || string(b[:len(version)]) != version {
		return 0
	}
	status, err := strconv.Atoi(string(b[len(version) : len(version)+3]))
	if err != nil || status < 200 || status == http.StatusNoContent || status == http.StatusNotModified {
		return 0
	}
	length := -1
	lines := b[:end]
	for at := bytes.IndexByte(lines, '\n'); at >= 0; at = bytes.IndexByte(lines, '\n') {
		lines = lines[at+1:]
		name, value, _ := bytes.Cut(lines, []byte(":"))
		switch {
		case equalFold(name, "Connection") || equalFold(name, "Transfer-Encoding"):
			return 0
		case equalFold(name, "Content-Length"):
			value, _, _ = bytes.Cut(value, []byte("\r"))
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0
			}
		}
	}
	if length != len(b)-end-4 {
		return 0
	}
	return status
}

func equalFold(name []byte, want string) bool {
	return len(name) == len(want) && strings.EqualFold(string(name), want)
}

// drained reports whether the whole response is here already, and leaves it behind. No probe waits for a body.
func (k *kept) drained(r *http.Response) bool {
	if k.conn.SetReadDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	_, err := io.Copy(io.Discard, r.Body)
	return err == nil && k.in.Buffered() == 0
}

func dial(ctx context.Context, node *gateway.Node, port int, deadline time.Time) (net.Conn, error) {
	d := dialer
	d.Deadline = deadline
	if port == 0 {
		port = node.Port
	}
	if ip, err := netip.ParseAddr(node.Host); err == nil {
		conn, err := d.DialTCP(ctx, "tcp", netip.AddrPort{}, netip.AddrPortFrom(ip, uint16(port)))
		if err != nil {
			return nil, err
		}
		return resetting(conn), nil
	}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(node.Host, strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		return resetting(tcp), nil
	}
	return conn, nil
}

// resetting makes closing a reset: a probe closes when nothing more that comes is of interest, and ports that wait out
// their time after it, thousands of them, make every connect of the process slow.
func resetting(conn *net.TCPConn) net.Conn {
	_ = conn.SetLinger(0)
	return conn
}

// tlsFor has the node's own name where the config has none.
func (c *Checker) tlsFor(node *gateway.Node) *tls.Config {
	if c.tls.ServerName != "" {
		return c.tls
	}
	own := c.tls.Clone()
	own.ServerName = node.HostName()
	return own
}

func (c *Checker) requestFor(node *gateway.Node) []byte {
	if !c.hostless {
		return c.request
	}
	host := node.HostName()
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	request := make([]byte, 0, len(c.request)+len(host)+16+len(c.config.Active.Body))
	request = append(request, c.request...)
	request = append(request, "Host: "...)
	request = append(request, host...)
	request = append(request, "\r\n\r\n"...)
	return append(request, c.config.Active.Body...)
}
