// SPDX-License-Identifier: Apache-2.0

// Package compress is what the plugins share that compress responses: gzip, brotli and zstd.
package compress

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/andogate/ando/modules/gateway"
)

// Config is what the configs of all of them have.
type Config struct {
	// Types are media types in lower case; nil is all.
	Types map[string]bool
	// MinLength is the length from which on a body is compressed, when it is known.
	MinLength int64
	// HTTP10 compresses for HTTP/1.0 too.
	HTTP10 bool
	Vary   bool
}

// ParseConfig reads the members that all of them have.
func ParseConfig(raw json.RawMessage) (Config, error) {
	var c struct {
		Types       json.RawMessage `json:"types"`
		MinLength   int64           `json:"min_length"`
		HTTPVersion float64         `json:"http_version"`
		Vary        bool            `json:"vary"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return Config{}, err
	}
	config := Config{MinLength: c.MinLength, HTTP10: c.HTTPVersion == 1, Vary: c.Vary}
	var all string
	if json.Unmarshal(c.Types, &all) == nil {
		return config, nil
	}
	var types []string
	if err := json.Unmarshal(c.Types, &types); err != nil {
		return Config{}, fmt.Errorf("types: %w", err)
	}
	config.Types = make(map[string]bool, len(types))
	for _, t := range types {
		config.Types[strings.ToLower(strings.TrimSpace(t))] = true
	}
	return config, nil
}

// Writer compresses what is written to it.
type Writer interface {
	io.WriteCloser
	Flush() error
	Reset(w io.Writer)
}

// Pool makes writers of one kind and level, and uses them again. It is safe for concurrent use.
type Pool struct {
	New  func() (Writer, error)
	pool sync.Pool
}

// Coding is a compiled config: an encoder for one content coding. It is immutable.
type Coding struct {
	Config
	// Name is the coding's registered name, such as "gzip".
	Name string
	Pool *Pool
}

// Encode implements gateway.Encoder.
func (c *Coding) Encode(x *gateway.Exchange) gateway.Encoding {
	r := &x.Request
	if !c.HTTP10 && r.ProtoMajor == 1 && r.ProtoMinor == 0 || !c.fits(x) {
		return nil
	}
	// A cache has to know that there are two, also when this client takes the plain one.
	if c.Vary && !varies(&x.Response.Header) {
		x.Response.Header.Add("Vary", "Accept-Encoding")
	}
	if !r.AcceptsEncoding(c.Name) {
		return nil
	}
	e, err := c.Pool.encoding()
	if err != nil {
		return nil
	}
	// What comes without a length may be a stream of events: each part of it goes on as it comes.
	e.flush = x.Response.FromNode && x.Response.Header.Get("Content-Length") == ""
	x.Response.Encoded(c.Name)
	return e
}

// fits reports whether the response is of a type and size that is compressed.
func (c *Coding) fits(x *gateway.Exchange) bool {
	h := &x.Response.Header
	if c.Types != nil {
		contentType, _, _ := strings.Cut(h.Get("Content-Type"), ";")
		contentType = strings.TrimSpace(contentType)
		if !c.Types[contentType] && !c.Types[strings.ToLower(contentType)] {
			return false
		}
	}
	if !x.Response.FromNode {
		return int64(len(x.Response.Body)) >= c.MinLength
	}
	length, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	return err != nil || length >= c.MinLength
}

func varies(h *gateway.Header) bool {
	for name, value := range h.All() {
		if !gateway.EqualFold(name, "Vary") {
			continue
		}
		for item := range strings.SplitSeq(value, ",") {
			if item = strings.TrimSpace(item); item == "*" || gateway.EqualFold(item, "Accept-Encoding") {
				return true
			}
		}
	}
	return false
}

// encoding compresses one body.
type encoding struct {
	pool   *Pool
	writer Writer
	out    bytes.Buffer
	flush  bool
}

func (p *Pool) encoding() (*encoding, error) {
	if e, ok := p.pool.Get().(*encoding); ok {
		return e, nil
	}
	w, err := p.New()
	if err != nil {
		return nil, err
	}
	e := &encoding{pool: p, writer: w}
	w.Reset(&e.out)
	return e, nil
}

// Encode implements gateway.Encoding.
func (e *encoding) Encode(chunk []byte, last bool) ([]byte, error) {
	e.out.Reset()
	if len(chunk) > 0 {
		if _, err := e.writer.Write(chunk); err != nil {
			return nil, err
		}
	}
	var err error
	switch {
	case last:
		err = e.writer.Close()
	case e.flush && len(chunk) > 0:
		err = e.writer.Flush()
	}
	return e.out.Bytes(), err
}

// maxKept is the largest output buffer that is used again.
const maxKept = 256 << 10

// Release implements gateway.Encoding.
func (e *encoding) Release() {
	if e.out.Cap() > maxKept {
		e.out = bytes.Buffer{}
	}
	e.out.Reset()
	e.writer.Reset(&e.out)
	e.pool.pool.Put(e)
}

var (
	_ gateway.Encoder  = (*Coding)(nil)
	_ gateway.Encoding = (*encoding)(nil)
)
