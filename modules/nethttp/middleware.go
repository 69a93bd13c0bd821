// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"

	"github.com/andogate/ando/modules/gateway"
)

// Middleware runs a chain of plugins around another handler: what their hooks do to the request the handler sees, an
// exit answers in its place, and its response goes through their filters. Global rules stay out. It is immutable after
// first use.
type Middleware struct {
	Gateway *gateway.Gateway
	Chain   *gateway.Chain
	// ClientAddr is as in [Config].
	ClientAddr func(r *http.Request) netip.Addr
}

// ServeHTTP runs the chain around next.
func (m *Middleware) ServeHTTP(w http.ResponseWriter, r *http.Request, next http.Handler) {
	_ = m.Serve(w, r, func(w http.ResponseWriter, r *http.Request) error {
		next.ServeHTTP(w, r)
		return nil
	})
}

// Serve runs the chain around next and returns its error. After an error nothing more is sent: whoever handles the error
// answers, if next has not.
func (m *Middleware) Serve(rw http.ResponseWriter, r *http.Request, next func(http.ResponseWriter, *http.Request) error) error {
	w := take(&Server{gateway: m.Gateway, clientAddr: m.ClientAddr}, rw, r)
	w.begin(&gateway.Route{Chain: m.Chain, Onward: true})
	defer w.release()
	if w.advance() == gateway.StepReply {
		w.reply()
		return nil
	}
	out := &filtered{wire: w}
	err := next(out, w.onward())
	switch {
	case err == nil:
		out.finish()
	case out.status == 0 && !out.hijacked:
		// For the log. What is sent is up to who handles the error.
		w.x.Response.Status = http.StatusInternalServerError
	}
	return err
}

// identity is the consumer that one handler attached, for the handlers after it.
type identity struct {
	// consumer has no plugins: they have run, and must not again with every handler.
	consumer   gateway.Consumer
	credential string
}

type identityKey struct{}

// onward returns the request as the chain left it.
func (w *wire) onward() *http.Request {
	x := &w.x
	ctx := w.r.Context()
	if c := x.Consumer; c != nil {
		known := &identity{*c, x.Credential}
		known.consumer.Plugins = nil
		ctx = context.WithValue(ctx, identityKey{}, known)
	}
	r := w.r.WithContext(ctx)
	r.Header = make(http.Header, x.Request.Header.Len())
	setFields(r.Header, &x.Request.Header)
	f := &x.Forward
	if f.Method != "" {
		r.Method = f.Method
	}
	if f.Host != "" {
		r.Host = f.Host
	}
	if f.Target != "" {
		if u, err := url.ParseRequestURI(f.Target); err == nil {
			r.URL, r.RequestURI = u, f.Target
		}
	}
	switch {
	case f.BodyReplaced:
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(f.Body)), int64(len(f.Body))
		r.TransferEncoding = nil
		r.Header.Del("Content-Length")
	case len(w.read) > 0:
		r.Body = readOn{io.MultiReader(bytes.NewReader(w.read), w.r.Body), w.r.Body}
	}
	return r
}

// readOn is a body whose beginning has been read before.
type readOn struct {
	io.Reader
	io.Closer
}

// filtered is the http.ResponseWriter for the handler that a chain is around. It belongs to that handler's goroutine.
type filtered struct {
	wire *wire
	// status is that of the head when it has been sent.
	status   int
	body     bool
	filters  bool
	hijacked bool
	scratch  []byte
}

// Header implements http.ResponseWriter.
func (f *filtered) Header() http.Header { return f.wire.w.Header() }

// WriteHeader implements http.ResponseWriter.
func (f *filtered) WriteHeader(status int) {
	w := f.wire
	if f.status != 0 || f.hijacked {
		return
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.w.WriteHeader(status)
		return
	}
	x, h := &w.x, w.w.Header()
	x.BeginResponse(status)
	for name, values := range h {
		for _, value := range values {
			x.Response.Header.Add(name, value)
		}
	}
	x.FilterHeader()
	for name, values := range h {
		// A name without values keeps net/http from adding the field.
		if len(values) > 0 {
			delete(h, name)
		}
	}
	if !x.Response.FromNode {
		f.status = w.status()
		w.sendOwn()
		return
	}
	setFields(h, &x.Response.Header)
	f.status, f.body, f.filters = x.Response.Status, w.hasBody(), x.FiltersBody()
	w.w.WriteHeader(f.status)
}

// Write implements http.ResponseWriter.
func (f *filtered) Write(p []byte) (int, error) {
	if f.status == 0 {
		f.WriteHeader(http.StatusOK)
	}
	w := f.wire
	switch {
	case !w.x.Response.FromNode:
		return len(p), nil
	case !f.filters || !f.body:
		return w.w.Write(p)
	}
	// Filters work in place, and p is the handler's.
	f.scratch = append(f.scratch[:0], p...)
	return len(p), f.send(w.x.FilterBody(f.scratch, false))
}

func (f *filtered) send(chunk []byte) error {
	if f.wire.x.Broken() {
		f.wire.abort = true
		return http.ErrAbortHandler
	}
	if len(chunk) == 0 {
		return nil
	}
	_, err := f.wire.w.Write(chunk)
	return err
}

// ReadFrom implements io.ReaderFrom, so that files can still be sent by the kernel when no filter looks at them.
func (f *filtered) ReadFrom(r io.Reader) (int64, error) {
	if f.status == 0 {
		f.WriteHeader(http.StatusOK)
	}
	if f.filters || !f.wire.x.Response.FromNode {
		return io.Copy(struct{ io.Writer }{f}, r)
	}
	return io.Copy(f.wire.w, r)
}

// FlushError is for http.ResponseController.
func (f *filtered) FlushError() error {
	if f.status == 0 {
		f.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(f.wire.w).Flush()
}

// Flush implements http.Flusher.
func (f *filtered) Flush() { _ = f.FlushError() }

// Hijack implements http.Hijacker. The connection is the handler's from then on.
func (f *filtered) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(f.wire.w).Hijack()
	if err == nil {
		f.hijacked = true
		f.wire.x.Response.Status = http.StatusSwitchingProtocols
	}
	return conn, buffered, err
}

// Unwrap is for http.ResponseController.
func (f *filtered) Unwrap() http.ResponseWriter { return f.wire.w }

// finish ends the response of a handler that has returned.
func (f *filtered) finish() {
	if f.hijacked {
		return
	}
	if f.status == 0 {
		f.WriteHeader(http.StatusOK)
	}
	if f.filters && f.body && f.wire.x.Response.FromNode {
		_ = f.send(f.wire.x.FilterBody(slices.Clip(f.scratch[:0]), true))
	}
}

var (
	_ http.Flusher  = (*filtered)(nil)
	_ http.Hijacker = (*filtered)(nil)
	_ io.ReaderFrom = (*filtered)(nil)
)
