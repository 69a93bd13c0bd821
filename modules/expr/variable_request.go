// SPDX-License-Identifier: Apache-2.0

package expr

import (
	"crypto/tls"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/andogate/ando/modules/gateway"
)

// serverName is the only server_name there is, as in APISIX's nginx.conf.
const serverName = "_"

var requestVars = map[string]Var{
	"uri":              always(func(x *gateway.Exchange) string { return x.Request.Path }),
	"request_uri":      always(func(x *gateway.Exchange) string { return x.Request.RequestURI() }),
	"real_request_uri": always(func(x *gateway.Exchange) string { return x.Request.Target }),
	"args":             unlessEmpty(query),
	"query_string":     unlessEmpty(query),
	"is_args": always(func(x *gateway.Exchange) string {
		if x.Request.Query == "" {
			return ""
		}
		return "?"
	}),
	"host": always(func(x *gateway.Exchange) string {
		if x.Request.Host == "" {
			return serverName
		}
		return x.Request.Host
	}),
	"http_host":       unlessEmpty(func(x *gateway.Exchange) string { return x.Request.RawHost }),
	"hostname":        always(func(*gateway.Exchange) string { return hostname() }),
	"server_name":     always(func(*gateway.Exchange) string { return serverName }),
	"scheme":          always(func(x *gateway.Exchange) string { return x.Request.Scheme }),
	"method":          always(method),
	"request_method":  always(method),
	"server_protocol": always(protocol),
	"request": always(func(x *gateway.Exchange) string {
		return x.Request.Method + " " + x.Request.Target + " " + protocol(x)
	}),
	"https": always(func(x *gateway.Exchange) string {
		if x.Request.Scheme == "https" {
			return "on"
		}
		return ""
	}),
	"remote_addr":         always(func(x *gateway.Exchange) string { return x.Request.ClientIP() }),
	"remote_port":         always(func(x *gateway.Exchange) string { return portText(x.Request.Client) }),
	"realip_remote_addr":  always(func(x *gateway.Exchange) string { return x.Request.PeerIP() }),
	"realip_remote_port":  always(func(x *gateway.Exchange) string { return portText(x.Request.Peer) }),
	"server_addr":         serverAddr,
	"server_port":         serverPort,
	"content_type":        func(x *gateway.Exchange) (string, bool) { return x.Request.Header.Lookup("Content-Type") },
	"content_length":      contentLength,
	"http_content_length": contentLength,
	"http_cookie": func(x *gateway.Exchange) (string, bool) {
		return field(&x.Request.Header, "Cookie", "; ")
	},
	"request_body": func(x *gateway.Exchange) (string, bool) {
		body, ok := x.BodyBuffered()
		return string(body), ok && len(body) > 0
	},
	"ssl_server_name": tlsVar(func(state *tls.ConnectionState) string { return state.ServerName }),
	"ssl_protocol":    tlsVar(func(state *tls.ConnectionState) string { return tlsVersion(state.Version) }),
	"ssl_cipher":      tlsVar(func(state *tls.ConnectionState) string { return tls.CipherSuiteName(state.CipherSuite) }),
}

func query(x *gateway.Exchange) string  { return x.Request.Query }
func method(x *gateway.Exchange) string { return x.Request.Method }

var hostname = sync.OnceValue(func() string {
	name, _ := os.Hostname()
	return strings.ToLower(name)
})

func protocol(x *gateway.Exchange) string {
	switch r := &x.Request; {
	case r.ProtoMajor == 3:
		return "HTTP/3.0"
	case r.ProtoMajor == 2:
		return "HTTP/2.0"
	case r.ProtoMinor == 0:
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

func tlsVar(read func(state *tls.ConnectionState) string) Var {
	return func(x *gateway.Exchange) (string, bool) {
		if x.Request.TLS == nil {
			return "", false
		}
		text := read(x.Request.TLS)
		return text, text != ""
	}
}

// tlsVersion returns OpenSSL's spelling.
func tlsVersion(version uint16) string {
	switch version {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return ""
}

func portText(addr netip.AddrPort) string { return strconv.Itoa(int(addr.Port())) }

// lastText keeps the text of the value it was last asked for: a gateway has few local addresses. It is safe for
// concurrent use.
type lastText[T comparable] struct{ last atomic.Pointer[keptText[T]] }

type keptText[T comparable] struct {
	value T
	text  string
}

func (l *lastText[T]) of(value T, format func(T) string) string {
	if kept := l.last.Load(); kept != nil && kept.value == value {
		return kept.text
	}
	kept := &keptText[T]{value, format(value)}
	l.last.Store(kept)
	return kept.text
}

var (
	lastServerAddr lastText[netip.Addr]
	lastServerPort lastText[uint16]
)

func serverAddr(x *gateway.Exchange) (string, bool) {
	addr := x.Request.Local.Addr()
	if !addr.IsValid() {
		return "", false
	}
	return lastServerAddr.of(addr, func(addr netip.Addr) string { return addr.Unmap().String() }), true
}

func serverPort(x *gateway.Exchange) (string, bool) {
	if !x.Request.Local.IsValid() {
		return "", false
	}
	return lastServerPort.of(x.Request.Local.Port(), func(port uint16) string { return strconv.Itoa(int(port)) }), true
}

func contentLength(x *gateway.Exchange) (string, bool) {
	if text, ok := x.Request.Header.Lookup("Content-Length"); ok {
		return text, true
	}
	if x.Request.ContentLength <= 0 {
		return "", false
	}
	return strconv.FormatInt(x.Request.ContentLength, 10), true
}

func argument(name string) variable {
	return variable{text: func(x *gateway.Exchange) (string, bool) {
		text, count := x.Request.Arg(name)
		return text, count > 0
	}}
}

func requestField(name string) variable {
	return variable{text: func(x *gateway.Exchange) (string, bool) { return field(&x.Request.Header, name, ", ") }}
}

func cookie(name string) variable {
	return variable{text: func(x *gateway.Exchange) (string, bool) { return x.Request.Cookie(name) }}
}

func pathParam(name string) variable {
	return variable{text: func(x *gateway.Exchange) (string, bool) {
		for i := range x.Params {
			if x.Params[i].Name == name {
				return x.Params[i].Value, true
			}
		}
		return "", false
	}}
}
