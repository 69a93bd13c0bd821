// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// reply sends the gateway's own response.
func (w *wire) reply() {
	w.x.FilterHeader()
	w.sendOwn()
}

// sendOwn sends x.Response after its header filters.
func (w *wire) sendOwn() {
	x := &w.x
	body := x.Response.Body
	x.Response.Header.Del("Content-Length")
	withBody := w.hasBody()
	if withBody && x.FiltersBody() {
		body = x.FilterBody(body, true)
	}
	if x.Broken() {
		w.abort = true
		return
	}
	h := w.w.Header()
	setFields(h, &x.Response.Header)
	if withBody || w.x.Request.Method == http.MethodHead && !x.FiltersBody() {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	if w.duplex {
		// What is left of the request's body is neither read nor awaited.
		h["Connection"] = []string{"close"}
	}
	w.w.WriteHeader(w.status())
	if withBody {
		_, _ = w.w.Write(body)
	}
}

// status is the response's status, or 500 for a number that HTTP has no final status for.
func (w *wire) status() int {
	if s := &w.x.Response.Status; *s < 200 || *s > 999 {
		*s = http.StatusInternalServerError
	}
	return w.x.Response.Status
}

// hasBody reports whether a response of this status to this method has a body (RFC 9110 section 6.4.1).
func (w *wire) hasBody() bool {
	status := w.x.Response.Status
	return w.x.Request.Method != http.MethodHead && status != http.StatusNoContent && status != http.StatusNotModified
}

// respond passes the node's response on.
func (w *wire) respond(a *attempt) {
	x, node := &w.x, a.response
	x.BeginResponse(node.StatusCode)
	h := &x.Response.Header
	for name, values := range node.Header {
		for _, value := range values {
			h.Add(name, value)
		}
	}
	// What Connection names beside "close" stays: the transport takes such a line away before anyone can read it.
	gateway.DropConnectionFields(h)
	announceTrailers(h, node.Trailer)
	if node.StatusCode == http.StatusSwitchingProtocols {
		w.tunnel(a)
		return
	}
	if limit := x.HoldsResponse(); limit > 0 {
		w.hold(a, limit)
		return
	}
	x.FilterHeader()
	if !x.Response.FromNode {
		a.end()
		w.sendOwn()
		return
	}
	out := w.w.Header()
	setFields(out, h)
	if _, ok := h.Lookup("Content-Type"); !ok {
		// Without it net/http would guess one.
		out["Content-Type"] = nil
		if w.r.ProtoMajor < 3 {
			// Logs need not show it. HTTP/3 may send the head later than that.
			defer delete(out, "Content-Type")
		}
	}
	if !w.hasBody() {
		w.w.WriteHeader(w.status())
		return
	}
	if x.ForwardMethod() == http.MethodHead && w.r.Method != http.MethodHead {
		// It tells how long a body is that nobody gets.
		delete(out, "Content-Length")
	}
	if len(out["Trailer"]) > 0 && w.r.ProtoMajor == 1 {
		// HTTP/1.1 has trailers only after chunks.
		delete(out, "Content-Length")
	}
	_, sized := out["Content-Length"]
	// A response that ended with its head, as gRPC's "trailers only", does so for the client too.
	flush := node.ContentLength != 0 && (!sized || strings.HasPrefix(h.Get("Content-Type"), "text/event-stream"))
	w.w.WriteHeader(w.status())
	if w.copyBody(a, flush) {
		sendTrailers(out, &x.Response.Trailer)
	}
}

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// copyBody sends the node's body through the body filters to the client. It returns false when the response is not
// complete.
func (w *wire) copyBody(a *attempt, flush bool) bool {
	x := &w.x
	buffer := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buffer)
	filters := x.FiltersBody()
	flusher := http.NewResponseController(w.w)
	if flush && flusher.Flush() != nil {
		w.lost()
		return false
	}
	for {
		n, err := a.read(buffer[:])
		last := err == io.EOF
		chunk := buffer[:n]
		if last {
			takeTrailers(&x.Response.Trailer, a.response.Trailer)
		}
		if filters && (n > 0 || last) {
			chunk = x.FilterBody(chunk, last)
		}
		switch {
		case x.Broken():
			w.abort = true
			return false
		case len(chunk) > 0:
			if _, err := w.w.Write(chunk); err != nil {
				w.lost()
				return false
			}
			if flush && !last && flusher.Flush() != nil {
				w.lost()
				return false
			}
		}
		switch {
		case last:
			return true
		case err != nil:
			w.broke(err)
			return false
		}
	}
}

// broke ends a response that the node did not complete.
func (w *wire) broke(err error) {
	w.abort = true
	if w.r.Context().Err() != nil {
		w.lost()
	} else {
		w.x.Blame(gateway.ByUpstream, gateway.PhaseReceive, gateway.FailedBroken.String())
		w.log().Warn("node broke off its response", zap.String("node", w.x.Forward.Node.Addr), zap.Error(err))
	}
}

// lost records that the client has gone before it had the whole response.
func (w *wire) lost() {
	w.x.Blame(gateway.ByClient, gateway.PhaseReply, "client has gone, or takes nothing")
}
