// SPDX-License-Identifier: Apache-2.0

package lane

import (
	"bytes"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"github.com/andogate/ando/modules/gateway"
)

// ResponseHead is what a lane itself needs of a node's response head.
type ResponseHead struct {
	Status int
	Body   Body
	// Length is the declared Content-Length, -1 for none. It is sent on where there is no body to measure: HEAD and 304.
	Length int64
	// Reusable says that the connection may serve another request when the body is done.
	Reusable bool
}

// parseResponse reads the response head of which head is the whole into h, without the fields that concern one
// connection. method is the request's. h's strings are parts of head. Anything that is not certain is an error: the
// client then gets 502.
func parseResponse(head []byte, method string, h *gateway.Header, limits *Limits) (ResponseHead, *Refusal) {
	nl := bytes.IndexByte(head, '\n')
	line := head[:nl-1]
	if len(line) < len("HTTP/1.1 200") || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' ||
		len(line) > 12 && line[12] != ' ' {
		return ResponseHead{}, errVersion
	}
	if len(line) > 512 {
		return ResponseHead{}, errHeadTooLarge
	}
	p := responseParser{h: h, length: -1, keeps: line[7] == '1'}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return ResponseHead{}, errVersion
		}
		p.status = p.status*10 + int(c-'0')
	}
	if p.status < 100 || p.status > 599 {
		return ResponseHead{}, errVersion
	}
	rest := head[nl+1 : len(head)-2]
	for n := 0; len(rest) > 0; n++ {
		nl := bytes.IndexByte(rest, '\n')
		if n == maxResponseFields {
			return ResponseHead{}, errTooManyFields
		}
		name, value, refusal := parseField(rest[:nl-1], limits.HeadBytes)
		if refusal == nil {
			refusal = p.field(name, value)
		}
		if refusal != nil {
			return ResponseHead{}, refusal
		}
		rest = rest[nl+1:]
	}
	return p.finish(method)
}

// maxResponseFields bounds the field lines of a node's response; a head above it is a 502.
const maxResponseFields = 1000

type responseParser struct {
	h          *gateway.Header
	status     int
	length     int64
	chunked    bool
	keeps      bool
	nominated  [8]string
	nNominated int
}

func (p *responseParser) field(name, value []byte) *Refusal {
	switch len(name) {
	case 7:
		if is(name, "Upgrade") {
			return nil
		}
	case 10:
		if is(name, "Connection") {
			p.connection(text(value))
			return nil
		}
		if is(name, "Keep-Alive") {
			return nil
		}
	case 14:
		if is(name, "Content-Length") {
			n, refusal := parseLength(value)
			if refusal == nil && p.length >= 0 {
				refusal = errLengthRepeated
			}
			p.length = n
			p.h.Add(text(name), text(value))
			return refusal
		}
	case 16:
		if is(name, "Proxy-Connection") {
			return nil
		}
	case 17:
		if is(name, "Transfer-Encoding") {
			if p.chunked || !is(value, "chunked") {
				return errCoding
			}
			p.chunked = true
			return nil
		}
	}
	p.h.Add(text(name), text(value))
	return nil
}

func (p *responseParser) connection(list string) {
	for option := range options(list) {
		switch {
		case gateway.EqualFold(option, "close"):
			p.keeps = false
		case gateway.EqualFold(option, "keep-alive"), gateway.EqualFold(option, "upgrade"):
		case p.nNominated < len(p.nominated):
			p.nominated[p.nNominated] = option
			p.nNominated++
		}
	}
}

// protectedFields are not dropped because a node's Connection names them: they concern the client, whatever it says.
var protectedFields = [...]string{"Set-Cookie", "Content-Type", "Location", "Cache-Control", "Content-Encoding", "Vary", "ETag"}

func (p *responseParser) finish(method string) (ResponseHead, *Refusal) {
	if p.chunked && p.length >= 0 {
		return ResponseHead{}, errCodingAndLength
	}
	for _, name := range p.nominated[:p.nNominated] {
		protected := false
		for _, field := range protectedFields {
			protected = protected || gateway.EqualFold(name, field)
		}
		if !protected {
			p.h.Del(name)
		}
	}
	head := ResponseHead{Status: p.status, Length: p.length, Reusable: p.keeps}
	switch {
	case method == "HEAD" || p.status < 200 || p.status == 204 || p.status == 304:
		if p.status == 204 || p.status < 200 {
			head.Length = -1
		}
		// Bytes after such a head are surplus and close the connection, except a chunked coding's, which never come.
	case p.chunked:
		head.Body = Body{Kind: Chunked}
	case p.length > 0:
		head.Body = Body{Kind: Sized, left: p.length}
	case p.length < 0:
		head.Body = Body{Kind: UntilClose}
		head.Reusable = false
	}
	return head, nil
}

// statusLines holds the start lines of the registered statuses, so that sending one is a copy. A node's reason phrase is
// not passed on: it means nothing, and could carry anything.
var statusLines = func() (lines [600]string) {
	for status := range lines {
		lines[status] = "HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) + "\r\n"
	}
	return lines
}()

func appendStatusLine(b []byte, status int) []byte {
	if status > 0 && status < len(statusLines) {
		return append(b, statusLines[status]...)
	}
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	return append(b, " \r\n"...)
}

// appendField writes a field line. A name or value that could end the line early, which only a plugin could have set,
// is left out: nothing a client or node sent may start a line of its own.
func appendField(b []byte, name, value string) []byte {
	for i := range len(value) {
		if class[value[i]]&isValue == 0 {
			return b
		}
	}
	for i := range len(name) {
		if class[name[i]]&isToken == 0 {
			return b
		}
	}
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// options yields the items of a comma-separated list.
func options(list string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for item := range strings.SplitSeq(list, ",") {
			if item = strings.Trim(item, " \t"); item != "" && !yield(item) {
				return
			}
		}
	}
}

// trailerAllowed keeps fields out of a trailer section that a recipient might merge into the head (RFC 9110 section
// 6.5.1).
func trailerAllowed(name string) bool {
	for _, forbidden := range [...]string{
		"Content-Length", "Transfer-Encoding", "Host", "Connection", "Trailer", "Content-Encoding", "Content-Type",
		"Content-Range", "Set-Cookie", "Authorization", "Cache-Control", "Location",
	} {
		if gateway.EqualFold(name, forbidden) {
			return false
		}
	}
	return true
}
