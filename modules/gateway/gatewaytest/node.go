// SPDX-License-Identifier: Apache-2.0

package gatewaytest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait for the other side, so that a hang fails instead of lasting.
const patience = 20 * time.Second

// nodes are the servers behind the gateway of one case. They answer alike.
type nodes struct {
	t       *testing.T
	started map[string]string

	mu    sync.Mutex
	reply *nodeReply
	seen  []received
}

var placeholder = regexp.MustCompile(`\b(up|down):[1-9]\b`)

// resolve puts addresses in the place of placeholders, and starts what is to listen there.
func (n *nodes) resolve(object []byte) []byte {
	return placeholder.ReplaceAllFunc(object, func(name []byte) []byte {
		addr := n.started[string(name)]
		if addr == "" {
			l := listen(n.t)
			addr = l.Addr().String()
			n.started[string(name)] = addr
			if bytes.HasPrefix(name, []byte("down")) {
				_ = l.Close()
			} else {
				go n.accept(l)
			}
		}
		return []byte(addr)
	})
}

// answer sets the reply and forgets what was seen.
func (n *nodes) answer(reply *nodeReply) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reply, n.seen = reply, nil
}

func (n *nodes) checkSeen(e *exchange) {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.saw.start == "nothing" {
		if len(n.seen) > 0 {
			n.t.Errorf("line %d: the node saw %q, want nothing", e.line, n.seen[0].start)
		}
		return
	}
	if len(n.seen) == 0 {
		n.t.Errorf("line %d: the node saw nothing, want %q", e.line, e.saw.start)
		return
	}
	e.saw.check(n.t, e.line, "node saw", n.seen[len(n.seen)-1])
}

func (n *nodes) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		n.t.Cleanup(func() { _ = c.Close() })
		go n.serve(c)
	}
}

func (n *nodes) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		fields := textproto.MIMEHeader(r.Header)
		fields.Set("Host", r.Host)
		for _, coding := range r.TransferEncoding {
			fields.Add("Transfer-Encoding", coding)
		}
		n.mu.Lock()
		reply := n.reply
		n.seen = append(n.seen, received{fmt.Sprintf("%s %s %s", r.Method, r.RequestURI, r.Proto), fields, body})
		n.mu.Unlock()
		if reply.drop || reply.send(c, r.Method) != nil || reply.close {
			return
		}
	}
}

func (r *nodeReply) send(w io.Writer, method string) error {
	m := r.message
	m.fields = append([]string(nil), m.fields...)
	if r.gzip {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = io.WriteString(z, m.body)
		_ = z.Close()
		m.body = b.String()
		m.fields = append(m.fields, "Content-Encoding: gzip")
	}
	body := m.body
	switch {
	case r.chunked:
		m.fields = append(m.fields, "Transfer-Encoding: chunked")
	case r.close:
		m.fields = append(m.fields, "Connection: close")
	case method == http.MethodHead || m.body == "" && firstLine(m.start) != "204" && firstLine(m.start) != "304":
		m.fields = append(m.fields, "Content-Length: "+strconv.Itoa(len(body)))
	}
	if r.chunked || r.close || method == http.MethodHead {
		m.body = ""
	}
	if _, err := w.Write(m.bytes()); err != nil || method == http.MethodHead {
		return err
	}
	switch {
	case r.close:
		_, err := io.WriteString(w, body)
		return err
	case r.chunked:
		for len(body) > 0 {
			n := min(3, len(body))
			if _, err := fmt.Fprintf(w, "%x\r\n%s\r\n", n, body[:n]); err != nil {
				return err
			}
			body = body[n:]
		}
		_, err := io.WriteString(w, "0\r\n\r\n")
		return err
	}
	return nil
}

// client sends the requests of one case.
type client struct {
	t    *testing.T
	addr string
	conn net.Conn
	in   *bufio.Reader
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

func (c *client) do(e *exchange) received {
	c.t.Helper()
	if c.conn == nil {
		conn, err := net.DialTimeout("tcp", c.addr, patience)
		if err != nil {
			c.t.Fatal(err)
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.conn.Write(e.request.bytes()); err != nil {
		c.t.Fatalf("line %d: %v", e.line, err)
	}
	method, _, _ := bytes.Cut([]byte(e.request.start), []byte(" "))
	r, err := http.ReadResponse(c.in, &http.Request{Method: string(method)})
	if err != nil {
		c.close()
		return received{start: "HTTP/1.1 000 " + err.Error()}
	}
	body, err := io.ReadAll(r.Body)
	got := received{start: r.Proto + " " + r.Status, fields: textproto.MIMEHeader(r.Header), body: body}
	if err != nil {
		got.start = "HTTP/1.1 000 body cut: " + err.Error()
	}
	if r.Close || err != nil {
		c.close()
	}
	return got
}
