// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"io"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/andogate/ando/modules/gateway"
)

// tunnel passes the node's 101 on and then copies bytes both ways, until both sides have ended, one has failed or neither has
// said anything for the read timeout.
func (w *wire) tunnel(a *attempt) {
	x := &w.x
	node, ok := a.response.Body.(io.ReadWriteCloser)
	if !ok {
		w.tunnelFailed(http.StatusBadGateway, nil)
		return
	}
	x.FilterHeader()
	if !x.Response.FromNode {
		a.end()
		w.sendOwn()
		return
	}
	client, buffered, err := http.NewResponseController(w.w).Hijack()
	if err != nil {
		w.tunnelFailed(http.StatusInternalServerError, err)
		return
	}
	defer func() { _ = client.Close() }()
	h := &x.Response.Header
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", x.Request.Header.Get("Upgrade"))
	header := w.w.Header().Clone()
	setFields(header, h)
	head := http.Response{
		StatusCode: http.StatusSwitchingProtocols, Header: header, ProtoMajor: 1, ProtoMinor: 1,
	}
	if head.Write(client) != nil {
		return
	}
	pipe(client, buffered.Reader, node, x.Timeout().Read)
}

// tunnelFailed answers a switch that the node has agreed to and the gateway cannot make.
func (w *wire) tunnelFailed(status int, err error) {
	w.log().Warn("protocol switch failed", zap.Error(err))
	w.x.Response.Header.Reset()
	w.x.Reject(status)
	w.reply()
}

// pipe copies between the client and the node. fromClient is the client's connection with what was read of it already.
// When one of them has said all it wants to, the other is told and can still answer.
func pipe(client net.Conn, fromClient io.Reader, node io.ReadWriteCloser, idle time.Duration) {
	shut := func() {
		_ = client.Close()
		_ = node.Close()
	}
	timer := time.AfterFunc(idle, shut)
	defer timer.Stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if !copyHalf(node, &lively{fromClient, timer, idle}) {
			shut()
		}
	}()
	if !copyHalf(client, &lively{node, timer, idle}) {
		shut()
	}
	<-done
	shut()
}

// copyHalf copies one direction and passes its end on. It returns false when that cannot be done, or the end was none.
func copyHalf(to io.Writer, from io.Reader) bool {
	if _, err := io.Copy(to, from); err != nil {
		return false
	}
	half, ok := to.(interface{ CloseWrite() error })
	return ok && half.CloseWrite() == nil
}

// lively is a reader that sets the clock back whenever something comes.
type lively struct {
	io.Reader
	timer *time.Timer
	idle  time.Duration
}

func (l *lively) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if n > 0 {
		l.timer.Reset(l.idle)
	}
	return n, err
}

var _ gateway.Wire = (*wire)(nil)
