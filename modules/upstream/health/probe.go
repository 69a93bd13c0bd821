// SPDX-License-Identifier: Apache-2.0

package health

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// dialer asks for no TCP keep-alive: a probe's connection lives for one request.
var dialer = net.Dialer{KeepAlive: -1, KeepAliveConfig: net.KeepAliveConfig{Enable: false}}

// maxStatusLine bounds what is read of a response.
const maxStatusLine = 1024

var buffers = sync.Pool{New: func() any { return new([maxStatusLine]byte) }}

// probe probes a node once. It returns what that counts as, with a limit of 0 for a status in neither list, and what
// happened.
func (c *Checker) probe(ctx context.Context, node *gateway.Node) (event, string) {
	a := &c.config.Active
	deadline := time.Now().Add(a.Timeout)
	status, err := c.ask(ctx, node, deadline)
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

var errNotHTTP = errors.New("the answer is not HTTP")

// ask connects and, unless that is all, returns the status that the node answers with.
func (c *Checker) ask(ctx context.Context, node *gateway.Node, deadline time.Time) (int, error) {
	a := &c.config.Active
	conn, err := dial(ctx, node, a.Port, deadline)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if a.Type == "tcp" {
		return 0, nil
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetDeadline(deadline); err != nil {
		return 0, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		// What follows the status line is of no interest: a reset saves both sides the rest of it, and this side a port.
		_ = tcp.SetLinger(0)
	}
	if c.tls != nil {
		secure := tls.Client(conn, c.tlsFor(node))
		if err := secure.HandshakeContext(ctx); err != nil {
			return 0, err
		}
		conn = secure
	}
	if _, err := conn.Write(c.requestFor(node)); err != nil {
		return 0, err
	}
	return readStatus(conn)
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
		return conn, nil
	}
	return d.DialContext(ctx, "tcp", net.JoinHostPort(node.Host, strconv.Itoa(port)))
}

// tlsFor has the node's own name where the config has none.
func (c *Checker) tlsFor(node *gateway.Node) *tls.Config {
	if c.tls.ServerName != "" {
		return c.tls
	}
	own := c.tls.Clone()
	own.ServerName = node.Host
	return own
}

func (c *Checker) requestFor(node *gateway.Node) []byte {
	if !c.hostless {
		return c.request
	}
	host := node.Host
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

// readStatus reads a status line.
func readStatus(r io.Reader) (int, error) {
	buffer := buffers.Get().(*[maxStatusLine]byte)
	defer buffers.Put(buffer)
	for n := 0; ; {
		read, err := r.Read(buffer[n:])
		n += read
		if end := bytes.IndexByte(buffer[:n], '\n'); end >= 0 {
			return parseStatus(buffer[:end])
		}
		switch {
		case n == len(buffer):
			return 0, errNotHTTP
		case err == io.EOF:
			return 0, errors.New("the connection closed before an answer")
		case err != nil:
			return 0, err
		}
	}
}

func parseStatus(line []byte) (int, error) {
	version, rest, _ := bytes.Cut(bytes.TrimRight(line, "\r"), []byte(" "))
	code, _, _ := bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" "))
	status, err := strconv.Atoi(string(code))
	if !bytes.HasPrefix(version, []byte("HTTP/")) || err != nil || status < 100 || status > 999 {
		return 0, errNotHTTP
	}
	return status, nil
}
