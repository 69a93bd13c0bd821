// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"strconv"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// forwardVars tell where the request went. The upstream_ ones that concern attempts list every attempt, as nginx does.
var forwardVars = map[string]Var{
	"balancer_ip":              nodeVar(func(n *gateway.Node) string { return n.Host }),
	"balancer_port":            nodeVar(func(n *gateway.Node) string { return strconv.Itoa(n.Port) }),
	"upstream_unresolved_host": nodeVar(func(n *gateway.Node) string { return n.Host }),
	"upstream_scheme": unlessEmpty(func(x *gateway.Exchange) string {
		if x.Forward.Scheme == "" && x.Forward.Upstream == nil {
			return ""
		}
		return x.ForwardScheme()
	}),
	"upstream_host": unlessEmpty(upstreamHost),
	"upstream_uri":  always(func(x *gateway.Exchange) string { return x.ForwardTarget() }),

	"upstream_addr": func(x *gateway.Exchange) (string, bool) {
		if attempts := x.Forward.Attempts; len(attempts) == 1 {
			return attempts[0].Node.Addr, true
		}
		return listAttempts(x, func(b []byte, a *gateway.Attempt) []byte { return append(b, a.Node.Addr...) })
	},
	"upstream_status": func(x *gateway.Exchange) (string, bool) {
		if attempts := x.Forward.Attempts; len(attempts) == 1 && attempts[0].Status != 0 {
			return statusText(attempts[0].Status), true
		}
		return listAttempts(x, func(b []byte, a *gateway.Attempt) []byte {
			if a.Status == 0 {
				return append(b, '-')
			}
			return append(b, statusText(a.Status)...)
		})
	},
	"upstream_response_time": attemptTimes,
	"upstream_header_time":   attemptTimes,
}

// lastNode returns the node of the current attempt, or of the last one.
func lastNode(x *gateway.Exchange) *gateway.Node {
	if n := len(x.Forward.Attempts); x.Forward.Node == nil && n > 0 {
		return x.Forward.Attempts[n-1].Node
	}
	return x.Forward.Node
}

func nodeVar(read func(n *gateway.Node) string) Var {
	return unlessEmpty(func(x *gateway.Exchange) string {
		node := lastNode(x)
		if node == nil {
			return ""
		}
		return read(node)
	})
}

// upstreamHost is [gateway.Exchange.ForwardHost] for any stage of the exchange.
func upstreamHost(x *gateway.Exchange) string {
	f := &x.Forward
	if f.Host != "" {
		return f.Host
	}
	if f.Upstream == nil {
		return ""
	}
	if f.Node == nil && (f.Upstream.PassHost == "node" || x.Request.RawHost == "") && f.Upstream.PassHost != "rewrite" {
		if node := lastNode(x); node != nil {
			return node.HostHeader
		}
		return ""
	}
	return x.ForwardHost()
}

// listAttempts writes one item per attempt, separated as nginx separates them. Without attempts it is absent.
func listAttempts(x *gateway.Exchange, write func(b []byte, a *gateway.Attempt) []byte) (string, bool) {
	attempts := x.Forward.Attempts
	if len(attempts) == 0 {
		return "", false
	}
	text := make([]byte, 0, 24*len(attempts))
	for i := range attempts {
		if i > 0 {
			text = append(text, ", "...)
		}
		text = write(text, &attempts[i])
	}
	return string(text), true
}

// attemptTimes is how long each attempt took to its response head, in seconds.
func attemptTimes(x *gateway.Exchange) (string, bool) {
	return listAttempts(x, func(b []byte, a *gateway.Attempt) []byte {
		if a.Status == 0 {
			return append(b, '-')
		}
		return appendSeconds(b, a.Took)
	})
}

// appendSeconds writes a duration in seconds with milliseconds, which nginx does not round.
func appendSeconds(b []byte, d time.Duration) []byte {
	ms := max(d.Milliseconds(), 0)
	b = strconv.AppendInt(b, ms/1000, 10)
	return append(append(b, '.'), statusText(int(ms%1000))...)
}
