// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"bytes"

	"github.com/andogate/ando/modules/gateway"
)

// Framing says where a message ends and what becomes of its connection.
type Framing struct {
	Body Body
	// Close says that the connection ends with this exchange.
	Close bool
	// Expect says that the client waits for 100 Continue before it sends the body.
	Expect bool
	// Upgrade says that the client asks to leave HTTP/1.1.
	Upgrade bool
}

// parseRequest reads the request head of which head is the whole, its empty line included, into r and returns how the
// message is framed. r.Scheme has been set. r's strings are parts of head.
func parseRequest(head []byte, r *gateway.Request, limits *Limits) (Framing, *Refusal) {
	nl := bytes.IndexByte(head, '\n')
	if nl < 2 {
		return Framing{}, errRequestLine
	}
	target, refusal := parseRequestLine(head[:nl-1], r, limits)
	if refusal != nil {
		return Framing{}, refusal
	}
	p := requestParser{r: r, limits: limits}
	if refusal := p.fields(head[nl+1 : len(head)-2]); refusal != nil {
		return Framing{}, refusal
	}
	return p.finish(target)
}

func parseRequestLine(line []byte, r *gateway.Request, limits *Limits) (target []byte, _ *Refusal) {
	sp := bytes.IndexByte(line, ' ')
	if sp <= 0 {
		return nil, errRequestLine
	}
	method, rest := line[:sp], line[sp+1:]
	if !all(method, isToken) {
		return nil, errMethod
	}
	sp = bytes.IndexByte(rest, ' ')
	if sp <= 0 {
		return nil, errRequestLine
	}
	target, version := rest[:sp], rest[sp+1:]
	if len(target) > limits.TargetBytes {
		return nil, errTargetTooLong
	}
	if !all(target, isTarget) {
		return nil, errTarget
	}
	switch string(version) {
	case "HTTP/1.1":
		r.ProtoMajor, r.ProtoMinor = 1, 1
	case "HTTP/1.0":
		r.ProtoMajor, r.ProtoMinor = 1, 0
	default:
		if len(version) == 8 && string(version[:7]) == "HTTP/1." && '2' <= version[7] && version[7] <= '9' {
			return nil, errVersionSupport
		}
		return nil, errVersion
	}
	if r.Method = text(method); r.Method == "CONNECT" {
		return nil, errConnect
	}
	return target, nil
}

// requestParser collects what the framing of a request rests on while its field lines go by.
type requestParser struct {
	r      *gateway.Request
	limits *Limits

	host                       []byte
	hasHost                    bool
	length                     int64
	hasLength, chunked         bool
	closes, keeps              bool
	namesFraming, namesUpgrade bool
	hasUpgrade, expect         bool
}

func (p *requestParser) fields(b []byte) *Refusal {
	for n := 0; len(b) > 0; n++ {
		nl := bytes.IndexByte(b, '\n')
		line := b[:nl-1]
		b = b[nl+1:]
		if n == p.limits.Fields {
			return errTooManyFields
		}
		name, value, refusal := parseField(line, p.limits.NameBytes)
		if refusal != nil {
			return refusal
		}
		keep, refusal := p.field(name, value)
		if refusal != nil {
			return refusal
		}
		if keep {
			p.r.Header.Add(text(name), text(value))
		}
	}
	return nil
}

// parseField splits a field line (RFC 9112 section 5).
func parseField(line []byte, maxName int) (name, value []byte, _ *Refusal) {
	if line[0] == ' ' || line[0] == '\t' {
		return nil, nil, errFolded
	}
	colon := 0
	for colon < len(line) && class[line[colon]]&isToken != 0 {
		colon++
	}
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return nil, nil, errFieldLine
	}
	if colon > maxName {
		return nil, nil, errNameTooLong
	}
	value = trim(line[colon+1:])
	if !all(value, isValue) {
		return nil, nil, errControl
	}
	return line[:colon], value, nil
}

// field looks at one field line. keep is false for those that a lane reads itself, and for names that CGI-like nodes
// would take for another field: one with an underscore or a dot is dropped, as Caddy's server does.
func (p *requestParser) field(name, value []byte) (keep bool, _ *Refusal) {
	if bytes.IndexByte(name, '_') >= 0 || bytes.IndexByte(name, '.') >= 0 {
		return false, nil
	}
	switch len(name) {
	case 4:
		if is(name, "Host") {
			if p.hasHost {
				return false, errHostRepeated
			}
			p.host, p.hasHost = value, true
			return false, nil
		}
	case 6:
		if is(name, "Expect") {
			if p.expect || !is(value, "100-continue") {
				return false, errExpect
			}
			p.expect = true
			return false, nil
		}
	case 7:
		p.hasUpgrade = p.hasUpgrade || is(name, "Upgrade")
	case 10:
		if is(name, "Connection") {
			p.connection(value)
			return true, nil
		}
	case 14:
		if is(name, "Content-Length") {
			if p.hasLength {
				return false, errLengthRepeated
			}
			p.hasLength = true
			var refusal *Refusal
			p.length, refusal = parseLength(value)
			return false, refusal
		}
	case 17:
		if is(name, "Transfer-Encoding") {
			if p.chunked || !is(value, "chunked") {
				return false, errCoding
			}
			p.chunked = true
			return false, nil
		}
	}
	return true, nil
}

func (p *requestParser) connection(list []byte) {
	for option := range options(text(list)) {
		switch {
		case gateway.EqualFold(option, "close"):
			p.closes = true
		case gateway.EqualFold(option, "keep-alive"):
			p.keeps = true
		case gateway.EqualFold(option, "upgrade"):
			p.namesUpgrade = true
		case gateway.EqualFold(option, "content-length"), gateway.EqualFold(option, "transfer-encoding"):
			p.namesFraming = true
		}
	}
}

// parseLength reads a Content-Length: digits alone (RFC 9110 section 8.6). A list of equal values is refused, though
// the RFC would allow it.
func parseLength(value []byte) (int64, *Refusal) {
	if len(value) == 0 {
		return 0, errLength
	}
	var n int64
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, errLength
		}
		if n > (maxBody-9)/10 {
			return 0, errLengthTooLarge
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

// maxBody bounds a body's declared length, 1 EiB: nothing real comes near, and sums of it cannot overflow.
const maxBody = 1 << 60

func (p *requestParser) finish(target []byte) (Framing, *Refusal) {
	r := p.r
	switch {
	case p.chunked && p.hasLength:
		return Framing{}, errCodingAndLength
	case p.chunked && r.ProtoMinor == 0:
		return Framing{}, errCodingVersion
	case p.namesFraming:
		return Framing{}, errFramingNominated
	case !p.hasHost && r.ProtoMinor == 1:
		return Framing{}, errHostMissing
	}
	if p.hasHost && !validHost(p.host) {
		return Framing{}, errHost
	}
	r.SetHost(text(p.host))
	if refusal := setTarget(r, target); refusal != nil {
		return Framing{}, refusal
	}
	f := Framing{
		Close:   p.closes || r.ProtoMinor == 0 && !p.keeps,
		Expect:  p.expect && r.ProtoMinor == 1,
		Upgrade: p.hasUpgrade && p.namesUpgrade,
	}
	switch {
	case p.chunked:
		f.Body = Body{Kind: Chunked}
		r.ContentLength = -1
	case p.length > 0:
		f.Body = Body{Kind: Sized, left: p.length}
		r.ContentLength = p.length
	default:
		f.Expect = false
	}
	if r.Method == "TRACE" && f.Body.Kind != Empty {
		return Framing{}, errTrace
	}
	return f, nil
}

// setTarget accepts an absolute-form only where it says the same as Host and the connection: a node that believes the
// one and a gateway that believes the other would disagree on the site.
func setTarget(r *gateway.Request, target []byte) *Refusal {
	raw, host := r.RawHost, r.Host
	if err := r.SetTarget(text(target)); err != nil {
		return errTarget
	}
	if target[0] == '/' || target[0] == '*' {
		return nil
	}
	if !gateway.EqualFold(text(target[:len(r.Scheme)+1]), r.Scheme+":") {
		return errScheme
	}
	if raw == "" || !gateway.EqualFold(r.RawHost, raw) {
		return errHostMismatch
	}
	r.RawHost, r.Host = raw, host
	return nil
}

// validHost checks uri-host [ ":" port ] (RFC 9110 section 7.2) without percent-encodings, user information and zones.
func validHost(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	host, port := b, []byte(nil)
	if b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 2 {
			return false
		}
		for _, c := range b[1:end] {
			if c != ':' && c != '.' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
				return false
			}
		}
		if port = b[end+1:]; len(port) > 0 && port[0] != ':' {
			return false
		}
	} else {
		if i := bytes.IndexByte(b, ':'); i >= 0 {
			host, port = b[:i], b[i:]
		}
		if len(host) == 0 || !all(host, isHost) {
			return false
		}
	}
	if len(port) > 6 {
		return false
	}
	for i, c := range port {
		if i > 0 && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// is compares a field name or token with a known one, without regard to case.
func is(b []byte, name string) bool { return gateway.EqualFold(text(b), name) }
