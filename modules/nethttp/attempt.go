// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// attempt is one try to get a response from one node. The transport calls into it from its own goroutines, maybe after
// the attempt is over, so it is made anew for each try and knows nothing of the exchange.
//
// One timer bounds the phase that the attempt is in: connecting, then each stretch of sending, then waiting for the
// response head. Once the request is sent the reader of the response body has the timer; if the response begins before
// that, the reader has one of its own.
type attempt struct {
	cancel   context.CancelFunc
	timeout  gateway.Timeout
	target   target
	request  *http.Request
	body     *requestBody
	response *http.Response
	// maxRequests is how many requests one connection carries; 0 is no bound.
	maxRequests int64

	mu        sync.Mutex
	timer     *time.Timer
	bodyTimer *time.Timer
	// connected says that a connection was had, so that something may have been sent; wrote that all of it was.
	connected, wrote bool
	// head says that the final response head is there, or that none will come.
	head, timedOut, over bool
	// client takes the informational responses; nil when the client would not understand them.
	client       http.ResponseWriter
	informations int
}

// maxInformations bounds how many informational responses one request can have.
const maxInformations = 32

var errTooManyInformations = errors.New("too many informational responses")

// newAttempt prepares an attempt on the exchange's current node.
func (w *wire) newAttempt() *attempt {
	x := &w.x
	a := &attempt{
		timeout: x.Timeout(), target: newTarget(x), maxRequests: int64(x.Forward.Upstream.KeepAlive.Requests),
	}
	if w.r.ProtoAtLeast(1, 1) {
		a.client = w.w
	}
	ctx, cancel := context.WithCancel(w.r.Context())
	a.cancel = cancel
	a.timer = time.AfterFunc(a.timeout.Connect, a.expire)
	ctx = context.WithValue(ctx, targetKey{}, &a.target)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn:        a.gotConn,
		WroteRequest:   func(info httptrace.WroteRequestInfo) { a.wroteRequest(info.Err) },
		Got1xxResponse: a.inform,
	})
	a.request = w.outgoing(ctx, a)
	return a
}

// roundTrip sends the request and returns the head of the response.
func (a *attempt) roundTrip(t *http.Transport) error {
	response, err := t.RoundTrip(a.request)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.head = true
	if a.wrote || err != nil {
		a.timer.Stop()
	}
	a.response = response
	return err
}

// end lets go of everything the attempt holds. Nothing in it touches the exchange's memory any more when end is back.
func (a *attempt) end() {
	a.mu.Lock()
	a.over, a.head = true, true
	a.timer.Stop()
	if a.bodyTimer != nil {
		a.bodyTimer.Stop()
	}
	a.mu.Unlock()
	a.cancel()
	a.body.detach()
	if a.response != nil {
		_ = a.response.Body.Close()
	}
}

// expire ends an attempt whose phase took too long.
func (a *attempt) expire() {
	a.mu.Lock()
	if !a.over {
		a.timedOut = true
	}
	a.mu.Unlock()
	a.cancel()
}

// gotConn is called on the goroutine of the round trip, before anything is written, and once more for each connection
// that the transport itself goes over to.
func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	a.count(nodeConnOf(info.Conn))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.connected = true
	if !a.over {
		a.timer.Reset(a.timeout.Send)
	}
}

// count makes the request the connection's last when it has carried enough. The node is told, so that it does not close on
// a request that is already under way; on HTTP/2 the transport keeps that to itself and takes another connection for the
// next.
func (a *attempt) count(conn *nodeConn) {
	if conn == nil || a.maxRequests == 0 || a.request.Header["Upgrade"] != nil {
		return
	}
	a.request.Close = conn.requests.Add(1) >= a.maxRequests
	if a.request.Close {
		a.request.Header["Connection"] = []string{"close"}
	} else {
		delete(a.request.Header, "Connection")
	}
}

func (a *attempt) wroteRequest(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.over:
	case err != nil:
		// The round trip ends with an error, or has its response already.
		a.timer.Stop()
	case a.head:
		a.wrote = true
		a.timer.Stop()
	default:
		a.wrote = true
		a.timer.Reset(a.timeout.Read)
	}
}

// pause stops the clock while the attempt waits for the client's body, and resume starts it again.
func (a *attempt) pause() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over && !a.wrote {
		a.timer.Stop()
	}
}

func (a *attempt) resume() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over && !a.wrote {
		a.timer.Reset(a.timeout.Send)
	}
}

// inform passes an informational response on. 100 (Continue) is not the node's to say, see proceed.
func (a *attempt) inform(code int, header textproto.MIMEHeader) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.informations++; a.informations > maxInformations {
		return errTooManyInformations
	}
	if a.wrote && !a.head && !a.over {
		a.timer.Reset(a.timeout.Read)
	}
	if a.head || a.client == nil || code == http.StatusContinue {
		return nil
	}
	var fields gateway.Header
	for name, values := range header {
		for _, value := range values {
			fields.Add(name, value)
		}
	}
	gateway.DropConnectionFields(&fields)
	sendInformation(a.client, code, &fields)
	return nil
}

// sendInformation sends an informational response with these fields and no others.
func sendInformation(w http.ResponseWriter, code int, fields *gateway.Header) {
	h := w.Header()
	kept := h.Clone()
	clear(h)
	setFields(h, fields)
	w.WriteHeader(code)
	clear(h)
	for name, values := range kept {
		h[name] = values
	}
}

// read reads from the response body and gives the node its time for it.
func (a *attempt) read(p []byte) (int, error) {
	a.mu.Lock()
	timer := a.timer
	if !a.wrote {
		if a.bodyTimer == nil {
			a.bodyTimer = time.AfterFunc(a.timeout.Read, a.expire)
		}
		timer = a.bodyTimer
	}
	timer.Reset(a.timeout.Read)
	a.mu.Unlock()
	n, err := a.response.Body.Read(p)
	timer.Stop()
	return n, err
}

// outcome is what became of a round trip that gave no response.
type outcome struct {
	failure gateway.Failure
	phase   gateway.Phase
	// repeatable says that the request may be sent to another node.
	repeatable bool
	// client is why the client's body could not be read; the node has no part in it.
	client error
}

// judge says why the attempt failed. It comes after end.
func (a *attempt) judge(err error) outcome {
	client, _, again := a.body.state()
	a.mu.Lock()
	defer a.mu.Unlock()
	o := outcome{failure: gateway.FailedBroken, phase: gateway.PhaseWait, client: client}
	switch {
	case !a.connected:
		o.phase = gateway.PhaseConnect
	case !a.wrote:
		o.phase = gateway.PhaseSend
	}
	var timeout net.Error
	switch {
	case a.timedOut:
		o.failure = gateway.FailedTimeout
	case !a.connected && errors.As(err, &timeout) && timeout.Timeout():
		o.failure = gateway.FailedTimeout
	case !a.connected:
		o.failure = gateway.FailedConnect
	}
	o.repeatable = !a.connected || again && idempotent(a.request.Method)
	return o
}

// idempotent reports whether a request that a node may have acted on can be sent again (RFC 9110 section 9.2.2).
func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

var _ io.ReadCloser = (*requestBody)(nil)
