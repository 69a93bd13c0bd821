// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/andogate/ando/modules/gateway"
)

// Subrequest is a gateway.Subserver: it serves a request that comes from no connection, as one of the client of the exchange
// that it is made for.
func (s *Server) Subrequest(ctx context.Context, of *gateway.Exchange, q *gateway.Subrequest) (*gateway.Subresponse, error) {
	header, err := subheader(&q.Header)
	if err != nil || q.Method == http.MethodConnect || !httpguts.ValidHeaderFieldName(q.Method) {
		// A method is a token, as a name is.
		return nil, gateway.ErrMalformed
	}
	// What the client's connection and Caddy have in the context belongs to the other request.
	own, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
	outer := &of.Request
	if outer.Local.IsValid() {
		own = context.WithValue(own, http.LocalAddrContextKey, net.TCPAddrFromAddrPort(outer.Local))
	}
	r := &http.Request{
		Method: q.Method, URL: new(url.URL), RequestURI: q.Target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Host: q.Host, RemoteAddr: outer.Peer.String(), TLS: outer.TLS,
		Body: http.NoBody, ContentLength: int64(len(q.Body)),
	}
	if r.Host == "" {
		r.Host = outer.RawHost
	}
	if len(q.Body) > 0 {
		r.Body = readCloser{bytes.NewReader(q.Body)}
	}
	client := outer.Client.Addr()
	inner := &Server{
		gateway: s.gateway, transports: s.transports, inner: true,
		clientAddr: func(*http.Request) netip.Addr { return client },
	}
	w := &kept{header: make(http.Header), limit: q.Limit}
	if !inner.record(w, r.WithContext(own)) && ctx.Err() == nil && !w.over {
		return nil, gateway.ErrResponseBroken
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case w.over:
		return nil, gateway.ErrResponseTooLarge
	}
	response := &gateway.Subresponse{Status: w.status, Body: w.body}
	for name, values := range w.head {
		for _, value := range values {
			response.Header.Add(name, value)
		}
	}
	return response, nil
}

// record serves the request into w and reports whether the response is complete.
func (s *Server) record(w *kept, r *http.Request) (complete bool) {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			panic(p)
		}
	}()
	s.ServeHTTP(w, r)
	return true
}

// subheader is the header as it would have come over a connection: a name or value that would not, is an error, and what
// Caddy's server drops is dropped.
func subheader(from *gateway.Header) (http.Header, error) {
	var fields gateway.Header
	for name, value := range from.All() {
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, gateway.ErrMalformed
		}
		fields.Add(name, value)
	}
	gateway.DropConnectionFields(&fields)
	fields.DelFunc(func(name, _ string) bool {
		return strings.ContainsAny(name, "_.") || gateway.EqualFold(name, "Host") || gateway.EqualFold(name, "Content-Length") ||
			gateway.EqualFold(name, "Expect") || gateway.EqualFold(name, "Trailer")
	})
	header := make(http.Header, fields.Len())
	setFields(header, &fields)
	return header, nil
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// kept is an http.ResponseWriter whose response stays here.
type kept struct {
	header http.Header
	// head is what header was when the response began.
	head   http.Header
	status int
	body   []byte
	limit  int64
	// over says that there was more than limit.
	over bool
}

func (w *kept) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. Informational responses are nobody's.
func (w *kept) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status, w.head = status, w.header.Clone()
	}
}

func (w *kept) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.over = w.over || int64(len(w.body)+len(b)) > w.limit; w.over {
		return 0, gateway.ErrResponseTooLarge
	}
	w.body = append(w.body, b...)
	return len(b), nil
}

// Flush implements http.Flusher: everything is where it is read.
func (w *kept) Flush() {}

var (
	_ gateway.Subserver = (*Server)(nil).Subrequest
	_ http.Flusher      = (*kept)(nil)
)
