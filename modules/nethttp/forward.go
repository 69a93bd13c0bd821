// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// forward sends the request to nodes until one answers or no further try is allowed.
func (w *wire) forward() {
	x := &w.x
	switch x.ForwardScheme() {
	case "http", "https", "grpc", "grpcs":
	default:
		w.log().Warn("scheme cannot be forwarded to by HTTP", zap.String("scheme", x.ForwardScheme()))
		x.Blame(gateway.ByGateway, gateway.PhaseBalance, "scheme cannot be forwarded to by HTTP")
		x.Reject(http.StatusBadGateway)
		w.reply()
		return
	}
	if w.bodyErr != nil {
		w.rejectBody()
		w.reply()
		return
	}
	if w.r.ProtoMajor == 1 && w.r.ContentLength != 0 && !w.wholeRead {
		w.duplex = http.NewResponseController(w.w).EnableFullDuplex() == nil
		w.proceed()
	}
	for x.Pick() != nil {
		if done := w.try(); done {
			return
		}
	}
	w.reply()
}

// proceed sends the 100 (Continue) that the client waits for. Left to itself net/http sends it from the goroutine that first
// reads the body, with nothing to keep it from running into another informational response.
func (w *wire) proceed() {
	if len(w.read) == 0 && w.r.ProtoAtLeast(1, 1) && gateway.EqualFold(w.r.Header.Get("Expect"), "100-continue") {
		sendInformation(w.w, http.StatusContinue, new(gateway.Header))
	}
}

var (
	errUnaskedSwitch = errors.New("the node switched to a protocol that was not asked for")
	errVersion       = errors.New("the node answers in another version of HTTP than it was asked in")
)

// statusClientGone is nginx's status for a client that did not wait for its response.
const statusClientGone = 499

// try makes one attempt. done says that the exchange has its response, or its end; otherwise Pick is due again.
func (w *wire) try() (done bool) {
	x := &w.x
	a := w.newAttempt()
	pool := w.server.transports.acquire(x.Forward.Upstream, a.target.http2)
	defer w.server.transports.release(pool)
	defer a.end()
	err := a.roundTrip(pool.transport)
	switch {
	case err != nil:
	case a.response.ProtoMajor != 1 && !a.target.http2:
		err = errVersion
	case a.response.StatusCode < 200 && !w.switches(a.response):
		err = errUnaskedSwitch
	}
	if err == nil {
		w.respond(a)
		return true
	}
	a.end()
	o := a.judge(err)
	if o.client != nil {
		w.bodyErr = o.client
		w.rejectBody()
		w.reply()
		return true
	}
	if w.r.Context().Err() != nil {
		// The client has gone: the node is not to blame, and nobody is left to answer but the access log.
		x.Blame(gateway.ByClient, gateway.PhaseWait, "client has gone")
		w.w.WriteHeader(statusClientGone)
		return true
	}
	w.log().Warn("node gave no response", zap.String("node", x.Forward.Node.Addr), zap.Error(err))
	x.Forward.Phase = o.phase
	if x.Failed(o.failure, o.repeatable) {
		return false
	}
	w.reply()
	return true
}

// outgoing makes the request for the transport.
func (w *wire) outgoing(ctx context.Context, a *attempt) *http.Request {
	x := &w.x
	header := make(http.Header, x.Request.Header.Len()+1)
	setFields(header, &x.Request.Header)
	if _, ok := header["User-Agent"]; !ok {
		// Without it the transport would introduce itself.
		header["User-Agent"] = nil
	}
	scheme := "http"
	if a.target.name != a.target.addr {
		scheme = "https"
	}
	out := &http.Request{
		Method: x.ForwardMethod(), URL: outgoingURL(scheme, a.target.name, x.ForwardTarget()), Host: x.ForwardHost(),
		Header: header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	a.body, out.ContentLength = w.outgoingBody(a)
	if a.body != nil {
		out.Body, out.Trailer = a.body, a.body.trailer
	}
	return out.WithContext(ctx)
}

// outgoingURL makes net/http send target byte for byte. An opaque URL is sent as it is, unless it begins with "//", which
// would be sent as an absolute-form.
func outgoingURL(scheme, host, target string) *url.URL {
	if !strings.HasPrefix(target, "//") {
		return &url.URL{Scheme: scheme, Host: host, Opaque: target}
	}
	path, query, found := strings.Cut(target, "?")
	u := &url.URL{Scheme: scheme, Host: host, Path: path, RawPath: path, RawQuery: query, ForceQuery: found}
	if decoded, err := url.PathUnescape(path); err == nil {
		u.Path = decoded
	}
	return u
}

// setFields puts the fields into h, in the place of what it has of the same names.
func setFields(h http.Header, fields *gateway.Header) {
	values := make([]string, fields.Len())
	for name := range fields.All() {
		delete(h, http.CanonicalHeaderKey(name))
	}
	for name, value := range fields.All() {
		name = http.CanonicalHeaderKey(name)
		if prior, ok := h[name]; ok {
			h[name] = append(prior, value)
			continue
		}
		values[0] = value
		h[name] = values[:1:1]
		values = values[1:]
	}
}

// switches reports whether the response is the protocol switch that was asked for.
func (w *wire) switches(response *http.Response) bool {
	asked := w.x.Request.Header.Get("Upgrade")
	return response.StatusCode == http.StatusSwitchingProtocols && asked != "" &&
		gateway.EqualFold(response.Header.Get("Upgrade"), asked)
}
