// SPDX-License-Identifier: Apache-2.0

package gatewaytest

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/andogate/ando/modules/gateway"
)

// readHead takes bytes until the empty line that ends a head, and starts the exchange.
func (m *Machine) readHead() {
	for i, c := range m.in {
		m.head = append(m.head, c)
		if c == '\n' && bytes.HasSuffix(m.head, []byte("\r\n\r\n")) {
			m.in = m.in[i+1:]
			m.begin()
			return
		}
	}
	m.in = nil
	if len(m.head) > maxHead {
		m.phase = phaseClosed
		m.out = append(m.out, Send{Close: true})
	}
}

// view returns the bytes as a string without copying them, as a wire does that allocates nothing.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func (m *Machine) begin() {
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.x.Start = time.Now()
	m.left, m.closing = 0, false
	r := &m.x.Request
	r.Scheme, r.Peer, r.Client, r.Local = "http", m.peer, m.peer, m.local
	status := m.parseHead(view(m.head))
	m.gateway.Begin(&m.x, m)
	if status != 0 {
		m.closing = true
		m.x.Reject(status)
		m.reply()
		return
	}
	m.next()
}

// parseHead fills in the request. It returns the status of a refusal, or 0.
func (m *Machine) parseHead(head string) int {
	r := &m.x.Request
	line, rest, _ := strings.Cut(head, "\r\n")
	method, line, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(line, " ")
	if method == "" || len(version) != 8 || version[:7] != "HTTP/1." {
		return http.StatusBadRequest
	}
	r.Method, r.ProtoMajor, r.ProtoMinor = method, 1, int(version[7]-'0')
	hosts, lengths := 0, 0
	for {
		line, rest, _ = strings.Cut(rest, "\r\n")
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return http.StatusBadRequest
		}
		value = strings.Trim(value, " \t")
		switch {
		case gateway.EqualFold(name, "Host"):
			hosts++
			r.SetHost(value)
			continue
		case gateway.EqualFold(name, "Content-Length"):
			lengths++
			n, err := strconv.ParseUint(value, 10, 62)
			if err != nil {
				return http.StatusBadRequest
			}
			m.left, r.ContentLength = int64(n), int64(n)
		case gateway.EqualFold(name, "Transfer-Encoding"):
			return http.StatusNotImplemented
		case gateway.EqualFold(name, "Connection"):
			m.closing = m.closing || gateway.EqualFold(value, "close")
		}
		r.Header.Add(name, value)
	}
	if hosts > 1 || hosts == 0 && r.ProtoMinor > 0 || lengths > 1 || r.SetTarget(target) != nil {
		return http.StatusBadRequest
	}
	m.closing = m.closing || r.ProtoMinor == 0
	return 0
}

// reply sends a response of the gateway's own.
func (m *Machine) reply() {
	m.x.FilterHeader()
	m.sendOwn()
}

func (m *Machine) sendOwn() {
	r := &m.x.Response
	body := r.Body
	if m.x.FiltersBody() && m.hasBody() {
		body = m.x.FilterBody(body, true)
	}
	if m.x.Broken() {
		m.closing = true
		m.finish()
		return
	}
	r.Header.Del("Content-Length")
	if r.Status != http.StatusNoContent && r.Status != http.StatusNotModified {
		r.Header.Add("Content-Length", strconv.Itoa(len(body)))
	}
	out := m.responseHead()
	if m.hasBody() {
		out = append(out, body...)
	}
	m.out = append(m.out, Send{Bytes: out})
	m.finish()
}

// hasBody reports whether the response is one that has a body (RFC 9112 section 6.3).
func (m *Machine) hasBody() bool {
	status := m.x.Response.Status
	return m.x.Request.Method != http.MethodHead && status != http.StatusNoContent && status != http.StatusNotModified
}

// responseHead returns the head as it is sent.
func (m *Machine) responseHead() []byte {
	r := &m.x.Response
	b := append([]byte(nil), "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(r.Status), 10)
	b = append(append(b, ' '), http.StatusText(r.Status)...)
	b = append(b, "\r\n"...)
	b = appendFields(b, &r.Header)
	if m.closing {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(b, "\r\n"...)
}

// appendFields appends field lines. What hooks put into a value cannot end its line.
func appendFields(b []byte, h *gateway.Header) []byte {
	for name, value := range h.All() {
		b = append(append(b, name...), ": "...)
		for i := range len(value) {
			c := value[i]
			if c == '\r' || c == '\n' || c == 0 {
				c = ' '
			}
			b = append(b, c)
		}
		b = append(b, "\r\n"...)
	}
	return b
}
