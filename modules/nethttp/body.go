// SPDX-License-Identifier: Apache-2.0

package nethttp

import (
	"bytes"
	"io"
	"net/http"
	"sync"

	"github.com/andogate/ando/modules/gateway"
)

// requestBody is the body of one attempt. The transport reads it on a goroutine of its own, which may outlive the
// attempt; what it touches is then no longer anybody's but the garbage collector's, or guarded by mu.
type requestBody struct {
	attempt *attempt
	// trailer is what the transport announced and sends after the body; from is where the client's appears.
	trailer, from http.Header

	mu     sync.Mutex
	source io.Reader
	closed bool
	// err is why the client's body could not be read, and eof that it was, to its end.
	err error
	eof bool
	// began says that some of a body that cannot be had again was read.
	began bool
}

// outgoingBody returns the body that the attempt sends, and its length as http.Request has it: nil is none, -1 a length
// not known before the end.
func (w *wire) outgoingBody(a *attempt) (body *requestBody, length int64) {
	f, r := &w.x.Forward, w.r
	switch {
	case f.BodyReplaced:
		return bytesBody(a, f.Body)
	case r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0:
		return nil, 0
	case w.wholeRead && len(r.Trailer) == 0:
		return bytesBody(a, w.read)
	case w.wholeRead:
		body, _ = bytesBody(a, w.read)
		if body == nil {
			body = &requestBody{attempt: a, source: http.NoBody}
		}
		length = -1
	default:
		body, length = &requestBody{attempt: a, source: r.Body}, r.ContentLength
		if len(w.read) > 0 {
			body.source = io.MultiReader(bytes.NewReader(w.read), r.Body)
		}
	}
	body.from = r.Trailer
	for name := range r.Trailer {
		if !gateway.IsReserved(name) && !framingField(name) {
			if body.trailer == nil {
				body.trailer = http.Header{}
			}
			body.trailer[name] = r.Trailer[name]
		}
	}
	return body, length
}

func bytesBody(a *attempt, content []byte) (*requestBody, int64) {
	if len(content) == 0 {
		return nil, 0
	}
	return &requestBody{attempt: a, source: bytes.NewReader(content)}, int64(len(content))
}

// Read implements io.Reader for the transport. While it waits for the client the node is not to blame for the time.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	}
	source := b.source
	if _, again := source.(*bytes.Reader); again {
		// The bytes may be somebody else's once the body is closed, so they are read under the lock.
		defer b.mu.Unlock()
		b.attempt.resume()
		return source.Read(p)
	}
	b.began = true
	b.mu.Unlock()

	b.attempt.pause()
	n, err := source.Read(p)
	b.attempt.resume()

	if err == nil {
		return n, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != io.EOF {
		b.err = err
		return n, err
	}
	b.eof = true
	for name := range b.trailer {
		b.trailer[name] = b.from[name]
	}
	return n, err
}

// Close implements io.Closer for the transport. The client's body stays open: another attempt may send it.
func (b *requestBody) Close() error { return nil }

// detach ends the transport's use of the body.
func (b *requestBody) detach() {
	if b != nil {
		b.mu.Lock()
		b.closed = true
		b.mu.Unlock()
	}
}

// state says what came of reading the client's body: why it failed, whether all of it was read, and whether the
// attempt could be made again with it.
func (b *requestBody) state() (err error, eof, again bool) {
	if b == nil {
		return nil, true, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_, whole := b.source.(*bytes.Reader)
	return b.err, b.eof || whole, !b.began
}

// framingField reports whether a trailer of that name could change what a message means or where it ends (RFC 9110
// section 6.5.1).
func framingField(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Connection", "Content-Encoding", "Content-Length", "Content-Range", "Content-Type", "Host", "Keep-Alive",
		"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Authorization", "Cookie", "Set-Cookie":
		return true
	}
	return false
}
