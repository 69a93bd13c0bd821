// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"bytes"
	"crypto/tls"
	"net/netip"
	"slices"
	"time"

	"github.com/andogate/ando/modules/gateway"
)

// Record is what an access log needs of an exchange that is over: what was received and sent, not what hooks made of it.
// It is the writer's for the time of one call of Serving.Log; the next exchange uses its memory, so clone what you keep.
type Record struct {
	Serving *Serving
	Start   time.Time
	Took    time.Duration
	// Status is what the client was sent; 499 when it left before that.
	Status int
	// Read and Written count the bytes of the bodies, without their framing.
	Read, Written int64
	// TLS is nil for a plain connection.
	TLS *tls.ConnectionState
	gateway.Summary

	// RemoteIP and RemotePort are the connection's peer.
	RemoteIP, RemotePort string
	// Method, URI, Proto and Host are as received; a request that was refused may have only some of them.
	Method, URI, Proto, Host string
	// Chunked says that the request body was.
	Chunked bool
	// Header are the request's fields as received, without Host and Transfer-Encoding, and Response those of the response
	// without Date, unless a node sent it, and what concerns the connection. Names are spelled as net/http spells them.
	Header, Response []gateway.Field

	remote netip.AddrPort
	// head is the request's head; text holds the response's names and values, and ends where each ends.
	head, text []byte
	ends       []int
	address    []byte
}

// weight is what the record counts for in the journal, in bytes.
func (r *Record) weight() int64 { return int64(1024 + cap(r.head) + cap(r.text)) }

// addResponse copies a field of the response.
func (r *Record) addResponse(name, value string) {
	r.text = append(r.text, name...)
	r.ends = append(r.ends, len(r.text))
	r.text = append(r.text, value...)
	r.ends = append(r.ends, len(r.text))
}

// unpack makes the fields of Record from what the loop has copied. The strings are parts of the record's buffers.
func (r *Record) unpack() {
	r.address = r.remote.Addr().Unmap().AppendTo(r.address[:0])
	ip := len(r.address)
	r.address = appendInt(r.address, int(r.remote.Port()))
	r.RemoteIP, r.RemotePort = text(r.address[:ip]), text(r.address[ip:])
	at := 0
	for i := 0; i+1 < len(r.ends); i += 2 {
		name, value := r.text[at:r.ends[i]], r.text[r.ends[i]:r.ends[i+1]]
		canonical(name)
		r.Response = append(r.Response, gateway.Field{Name: text(name), Value: text(value)})
		at = r.ends[i+1]
	}
	line, rest, _ := bytes.Cut(r.head, []byte("\r\n"))
	method, target, _ := bytes.Cut(line, []byte(" "))
	target, version, _ := bytes.Cut(target, []byte(" "))
	r.Method, r.URI, r.Proto = text(method), text(target), text(version)
	var plain, cached bool
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found {
			continue
		}
		value = trim(value)
		canonical(name)
		switch string(name) {
		case "Host":
			r.Host = text(value)
			continue
		case "Transfer-Encoding":
			r.Chunked = true
			continue
		case "Pragma":
			plain = plain || string(value) == "no-cache"
		case "Cache-Control":
			cached = true
		}
		r.Header = append(r.Header, gateway.Field{Name: text(name), Value: text(value)})
	}
	if r.Chunked {
		// net/http keeps this aside too.
		r.Header = slices.DeleteFunc(r.Header, func(f gateway.Field) bool { return f.Name == "Trailer" })
	}
	if plain && !cached {
		// So does net/http for handlers that know HTTP/1.1 alone.
		r.Header = append(r.Header, gateway.Field{Name: "Cache-Control", Value: "no-cache"})
	}
}

// canonical spells a field name in place as net/http does.
func canonical(name []byte) {
	upper := true
	for i, c := range name {
		switch {
		case upper && 'a' <= c && c <= 'z':
			name[i] = c - ('a' - 'A')
		case !upper && 'A' <= c && c <= 'Z':
			name[i] = c + ('a' - 'A')
		}
		// A colon is in names only where http.TrailerPrefix has put it.
		upper = c == '-' || c == ':'
	}
}

// reset lets go of everything but the memory.
func (r *Record) reset() {
	r.Summary.Drop()
	clear(r.Header)
	clear(r.Response)
	poison(r.head)
	poison(r.text)
	if cap(r.head) > keptRecord {
		r.head = nil
	}
	if cap(r.text) > keptRecord {
		r.text = nil
	}
	*r = Record{
		Summary: r.Summary, Header: r.Header[:0], Response: r.Response[:0],
		head: r.head[:0], text: r.text[:0], ends: r.ends[:0], address: r.address[:0],
	}
}
