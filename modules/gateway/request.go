// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"crypto/tls"
	"iter"
	"net/netip"
	"strings"
)

// Request is the request of one exchange, as the wire read it and as plugins changed it. What Header holds when the
// hooks are done is what the node receives, apart from the fields that only concern one connection.
type Request struct {
	// Method is case-sensitive.
	Method string
	// Scheme is "http" or "https", as the client's connection is.
	Scheme string
	// Host is the request's host in lower case, without port and trailing dot: APISIX's $host. RawHost is the text
	// as received.
	Host, RawHost string
	// Target is the request target as received.
	Target string
	// Path is the canonical path, decoded; EscapedPath is the same as it is forwarded. See [CanonicalPath].
	Path, EscapedPath string
	// Query is what follows the '?', without it, as received.
	Query string
	// ProtoMajor and ProtoMinor are the client's HTTP version.
	ProtoMajor, ProtoMinor int
	// Header holds the fields but Host, whose text is RawHost. Content-Length may be there for hooks to read; it is not
	// forwarded, as framing is the wire's own.
	Header Header
	// ContentLength is -1 when it is not known before the body ends.
	ContentLength int64
	// Client is who sent the request ($remote_addr): the connection's peer unless something trusted said otherwise.
	Client netip.AddrPort
	// Peer and Local are the two ends of the client's connection.
	Peer, Local netip.AddrPort
	// TLS is nil on a plain connection.
	TLS *tls.ConnectionState

	client, peer addrText
	local        portText
}

// addrText is the text of the address it was last asked for: on one connection that is nearly always the same.
type addrText struct {
	addr netip.Addr
	text string
}

func (a *addrText) of(addr netip.Addr) string {
	if !addr.IsValid() {
		// nginx's word for the peer on a Unix socket.
		return "unix:"
	}
	if addr != a.addr || a.text == "" {
		a.addr, a.text = addr, addr.Unmap().String()
	}
	return a.text
}

// SetTarget parses a request target in origin-form, absolute-form or asterisk-form (RFC 9112 section 3.2) and sets
// Target, Path, EscapedPath and Query; an absolute-form replaces the host as well. It returns [ErrBadTarget] for
// anything else, CONNECT's authority-form included.
func (r *Request) SetTarget(target string) error {
	r.Target = target
	if target == "*" && r.Method == "OPTIONS" {
		r.Path, r.EscapedPath, r.Query = "*", "*", ""
		return nil
	}
	if rest, ok := cutScheme(target); ok {
		host, path := rest, "/"
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			host, path = rest[:i], rest[i:]
			if path[0] == '?' {
				path = "/" + path
			}
		}
		if !validAuthority(host) {
			return ErrBadTarget
		}
		r.SetHost(host)
		target = path
	}
	path, query, _ := strings.Cut(target, "?")
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c == 0x7f || c == '#' {
			return ErrBadTarget
		}
	}
	var err error
	r.Path, r.EscapedPath, err = CanonicalPath(path)
	r.Query = query
	return err
}

func cutScheme(target string) (rest string, ok bool) {
	for _, scheme := range [...]string{"http://", "https://"} {
		if len(target) > len(scheme) && EqualFold(target[:len(scheme)], scheme) {
			return target[len(scheme):], true
		}
	}
	return "", false
}

// validAuthority reports whether host consists of what a host and a port may be written with (RFC 3986 section 3.2),
// without user information.
func validAuthority(host string) bool {
	for i := range len(host) {
		if c := host[i]; !unreserved(c) && strings.IndexByte("!$&'()*+,;=:[]%", c) < 0 {
			return false
		}
	}
	return host != ""
}

// SetHost sets RawHost and Host from the text of a Host field or :authority.
func (r *Request) SetHost(raw string) {
	r.RawHost = raw
	host := raw
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 {
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	r.Host = strings.ToLower(host)
}

// ClientIP returns the address part of Client as text, and PeerIP that of Peer.
func (r *Request) ClientIP() string { return r.client.of(r.Client.Addr()) }

// PeerIP returns the address part of Peer as text.
func (r *Request) PeerIP() string { return r.peer.of(r.Peer.Addr()) }

// RequestURI returns the canonical path with the query: what a node is sent unless a plugin rewrites it, and APISIX's
// $request_uri. It allocates when there is a query and the target was not canonical.
func (r *Request) RequestURI() string {
	switch {
	case r.Query == "":
		return r.EscapedPath
	case len(r.Target) == len(r.EscapedPath)+1+len(r.Query) &&
		r.Target[:len(r.EscapedPath)] == r.EscapedPath && r.Target[len(r.EscapedPath)+1:] == r.Query:
		return r.Target
	}
	return r.EscapedPath + "?" + r.Query
}

// Arg returns the first value of a query argument, decoded, and how often the argument occurs. Names are
// case-sensitive; an argument without '=' has the value "".
func (r *Request) Arg(name string) (value string, count int) {
	for rest := r.Query; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		key, text, _ := strings.Cut(pair, "=")
		if pair == "" || unescape(key) != name {
			continue
		}
		if count == 0 {
			value = unescape(text)
		}
		count++
	}
	return value, count
}

// Args yields the query arguments in order, decoded as [Request.Arg] does.
func (r *Request) Args() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for pair := range strings.SplitSeq(r.Query, "&") {
			if pair == "" {
				continue
			}
			key, text, _ := strings.Cut(pair, "=")
			if !yield(unescape(key), unescape(text)) {
				return
			}
		}
	}
}

// DelArg removes every occurrence of a query argument and leaves the others as they are.
func (r *Request) DelArg(name string) {
	if _, n := r.Arg(name); n == 0 {
		return
	}
	kept := make([]string, 0, 8)
	for pair := range strings.SplitSeq(r.Query, "&") {
		if key, _, _ := strings.Cut(pair, "="); unescape(key) != name {
			kept = append(kept, pair)
		}
	}
	r.Query = strings.Join(kept, "&")
}

// Cookie returns the first cookie of that name, and whether there is one. Names are case-sensitive; values are returned
// as received (RFC 6265 section 4.2).
func (r *Request) Cookie(name string) (string, bool) {
	for line := range r.Header.Values("Cookie") {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			key, value, ok := strings.Cut(strings.TrimLeft(pair, " \t"), "=")
			if ok && key == name {
				return value, true
			}
		}
	}
	return "", false
}

// DelCookie removes every cookie of that name and leaves the others as they are.
func (r *Request) DelCookie(name string) {
	if _, found := r.Cookie(name); !found {
		return
	}
	for i := range r.Header.fields {
		f := &r.Header.fields[i]
		if !EqualFold(f.Name, "Cookie") {
			continue
		}
		kept := make([]string, 0, 8)
		for pair := range strings.SplitSeq(f.Value, ";") {
			key, _, ok := strings.Cut(strings.TrimLeft(pair, " \t"), "=")
			if !ok || key != name {
				kept = append(kept, pair)
			}
		}
		f.Value = strings.TrimLeft(strings.Join(kept, ";"), " \t")
	}
	r.Header.DelFunc(func(field, value string) bool { return value == "" && EqualFold(field, "Cookie") })
}

func (r *Request) reset() {
	r.Header.Reset()
	*r = Request{Header: r.Header, client: r.client, peer: r.peer, local: r.local}
}
