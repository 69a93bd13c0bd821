// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"errors"
	"strconv"
)

// Lengths of bodies that no Content-Length tells.
const (
	chunked    = -1
	untilClose = -2
)

// head is what the head of a request or a response says.
type head struct {
	raw    []byte
	status int
	length int64
	closes bool
}

var errMalformed = errors.New("malformed message")

// parseHead reads a head, its empty line included. It keeps a copy.
func parseHead(raw []byte, request bool) (*head, error) {
	h := &head{raw: bytes.Clone(raw), length: untilClose}
	first, fields, ok := bytes.Cut(h.raw, []byte("\r\n"))
	if !ok {
		return nil, errMalformed
	}
	if request {
		h.length = 0
		h.closes = bytes.HasSuffix(first, []byte("HTTP/1.0"))
	} else {
		var err error
		if len(first) < len("HTTP/1.1 200") || !bytes.HasPrefix(first, []byte("HTTP/1.")) {
			return nil, errMalformed
		}
		if h.status, err = strconv.Atoi(string(first[9:12])); err != nil {
			return nil, errMalformed
		}
	}
	for line := range bytes.SplitSeq(fields, []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.ToLower(bytes.TrimSpace(value))
		switch string(bytes.ToLower(name)) {
		case "content-length":
			n, err := strconv.ParseInt(string(value), 10, 64)
			if err != nil || n < 0 {
				return nil, errMalformed
			}
			if h.length != chunked {
				h.length = n
			}
		case "transfer-encoding":
			h.length = chunked
		case "connection":
			h.closes = h.closes || bytes.Contains(value, []byte("close"))
		}
	}
	if h.status == 204 || h.status == 304 {
		h.length = 0
	}
	h.closes = h.closes || h.length == untilClose
	return h, nil
}

// reader finds the ends of messages in the bytes of a connection. The zero value awaits a head.
type reader struct {
	request bool
	partial []byte
	head    *head
	// got are the bytes of the body so far, left those that the length or the present chunk still has.
	got, left int64
	// line is the chunk-size or trailer line under way; trailers is set after the last chunk.
	line     []byte
	inChunk  bool
	trailers bool
}

// heads are those that were parsed already, by their bytes: messages repeat.
type heads map[string]*head

// feed takes the bytes up to the end of a message, and returns the rest and whether the message is complete.
func (r *reader) feed(b []byte, known heads) (rest []byte, done bool, err error) {
	if r.head == nil {
		if b, err = r.feedHead(b, known); err != nil || r.head == nil {
			return nil, false, err
		}
	}
	switch r.head.length {
	case untilClose:
		r.got += int64(len(b))
		return nil, false, nil
	case chunked:
		return r.feedChunks(b)
	}
	n := min(int64(len(b)), r.left)
	r.got += n
	r.left -= n
	return b[n:], r.left == 0, nil
}

func (r *reader) feedHead(b []byte, known heads) (rest []byte, err error) {
	whole, before := b, len(r.partial)
	if before > 0 {
		r.partial = append(r.partial, b...)
		whole = r.partial
	}
	end := bytes.Index(whole, []byte("\r\n\r\n")) + 4
	if end < 4 {
		if before == 0 {
			r.partial = append(r.partial, b...)
		}
		if len(r.partial) > 64<<10 {
			return nil, errMalformed
		}
		return nil, nil
	}
	h := known[string(whole[:end])]
	if h == nil {
		if h, err = parseHead(whole[:end], r.request); err != nil {
			return nil, err
		}
		// A head with the time in it is new every second.
		if len(known) > 8192 {
			clear(known)
		}
		known[string(h.raw)] = h
	}
	rest = b[end-before:]
	r.partial = r.partial[:0]
	if h.status >= 100 && h.status < 200 {
		return r.feedHead(rest, known)
	}
	r.head, r.left = h, max(h.length, 0)
	return rest, nil
}

func (r *reader) feedChunks(b []byte) (rest []byte, done bool, err error) {
	for len(b) > 0 {
		if r.left > 0 {
			n := min(int64(len(b)), r.left)
			r.got += n
			r.left -= n
			b = b[n:]
			continue
		}
		line, after, ended := bytes.Cut(b, []byte("\n"))
		r.line = append(r.line, line...)
		if !ended {
			return nil, false, nil
		}
		b = after
		text := string(bytes.TrimSpace(r.line))
		r.line = r.line[:0]
		switch {
		case r.trailers && text == "":
			return b, true, nil
		case r.trailers:
		case r.inChunk:
			// The line end after a chunk's data.
			r.inChunk = false
			if text != "" {
				return nil, false, errMalformed
			}
		default:
			size, err := strconv.ParseInt(text, 16, 64)
			if err != nil || size < 0 {
				return nil, false, errMalformed
			}
			r.left, r.inChunk, r.trailers = size, size > 0, size == 0
		}
	}
	return nil, false, nil
}

// reset makes the reader await the next head.
func (r *reader) reset() {
	*r = reader{request: r.request, partial: r.partial[:0], line: r.line[:0]}
}
