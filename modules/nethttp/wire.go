// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// wire is one exchange on net/http. It belongs to the goroutine of its handler and serves one request at a time.
type wire struct {
	x      gateway.Exchange
	server *Server
	home   *connection
	w      http.ResponseWriter
	r      *http.Request

	// read is what has been read of the request body; wholeRead says that this is all of it.
	read      []byte
	wholeRead bool
	// bodyErr is why the request body cannot be read to its end.
	bodyErr error

	// refused says that the request has no safe meaning; abort that its response cannot be completed.
	refused, abort bool
	// duplex says that the response may be sent while the request is still read.
	duplex bool
}

// Context implements gateway.Wire.
func (w *wire) Context() context.Context { return w.r.Context() }

// fill copies the request into the exchange. It returns false when the request must be refused.
func (w *wire) fill() bool {
	r, q := w.r, &w.x.Request
	q.Method = r.Method
	q.ProtoMajor, q.ProtoMinor = r.ProtoMajor, r.ProtoMinor
	q.Scheme = "http"
	if r.TLS != nil {
		q.Scheme, q.TLS = "https", r.TLS
	}
	q.SetHost(r.Host)
	q.ContentLength = r.ContentLength
	for name, values := range r.Header {
		for _, value := range values {
			q.Header.Add(name, value)
		}
	}
	q.Peer, _ = netip.ParseAddrPort(r.RemoteAddr)
	q.Client = q.Peer
	if w.server.clientAddr != nil {
		if addr := w.server.clientAddr(r); addr.IsValid() && addr != q.Peer.Addr() {
			q.Client = netip.AddrPortFrom(addr, 0)
		}
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		q.Local = local.AddrPort()
	}
	target := r.RequestURI
	if target == "" {
		target = r.URL.RequestURI()
	}
	// net/http decides for Transfer-Encoding where both are given, and in most versions hides that they were. Where it
	// does not, two framings are no framing (RFC 9112 section 6.3).
	framedTwice := len(r.TransferEncoding) > 0 && len(r.Header["Content-Length"]) > 0
	return q.SetTarget(target) == nil && !framedTwice
}

// run takes the exchange from its first hook to the end of its response.
func (w *wire) run() {
	switch w.advance() {
	case gateway.StepForward:
		w.forward()
	case gateway.StepReply:
		w.reply()
	}
}

// advance runs hooks, reading the body where they ask for it, until the request is to be forwarded or answered.
func (w *wire) advance() gateway.Step {
	if w.refused {
		w.w.Header().Set("Connection", "close")
		w.x.Blame(gateway.ByClient, gateway.PhaseHead, "the request can be read in two ways")
		w.x.Reject(http.StatusBadRequest)
		return gateway.StepReply
	}
	for {
		step := w.x.Next(true)
		if step != gateway.StepBody {
			return step
		}
		body, err := w.ReadBody(w.x.BodyLimit())
		if err != nil && err != gateway.ErrBodyTooLarge {
			w.rejectBody()
			return gateway.StepReply
		}
		w.x.SetBody(body, err)
	}
}

// ReadBody implements gateway.Wire.
func (w *wire) ReadBody(limit int64) ([]byte, error) {
	if w.bodyErr != nil {
		return nil, w.bodyErr
	}
	if !w.wholeRead && w.r.ContentLength > limit {
		return nil, gateway.ErrBodyTooLarge
	}
	for !w.wholeRead && int64(len(w.read)) <= limit {
		if len(w.read) == cap(w.read) {
			w.read = append(w.read, make([]byte, max(512, min(w.r.ContentLength+1, 64<<10)))...)[:len(w.read)]
		}
		n, err := w.r.Body.Read(w.read[len(w.read):cap(w.read)])
		w.read = w.read[:len(w.read)+n]
		switch {
		case err == io.EOF:
			w.wholeRead = true
		case err != nil:
			w.bodyErr = err
			return nil, err
		}
	}
	if int64(len(w.read)) > limit {
		return nil, gateway.ErrBodyTooLarge
	}
	return w.read, nil
}

// rejectBody answers a request whose body cannot be read.
func (w *wire) rejectBody() {
	status := w.bodyFault()
	reason := "malformed request body"
	if status == http.StatusRequestEntityTooLarge {
		reason = "request body is too large"
	}
	w.x.Blame(gateway.ByClient, gateway.PhaseBody, reason)
	w.x.Reject(status)
}

// bodyFault is the status for a request body that cannot be read.
func (w *wire) bodyFault() int {
	var tooLarge *http.MaxBytesError
	if errors.As(w.bodyErr, &tooLarge) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}

func (w *wire) log() *zap.Logger {
	if log := w.x.Settings.Log; log != nil {
		return log
	}
	return zap.NewNop()
}
