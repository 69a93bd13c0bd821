// SPDX-License-Identifier: Apache-2.0

package gatewaytest

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// nodeSide is the machine's end of the connection to a node. conn is 0 when there is none.
type nodeSide struct {
	conn int
	in   []byte
	// head holds the head of the response: the exchange's strings point into it.
	head []byte
	body framing
	// left is what remains of a body with a length, or of a chunk.
	left int64
	// promised is what remains of the length that the client was told, or -1.
	promised int64
	// sending says that the head has gone to the client; silent that no body follows it.
	sending, silent bool
	// limit is up to how many bytes the response is held; it is in held so far. 0 is a response that is passed on.
	limit int64
	held  []byte
}

// framing is how the end of a node's body is known.
type framing uint8

const (
	framedByHead framing = iota
	framedByLength
	framedByChunks
	framedByClose
)

// forward sends the request, and of its body what there is.
func (m *Machine) forward() {
	node := m.x.Pick()
	if node == nil {
		m.reply()
		return
	}
	m.conns++
	m.node = nodeSide{conn: m.conns}
	m.phase = phaseForward
	f := &m.x.Forward
	body, length := m.body, int64(len(m.body))+m.left
	if f.BodyReplaced {
		body, length = f.Body, int64(len(f.Body))
	}
	b := append([]byte(nil), m.x.ForwardMethod()+" "+m.x.ForwardTarget()+" HTTP/1.1\r\nHost: "+m.x.ForwardHost()+"\r\n"...)
	b = appendFields(b, &m.x.Request.Header)
	if length > 0 {
		b = append(b, "Content-Length: "+strconv.FormatInt(length, 10)+"\r\n"...)
	}
	b = append(append(b, "\r\n"...), body...)
	m.out = append(m.out, Send{Conn: m.node.conn, Dial: node.Addr}, Send{Conn: m.node.conn, Bytes: b})
}

// forwardBody passes on what has come of the body. It is kept for another attempt.
func (m *Machine) forwardBody() {
	part := m.takeBody()
	if len(part) == 0 || m.x.Forward.BodyReplaced {
		return
	}
	m.body = append(m.body, part...)
	m.out = append(m.out, Send{Conn: m.node.conn, Bytes: append([]byte(nil), part...)})
}

func (m *Machine) closeNode() {
	if m.node.conn != 0 {
		m.out = append(m.out, Send{Conn: m.node.conn, Close: true})
	}
	m.node = nodeSide{}
}

// nodeGone takes note of the end of the node's connection.
func (m *Machine) nodeGone(dialled bool) {
	n := &m.node
	switch {
	case n.limit > 0 && n.body == framedByClose && dialled:
		m.respond(nil, true)
	case n.limit > 0:
		m.closeNode()
		m.x.BreakHeld("broken")
		m.sendOwn()
	case !n.sending:
		failure := gateway.FailedBroken
		if !dialled {
			failure = gateway.FailedConnect
		}
		method := m.x.ForwardMethod()
		repeatable := !dialled || method != http.MethodPost && method != http.MethodPatch
		m.closeNode()
		if m.x.Failed(failure, repeatable) {
			m.forward()
		} else {
			m.reply()
		}
	case n.body == framedByClose:
		m.respond(nil, true)
	default:
		m.cut()
	}
}

// cut ends a response that cannot be completed, so that the client does not take it for whole.
func (m *Machine) cut() {
	m.closing = true
	m.finish()
}

// fromNode uses the node's bytes.
func (m *Machine) fromNode() {
	for m.node.conn != 0 && len(m.node.in) > 0 {
		before := len(m.node.in)
		if !m.node.sending && m.node.limit == 0 {
			m.readNodeHead()
		} else {
			m.readNodeBody()
		}
		if len(m.node.in) == before {
			return
		}
	}
}

func (m *Machine) readNodeHead() {
	n := &m.node
	end := bytes.Index(n.in, []byte("\r\n\r\n"))
	if end < 0 {
		return
	}
	n.head, n.in = n.in[:end+2], n.in[end+4:]
	line, rest, _ := strings.Cut(view(n.head), "\r\n")
	_, line, _ = strings.Cut(line, " ")
	code, _, _ := strings.Cut(line, " ")
	status, err := strconv.Atoi(code)
	if err != nil || status < 100 || status == http.StatusSwitchingProtocols {
		m.nodeGone(true)
		return
	}
	if status < 200 {
		return
	}
	m.x.BeginResponse(status)
	h := &m.x.Response.Header
	n.body = framedByClose
	for rest != "" {
		line, rest, _ = strings.Cut(rest, "\r\n")
		name, value, _ := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		switch {
		case gateway.EqualFold(name, "Transfer-Encoding"):
			n.body = framedByChunks
		case gateway.EqualFold(name, "Content-Length"):
			n.body = framedByLength
			n.left, _ = strconv.ParseInt(value, 10, 64)
		}
		h.Add(name, value)
	}
	switch {
	case !m.hasBody():
		n.body = framedByHead
	case m.x.ForwardMethod() == http.MethodHead:
		// It tells how long a body is that nobody gets.
		n.body = framedByHead
		h.Del("Content-Length")
	}
	gateway.DropConnectionFields(h)
	if n.limit = m.x.HoldsResponse(); n.limit > 0 {
		if n.body == framedByHead || n.body == framedByLength && n.left == 0 {
			m.respond(nil, true)
		}
		return
	}
	m.x.FilterHeader()
	if !m.x.Response.FromNode {
		m.sendOwn()
		return
	}
	m.sendHead()
}

// sendHead sends the head of a node's response. A length that the hooks have left in it is the client's as well.
func (m *Machine) sendHead() {
	n := &m.node
	n.sending, n.silent, n.promised = true, !m.hasBody(), -1
	h := &m.x.Response.Header
	if length, ok := h.Lookup("Content-Length"); ok && !n.silent {
		n.promised, _ = strconv.ParseInt(length, 10, 64)
	}
	switch {
	case n.silent || n.promised >= 0:
	case m.x.Request.ProtoMinor == 0:
		m.closing = true
	default:
		h.Add("Transfer-Encoding", "chunked")
	}
	m.out = append(m.out, Send{Bytes: m.responseHead()})
	switch {
	case n.silent:
		m.finish()
	case n.body == framedByHead || n.body == framedByLength && n.left == 0:
		m.respond(nil, true)
	}
}

func (m *Machine) readNodeBody() {
	n := &m.node
	switch n.body {
	case framedByClose:
		chunk := n.in
		n.in = nil
		m.respond(chunk, false)
	case framedByLength:
		chunk := n.in[:min(int64(len(n.in)), n.left)]
		n.in, n.left = n.in[len(chunk):], n.left-int64(len(chunk))
		m.respond(chunk, n.left == 0)
	case framedByChunks:
		m.readChunk()
	}
}

// readChunk takes a chunk's first line, and its data with the line end that follows it.
func (m *Machine) readChunk() {
	n := &m.node
	if n.left > 2 {
		chunk := n.in[:min(int64(len(n.in)), n.left-2)]
		n.in, n.left = n.in[len(chunk):], n.left-int64(len(chunk))
		m.respond(chunk, false)
		return
	}
	if n.left > 0 {
		skipped := min(int64(len(n.in)), n.left)
		n.in, n.left = n.in[skipped:], n.left-skipped
		return
	}
	end := bytes.IndexByte(n.in, '\n')
	if end < 0 {
		return
	}
	size, err := strconv.ParseInt(strings.TrimSpace(string(n.in[:end])), 16, 62)
	n.in = n.in[end+1:]
	switch {
	case err != nil:
		m.cut()
	case size == 0:
		m.respond(nil, true)
	default:
		n.left = size + 2
	}
}

// hold keeps a part of the node's body until the last one.
func (m *Machine) hold(chunk []byte, last bool) {
	n := &m.node
	n.held = append(n.held, chunk...)
	switch {
	case int64(len(n.held)) > n.limit:
		m.x.BreakHeld("too long")
	case last:
		m.x.HeldResponse(n.held)
	default:
		return
	}
	m.sendOwn()
}

// respond passes a part of the node's body on to the client, through the filters.
func (m *Machine) respond(chunk []byte, last bool) {
	n := &m.node
	if n.limit > 0 {
		m.hold(chunk, last)
		return
	}
	if m.x.FiltersBody() {
		chunk = m.x.FilterBody(chunk, last)
	}
	if m.x.Broken() || n.promised >= 0 && (int64(len(chunk)) > n.promised || last && int64(len(chunk)) < n.promised) {
		m.cut()
		return
	}
	var b []byte
	switch {
	case n.promised >= 0:
		n.promised -= int64(len(chunk))
		b = append(b, chunk...)
	case m.x.Request.ProtoMinor == 0:
		b = append(b, chunk...)
	default:
		if len(chunk) > 0 {
			b = strconv.AppendInt(b, int64(len(chunk)), 16)
			b = append(append(append(b, "\r\n"...), chunk...), "\r\n"...)
		}
		if last {
			b = append(b, "0\r\n\r\n"...)
		}
	}
	if len(b) > 0 {
		m.out = append(m.out, Send{Bytes: b})
	}
	if last {
		m.finish()
	}
}
