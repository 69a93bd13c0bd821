// SPDX-License-Identifier: Apache-2.0

package lane

import "bytes"

// BodyKind is how a message body ends.
type BodyKind uint8

const (
	// Empty: there is none.
	Empty BodyKind = iota
	// Sized: after Content-Length bytes.
	Sized
	// Chunked: with the last chunk and the trailer section.
	Chunked
	// UntilClose: with the connection; responses only.
	UntilClose
)

// Body follows one message body through the bytes of a connection and takes it out of its framing. It checks chunked
// coding strictly (RFC 9112 section 7.1): CRLF and nothing else ends a line, sizes are hexadecimal digits alone,
// extensions follow their grammar and are dropped.
type Body struct {
	Kind BodyKind
	step chunkStep
	// digits counts those of the size being read, extra the bytes of extensions and trailers, which are bounded.
	digits uint8
	quoted bool
	named  bool
	extra  int
	left   int64
	// trailer holds the complete lines of the trailer section, and at its end the line being read.
	trailer []byte
	line    int
}

type chunkStep uint8

const (
	chunkSize chunkStep = iota
	chunkExtension
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart
	trailerLine
	trailerLF
	lastLF
	bodyDone
)

const (
	// maxChunk bounds one chunk: 4 GiB - 1, so that sizes are at most eight digits without leading zeros.
	maxChunk = 1<<32 - 1
	// maxExtra bounds what a chunked body may carry beside its data: extensions and trailers, all together.
	maxExtra = 16 << 10
)

// Next takes the next piece of the body off the front of b: data is what the body contains, n how many bytes of b it
// cost, framing included. done says that the body ended. It makes progress whenever b is not empty and the body is not
// done; call it until n is 0, b is used up, or done.
func (body *Body) Next(b []byte) (data []byte, n int, done bool, refusal *Refusal) {
	switch body.Kind {
	case Empty:
		return nil, 0, true, nil
	case UntilClose:
		return b, len(b), false, nil
	case Sized:
		n = int(min(int64(len(b)), body.left))
		body.left -= int64(n)
		return b[:n], n, body.left == 0, nil
	}
	for n < len(b) && body.step != bodyDone {
		if body.step == chunkData {
			size := int(min(int64(len(b)-n), body.left))
			body.left -= int64(size)
			if body.left == 0 {
				body.step = chunkDataCR
			}
			return b[n : n+size], n + size, false, nil
		}
		if refusal := body.framing(b[n]); refusal != nil {
			return nil, n, false, refusal
		}
		n++
	}
	return nil, n, body.step == bodyDone, nil
}

// framing takes one byte that is not data.
func (body *Body) framing(c byte) *Refusal {
	switch body.step {
	case chunkSize:
		return body.size(c)
	case chunkExtension:
		return body.extension(c)
	case chunkSizeLF:
		body.step = chunkData
		if body.left == 0 {
			body.step = trailerStart
		}
		return expect(c, '\n')
	case chunkDataCR:
		body.step = chunkDataLF
		return expect(c, '\r')
	case chunkDataLF:
		body.step, body.digits = chunkSize, 0
		return expect(c, '\n')
	case trailerStart:
		if c == '\r' {
			body.step = lastLF
			return nil
		}
		body.step, body.line = trailerLine, len(body.trailer)
		body.trailer = append(body.trailer, c)
		return body.spend()
	case trailerLine:
		body.trailer = append(body.trailer, c)
		if c == '\r' {
			body.step = trailerLF
		}
		return body.spend()
	case trailerLF:
		body.step = trailerStart
		body.trailer = append(body.trailer, c)
		if _, _, refusal := parseField(body.trailer[body.line:len(body.trailer)-2], maxExtra); refusal != nil {
			return refusal
		}
		return expect(c, '\n')
	default:
		body.step = bodyDone
		return expect(c, '\n')
	}
}

func (body *Body) size(c byte) *Refusal {
	var digit int64
	switch {
	case '0' <= c && c <= '9':
		digit = int64(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		digit = int64(c|0x20-'a') + 10
	case body.digits > 0 && c == '\r':
		body.step = chunkSizeLF
		return nil
	case body.digits > 0 && c == ';':
		body.step, body.quoted, body.named = chunkExtension, false, false
		return body.spend()
	default:
		return errChunk
	}
	if body.digits == 0 {
		body.left = 0
	}
	if body.digits++; body.digits > 16 {
		return errChunk
	}
	if body.left = body.left<<4 | digit; body.left > maxChunk {
		return errChunkTooLarge
	}
	return nil
}

// extension skips one or more chunk extensions. Each needs a name; values are tokens or quoted strings, here without
// escapes.
func (body *Body) extension(c byte) *Refusal {
	switch {
	case body.quoted:
		if class[c]&isValue == 0 || c == '\\' {
			return errChunk
		}
		body.quoted = c != '"'
	case c == '\r' && body.named:
		body.step = chunkSizeLF
		return nil
	case c == ';' && body.named:
		body.named = false
	case class[c]&isToken != 0:
		body.named = true
	case (c == '=' || c == '"') && body.named:
		body.quoted = c == '"'
	default:
		return errChunk
	}
	return body.spend()
}

// Trailers yields the fields of the trailer section when the body is done.
func (body *Body) Trailers(yield func(name, value string) bool) {
	for rest := body.trailer; len(rest) > 0; {
		nl := bytes.IndexByte(rest, '\n')
		name, value, _ := parseField(rest[:nl-1], maxExtra)
		if !yield(text(name), text(value)) {
			return
		}
		rest = rest[nl+1:]
	}
}

func (body *Body) spend() *Refusal {
	if body.extra++; body.extra > maxExtra {
		return errTrailerTooLarge
	}
	return nil
}

func expect(c, want byte) *Refusal {
	if c != want {
		return errChunk
	}
	return nil
}
