// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// dial connects to a node, and to the next when that fails: nothing of what the client has sent has gone out yet. name is
// what the client calls the server.
func (c *conn) dial(name string) bool {
	timeout := c.x.Timeout()
	c.idle = idleOf(c.x, idleTime)
	for {
		node := c.x.Pick()
		if node == nil {
			return false
		}
		conn, err := c.dialNode(node, name, timeout.Connect)
		if err == nil {
			// The status is nginx's for a session that was served.
			c.x.BeginResponse(200)
			return c.attach(conn)
		}
		failure := gateway.FailedConnect
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
			failure = gateway.FailedTimeout
		}
		if !c.x.Failed(failure, true) {
			return false
		}
	}
}

// idleOf is how long nothing may move, in either direction.
func idleOf(x *gateway.Exchange, otherwise time.Duration) time.Duration {
	for _, t := range [...]gateway.Timeout{x.Route.Timeout, x.Forward.Upstream.Timeout} {
		if longest := max(t.Read, t.Send); longest > 0 {
			return longest
		}
	}
	return otherwise
}

func (c *conn) dialNode(node *gateway.Node, name string, limit time.Duration) (halfCloser, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", node.Addr)
	if err != nil {
		return nil, err
	}
	tcp := conn.(*net.TCPConn)
	if c.x.Forward.Upstream.Scheme != "tls" {
		return tcp, nil
	}
	secure := tls.Client(tcp, c.nodeTLS(node, name))
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = tcp.Close()
		return nil, err
	}
	return secure, nil
}

// nodeTLS is the client's side of a handshake with a node, which is called what the client calls the gateway: APISIX
// forwards the client's server name. A client that says none leaves the node's own.
func (c *conn) nodeTLS(node *gateway.Node, name string) *tls.Config {
	if name == "" {
		name = node.HostName()
	}
	u := c.x.Forward.Upstream
	config := &tls.Config{
		ServerName:         strings.TrimSuffix(strings.ToLower(name), "."),
		InsecureSkipVerify: !u.TLSVerify, // APISIX's tls.verify is false by default.
		RootCAs:            c.x.Settings.NodeRoots,
		MinVersion:         tls.VersionTLS12,
	}
	if u.ClientCertificate != nil {
		config.Certificates = []tls.Certificate{*u.ClientCertificate}
	}
	return config
}
